"""``python -m lowres``."""

from lowres.cli.main import main

main()

"""``python -m lowres`` and the console script."""


def run() -> None:
    """The command line; Ctrl-C while it is still being imported ends it without a word."""
    import os

    try:
        from lowres.cli.main import main
    except KeyboardInterrupt:
        os._exit(130)
    main()


if __name__ == "__main__":
    run()

"""Prints the drop matrix of a finished run as Markdown, for docs.

python scripts/drop_matrix.py runs/matrix [--write docs/measured.md]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from measure_methods import write_between

from lowres.analysis.summary import Summary
from lowres.report.markdown import markdown_table
from lowres.report.tables import tables

MARKS = "<!-- matrix:begin -->", "<!-- matrix:end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--write", type=Path, help="a page whose table between the markers is replaced")
    options = parser.parse_args()
    table = markdown_table(tables(Summary.model_validate_json((options.run / "summary.json").read_bytes()))[0])
    print(table)
    if options.write:
        write_between(options.write, *MARKS, table)


if __name__ == "__main__":
    main()

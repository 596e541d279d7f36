"""Puts the tables of benchmarks/results/*.json into docs/performance.md, each after the marker that names its file.

<!-- layers.json -->
... replaced by machine, date, command and tables ...
<!-- end -->

python benchmarks/performance_page.py
python benchmarks/performance_page.py --check    # say whether the page is as it would be written
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
_PART = re.compile(r"<!-- (?P<name>[\w-]+\.json) -->\n.*?<!-- end -->", re.DOTALL)


def filled(page: str, results: Path = RESULTS) -> str:
    """The page with every part made anew."""
    return _PART.sub(lambda found: _part(found["name"], results), page)


def _part(name: str, results: Path) -> str:
    content = json.loads((results / name).read_text())
    about = f"`{content['command']}`, {content['machine']}, PyTorch {content['torch']}, {content['date']}."
    tables = "\n\n".join(content["tables"].values())
    return f"<!-- {name} -->\n{about}\n\n{tables}\n<!-- end -->"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the page is out of date")
    arguments = parser.parse_args()
    present = PAGE.read_text()
    wanted = filled(present)
    if arguments.check:
        return int(wanted != present)
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Do the laws hold on a GPU? Runs the tests that need one, and those of tests/devices, which run on any device.

    python benchmarks/cuda_tests.py --device cuda
"""

from __future__ import annotations

import os
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from measuring import parser, report, table

ROOT = Path(__file__).parent.parent
NEED_A_GPU = ("tests/devices", "tests/training/test_no_waiting.py")


def main() -> int:
    options = parser(__doc__, rounds=1)
    options.add_argument("--only", default="", help="an expression that pytest's -k takes")
    arguments = options.parse_args()
    import pytest

    os.environ["EQUIMORPH_TEST_DEVICE"] = arguments.device
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.xml"
        only = ["-k", arguments.only] if arguments.only else []
        ended = pytest.main(
            ["-q", "-p", "no:cacheprovider", "-W", "default", f"--junitxml={record}", *only, *NEED_A_GPU]
        )
        suite = next(ElementTree.parse(record).getroot().iter("testsuite"))
    counts = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    text = table(["tests", "failed", "skipped"], [[counts["tests"], len(failed), counts["skipped"]]])
    report({"Tests on the device": text}, {**counts, "failed": failed}, arguments)
    return int(ended)


if __name__ == "__main__":
    sys.exit(main())

"""How long each test file takes, for `tests/conftest.py` to begin with the longest.

    python tools/test_seconds.py [JUNIT ...]

    JUNIT    what `tools/run_tests.py --junitxml {backend}.xml` wrote (default: runs the whole suite on two cores, for
             which the machine must be quiet)

Writes `tests/seconds.json`. It need not be exact, nor be made anew for every change.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools import run_tests

ROOT = Path(__file__).resolve().parents[1]
LEAST = 3.0
"""Shorter files are left out: they come last in any order."""


def seconds(files: list[Path]) -> dict[str, int]:
    """Whole seconds by file, the longest first."""
    found: Counter[str] = Counter()
    for case in (case for junit in files for case in ElementTree.parse(junit).iter("testcase")):
        found[f"{case.get('classname', '').replace('.', '/')}.py"] += float(case.get("time", 0))  # type: ignore[assignment]
    return {file: round(time) for file, time in found.most_common() if time >= LEAST}


def main(given: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(name) for name in given]
        if not given:
            run_tests.main(["-q", "-p", "no:cacheprovider", "-n", "2", "--junitxml", f"{folder}/{{backend}}.xml"])
            files = sorted(Path(folder).glob("*.xml"))
        text = json.dumps(seconds(files), indent=1)
    (ROOT / "tests" / "seconds.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Makes the fits of the rule tests that are marked `recorded`, and keeps what their rules look at in
`tests/data/facts/`: python tools/rule_facts.py [FILE ...]

    FILE    name of a test file in tests/rules/ (default: all that have such tests)

See `tests/rules/recorded.py`. Run it when a test says that its facts are stale: it was changed, or the trace or the
measurements have a new form. Needs TensorFlow; a second or two for each test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests" / "rules"


def main(names: list[str]) -> int:
    files = [TESTS / Path(name).name for name in names] or sorted(TESTS.glob("test_*.py"))
    with_facts = [str(path) for path in files if "mark.recorded" in path.read_text("utf-8")]
    variables = {**os.environ, "FACTS": "make", "KERAS_BACKEND": "tensorflow", "PYTHONPATH": str(ROOT)}
    asked = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-m", "recorded", *with_facts]
    return subprocess.run(asked, env=variables, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

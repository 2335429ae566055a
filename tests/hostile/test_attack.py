"""The attacks of `tools/attack.py`, briefly: nothing may fail. Long runs are made by command, see `docs/trust.md`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COUNTS = {
    "kills": 12,
    "errors": 160,
    "fit-errors": 2,
    "flips": 150,
    "journals": 12,
    "forged": 400,
    "verbs": 24,
    "weights": 160,
    "bounds": 3,
}
SECONDS = 20  # for each attack: on a slow machine fewer cases are tried

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, kills and reads /proc"),
]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[str]], str]:
    """The table's rows by attack, and what was said of failures."""
    keep = tmp_path_factory.mktemp("failed")
    options = [word for name, count in COUNTS.items() for word in (f"--{name}", str(count))]
    done = subprocess.run(
        [sys.executable, "tools/attack.py", *options, "--seconds", str(SECONDS), "--keep", str(keep)],
        cwd=ROOT, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, capture_output=True, text=True,
    )  # fmt: skip
    rows = {}
    for line in done.stdout.splitlines():
        if found := re.match(r"\| ([a-z-]+): (?!worst of)", line):
            rows[found[1]] = [cell.strip() for cell in line.strip("|").split("|")]
    return rows, done.stderr


@pytest.mark.parametrize("attack", COUNTS)
def test_every_case_of_a_short_attack_holds(attack: str, ran: tuple[dict[str, list[str]], str]) -> None:
    rows, said = ran
    assert attack in rows, f"it did not run: {said[-3000:]}"
    _, tried, held, failed, _ = rows[attack]
    found = [line for line in said.splitlines() if line.startswith(f"{attack}:")]
    assert failed == "0", "\n".join(found)
    assert int(tried.replace(",", "")) > 0 and held.startswith(f"{tried} (")

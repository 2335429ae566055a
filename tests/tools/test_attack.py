"""Whether `tools/attack.py` can fail: cases that raise, hang, die or take too much are counted, their input kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

# In a process of its own, because the runner forks: the tests' process may hold threads of a backend.
PROGRAM = """
import json, os, sys, time
from pathlib import Path
from tools.attacks.runner import Attack, Failed, Finished, run

def case(loaded, number, chance, folder):
    (folder / "input").write_text(f"{loaded} {number}")
    if number == 1: raise Failed("wrong number 7")
    if number == 2: {}["x"]
    if number == 3: time.sleep(60)
    if number == 4: os._exit(9)
    if number == 5: end = time.process_time() + 0.5
    if number == 5:
        while time.process_time() < end: pass
    if number == 6: b"x" * (120 * 2**20)
    if number == 8: raise Finished
    return f"held {chance.random()}"

attack = Attack("trial", "of the runner", lambda folder: (folder / "base").write_text("base"),
                lambda folder: (folder / "base").read_text(), case, 1, seconds=0.3, megabytes=80, hang=15.0)
work, keep = Path(sys.argv[1]), Path(sys.argv[2])
row = run(attack, count=100, seconds=60, seed=3, first=0, work=work, keep=keep)
print(json.dumps([row.tried, row.held, row.failed, sorted(row.places), sorted(row.how)]))
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], Path]:
    work, keep = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("keep")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(work), str(keep)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), keep


pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks and reads /proc")


def test_each_way_to_fail_is_counted_and_the_rest_goes_on(ran: tuple[list[Any], Path]) -> None:
    (tried, held, failed, places, how), _ = ran
    assert (tried, held, failed) == (8, 2, 6)
    assert places == sorted(["wrong number N", "KeyError", "hangs", "the process ended with 9", "time", "memory"])
    assert len(how) == 2 and all(word.startswith("held 0.") for word in how)


def test_the_input_of_each_failing_case_is_kept_with_the_command_that_makes_it_again(
    ran: tuple[list[Any], Path],
) -> None:
    _, keep = ran
    assert sorted(path.name for path in keep.iterdir()) == [f"trial-{n}" for n in (1, 2, 3, 4, 5, 6)]
    for number in (1, 2, 3, 4, 5, 6):
        assert (keep / f"trial-{number}" / "input" / "input").read_text() == f"base {number}"
        why = (keep / f"trial-{number}" / "why.txt").read_text()
        assert why.startswith(f"tools/attack.py --trial 1 --first {number} --seed 3\n")
    assert "KeyError: 'x'" in (keep / "trial-2" / "why.txt").read_text()

"""What a traced step does beyond an untraced one stays within what is stored for it: counted, not timed."""

from __future__ import annotations

import threading
from pathlib import Path

import keras
import pytest

from benchmarks.counter import LEVELS, Counting, bound, counted, most, per_step


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Counting:
    return Counting(tmp_path_factory.mktemp("count"))


@pytest.mark.parametrize("level", LEVELS)
def test_a_traced_step_calls_no_more_than_it_did(counting: Counting, level: int) -> None:
    calls, most_allowed = counting.own(level), bound(keras.config.backend(), level)
    assert most_allowed is not None, "no bounds for this backend: python benchmarks/counter.py --write"
    assert per_step(calls) <= most_allowed, (
        f"{per_step(calls):.1f} calls a step at level {level}, at most {most_allowed:.1f} are allowed. They go to:\n"
        f"{most(calls)}\nWhere that is meant: python benchmarks/counter.py --write"
    )


def step() -> int:
    return len([abs(-1), abs(-2)])  # 4 calls with its own


def test_calls_are_counted_on_this_thread_and_on_new_ones() -> None:
    def work(times: int) -> None:
        for _ in range(times):
            step()
        thread = threading.Thread(target=lambda: [step() for _ in range(times)])
        thread.start()
        thread.join()

    few, many = counted(lambda: work(10)), counted(lambda: work(30))
    place = str(Path(__file__))
    assert (few[place, "step"], many[place, "step"]) == (20, 60)
    assert (few["C", "abs"], many["C", "abs"]) == (40, 120)
    grown = many - few
    assert {where: grown[where] for where in ((place, "step"), ("C", "abs"), ("C", "len"))} == {
        (place, "step"): 40,
        ("C", "abs"): 80,
        ("C", "len"): 40,
    }

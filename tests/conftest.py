"""Runs that tests of several folders look at; each is made once in a session."""

from __future__ import annotations

import functools
import gc
import itertools
import json
import os
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import SCRIPTS, Done, start, start_diagnose
from tests.cli.warm import diagnose

os.environ.setdefault("DIAGNOSE_COMPILE_CACHE", "off")  # tests leave nothing in the user's cache folder

TESTS = itertools.count(1)
FREEZE = 20


SECONDS: dict[str, float] = json.loads(Path(__file__).with_name("seconds.json").read_text("utf-8"))
"""By file, where it takes some; made by `tools/test_seconds.py`."""
APART = ("tests/corpus/test_corpus.py", "tests/rules/test_advice.py")
"""Long files whose tests share nothing: with `-n`, parts of them go to different processes."""
PARTS = 4
ON_TENSORFLOW = (
    "tests/api", "tests/attach/test_processes.py", "tests/attach/test_run_module.py", "tests/benchmarks", "tests/cli",
    "tests/distribution", "tests/docs", "tests/frameworks/test_relied_on.py", "tests/frameworks/test_seeds.py",
    "tests/hostile", "tests/non_perturbation", "tests/record", "tests/scenarios",
    "tests/replay/test_blocks.py", "tests/replay/test_built_in_first_step.py", "tests/replay/test_kept.py",
    "tests/replay/test_own_optimizers.py", "tests/replay/test_remake.py", "tests/replay/test_stateful_layers.py",
    "tests/replay/test_stored_model.py::test_it_computes_and_is_evaluated_as_the_original[images]",  # dear on torch
    # fits that only TensorFlow's random numbers lead to what is tested
    "tests/analysis/test_chosen.py", "tests/analysis/test_since_fit.py", "tests/analysis/test_workers.py",
    "tests/rules/test_masked_metric.py", "tests/rules/test_advice.py::test_moving_average_of_weights",
    "tests/corpus/test_corpus.py::test_fails_what_it_must_and_nothing_else[masked_metric]",
    # steps that do not come out bit for bit on torch
    "tests/models/test_every_model.py::test_the_model_is_replayed_and_explained[SimpleRNN]",
    "tests/models/test_every_model.py::test_the_model_is_replayed_and_explained[cells with dropout]",
)  # fmt: skip
"""What `tools/run_tests.py` runs on TensorFlow, the default: that a fit is recorded as it is and not changed, that it
is made again, and what a user does from end to end."""
ON_TORCH = (
    "tests/record/test_callback_state.py", "tests/record/test_full_trace.py", "tests/record/test_identity.py",
    "tests/record/test_withheld_rows.py",
    "tests/non_perturbation/test_left_as_found.py", "tests/non_perturbation/test_own_calls.py",
    "tests/non_perturbation/test_tracer_errors.py",
)  # fmt: skip
"""But for these: they only use a recorded fit, or `.ci/run` has them on TensorFlow as well, with the oldest Keras."""
SKIPPED_TO, SKIPPED_ELSEWHERE = (os.environ.get(name) for name in ("SKIPPED_TO", "SKIPPED_ELSEWHERE"))
"""Files: for the names of tests that skip themselves here, and with those that did on the other backend."""


def unit(nodeid: str) -> str:
    """What goes to one process as a whole."""
    file = nodeid.partition("::")[0]
    return f"{file}/{zlib.crc32(nodeid.encode()) % PARTS}" if file in APART else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n`, a file's tests stay together: what its fixtures trained is trained once."""
    from xdist.scheduler import LoadScopeScheduling

    class Units(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return unit(nodeid)

    config.option.loadscopereorder = False  # they come in order: the longest first, so that both end at a time
    return Units(config, log)


@functools.cache
def skipped_elsewhere() -> frozenset[str]:
    return frozenset(Path(SKIPPED_ELSEWHERE).read_text("utf-8").splitlines() if SKIPPED_ELSEWHERE else ())


def pytest_itemcollected(item: pytest.Item) -> None:
    here = item.nodeid.startswith(ON_TENSORFLOW) and not item.nodeid.startswith(ON_TORCH)
    file = item.nodeid.partition("::")[0]
    if not here and not {item.nodeid, file} & skipped_elsewhere():
        item.add_marker("any_backend")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):
        return
    counts = Counter(unit(item.nodeid) for item in items)

    def order(item: pytest.Item) -> tuple[float, str]:
        file, name = item.nodeid.partition("::")[0], unit(item.nodeid)
        return -SECONDS.get(file, 0.5 * counts[name]) / (PARTS if file in APART else 1), name

    items.sort(key=order)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and "PYTEST_XDIST_WORKER" not in os.environ:
        note_skipped(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped and os.environ.get("PYTEST_XDIST_WORKER") in (None, "gw0"):  # with -n, only these collect
        note_skipped(report.nodeid)


def note_skipped(name: str) -> None:
    if SKIPPED_TO:
        with open(SKIPPED_TO, "a", encoding="utf-8") as file:
            print(name, file=file)


@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish() -> None:
    """TensorFlow keeps some thousand objects of every fit for good. Without this every collection, and many tests ask
    for one, goes through those of all fits before it: after a thousand, for seconds."""
    if next(TESTS) % FREEZE == 0:
        gc.collect()
        gc.freeze()


@dataclass(frozen=True)
class Traced:
    """What one `diagnose run` printed and wrote."""

    done: Done
    out: Path
    files: frozenset[str]

    @classmethod
    def of(cls, done: Done, out: Path) -> Traced:
        return cls(done, out, frozenset(path.name for path in out.iterdir()) if out.is_dir() else frozenset())


@dataclass(frozen=True)
class Pair:
    """The same script with and without the tool."""

    plain: Done
    traced: Traced


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return tmp_path_factory.mktemp


@pytest.fixture(scope="session")
def shipped(scratch: Callable[[str], Path]) -> dict[str, Traced]:
    """`single_batch` and `many_batches_val`, both with --json."""
    cwd = scratch("shipped")
    return {
        name: Traced.of(diagnose("run", name, "--json", "--fail-on-mismatch", cwd=cwd), cwd / "reports" / name)
        for name in ("single_batch", "many_batches_val")
    }


@pytest.fixture(scope="session")
def two_fits(scratch: Callable[[str], Path]) -> Pair:
    """`ordinary.py` with two fits and arguments of its own, which changes the working folder on the way."""
    cwd = scratch("two_fits")
    words = ("two", "away", "--rate", "0.1", "--", "-x")
    script = Path("..") / cwd.name / "ordinary.py"
    for name in ("ordinary.py", "beside.py"):
        (cwd / name).write_bytes((SCRIPTS / name).read_bytes())
    # The script chooses the backend itself; a tool that imported Keras before it would fail.
    plain = start(script, *words, cwd=cwd, KERAS_BACKEND="none such")
    traced = start_diagnose("run", script, "--out", "out", "--", *words, cwd=cwd, KERAS_BACKEND="none such")
    return Pair(plain.done(), Traced.of(traced.done(), cwd / "out"))

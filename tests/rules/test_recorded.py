"""What is kept of fits is what it says, and a test that leans on it cannot look at a model that was not trained."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose.result.codec import from_dict
from diagnose.tracefile import format as fmt
from diagnose.tracefile.reader import read_trace
from tests.rules import recorded
from tests.rules.runs import Witness

ARCHIVES = sorted(recorded.FACTS.glob("*.tar.xz"))


@pytest.mark.parametrize("path", ARCHIVES, ids=lambda path: path.name)
def test_facts_are_in_a_format_that_reads_as_that_of_today(path: Path, tmp_path: Path) -> None:
    for seen in recorded.stored(path).values():
        for number, trace in enumerate(trace for traces in seen.asked for trace in traces):
            file = tmp_path / f"{seen.digest}-{number}.diag"
            file.write_bytes(trace)
            with read_trace(file) as opened:
                assert opened.format in (2, fmt.VERSION) and opened.sealed  # 2 holds the same (`test_format2`)
                kept = opened.diagnosis()
            assert isinstance(kept, dict)
            again = from_dict(kept)
            assert set(kept["measurements"]) <= {*type(again.measurements).__dataclass_fields__}


@pytest.mark.parametrize("path", ARCHIVES, ids=lambda path: path.name)
def test_a_file_of_tests_has_live_fits_as_well(path: Path) -> None:
    test = Path(__file__).with_name(f"test_{path.name.partition('.')[0]}.py")
    marks = {
        node.name: any("recorded" in ast.unparse(d) for d in node.decorator_list)
        for node in ast.parse(test.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert any(marks.values()) and not all(marks.values())


def test_the_files_are_small() -> None:
    assert sum(path.stat().st_size for path in ARCHIVES) < 1_000_000


FILE = """
from tests.rules.runs import fit

RATE = {rate}
OTHER = {unused}

def test_one():
    seen = fit(rate=RATE)
    assert seen.finding().status == {status}

def test_other():
    assert {other}
"""


def test_facts_hold_until_what_is_fitted_changes(tmp_path: Path) -> None:
    def digest(**changed: Any) -> str:
        path = tmp_path / "test_it.py"
        path.write_text(FILE.format(**{"rate": 0.5, "status": "'failed'", "other": 1, "unused": 0, **changed}))
        return recorded.digest(path, "test_one")

    helper = tmp_path / "runs.py"
    helper.write_text("def fit(rate):\n    return rate\n")
    before = digest()
    assert before == digest(status="'passed'") == digest(other=2) == digest(unused=3) != digest(rate=0.1)
    helper.write_text("def fit(rate):\n    return 2 * rate\n")
    assert digest() != before


def model() -> Any:
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    made.compile("sgd", "mse")
    return made


def test_a_recorded_fit_gives_what_was_seen_and_its_model_nothing() -> None:
    made, witness = model(), Witness()
    seen = recorded.Seen("", [{"history": {"loss": [3.0]}, "logs": [[{"loss": 3.0}]]}])
    with pytest.MonkeyPatch.context() as patch, recorded.played(seen, patch):
        assert len(made.get_weights()) == 2  # before the fit, it is what it is
        assert made.fit(np.ones((4, 3)), np.ones(4), callbacks=[witness]).history == {"loss": [3.0]}
        assert witness.logs == [{"loss": 3.0}]
        with pytest.raises(AssertionError, match="was not trained"):
            made.get_weights()
        with pytest.raises(recorded.StaleFactsError, match="more fits"):
            made.fit(np.ones((4, 3)), np.ones(4))
    assert len(made.get_weights()) == 2


def test_fits_left_over_are_an_error() -> None:
    seen = recorded.Seen("", [{"history": {}, "logs": []}])
    stale = pytest.raises(recorded.StaleFactsError, match="fewer")
    with stale, pytest.MonkeyPatch.context() as patch, recorded.played(seen, patch):
        pass

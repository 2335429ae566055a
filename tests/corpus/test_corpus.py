"""Every scenario against its own `EXPECTED`: which rules fail, and that no other does. All run in this one process."""

from __future__ import annotations

import gc
from collections import Counter

import keras
import pytest

from benchmarks.corpus import expected, run_case
from diagnose.cli.catalogue import names
from diagnose.result.codec import findings_list
from diagnose.result.texts import Said
from diagnose.rules import RULES

BACKEND = keras.backend.backend()
HERE = [name for name in names() if BACKEND in expected(name).get("backends", [BACKEND])]


@pytest.fixture(autouse=True)
def earlier_cases_are_out_of_sight() -> None:
    """Each case ends with a collection, which should go through its own objects only."""
    gc.freeze()


@pytest.mark.parametrize("name", names())
def test_fails_what_it_must_and_nothing_else(name: str) -> None:
    if name not in HERE:
        pytest.skip("it shows something of another backend")
    case = run_case(name)
    assert case.code == 0, case.output
    assert case.failed == case.expected
    assert case.verdict == expected(name)["verdict"]
    reproduced, replayed = case.replayed
    if expected(name).get("reproduces", True):
        assert 0 < reproduced == replayed
        assert case.residual <= 1e-5
    for diagnosis, again in zip(case.diagnoses, case.again, strict=True):
        assert findings_list(again) == findings_list(diagnosis.findings)
        assert not [f for f in diagnosis.findings if "error" in f.evidence], "a rule crashed"
        assert all(f.advice and f.evidence for f in diagnosis.findings if f.status == "failed")
        told = [diagnosis.headline, *(text for f in diagnosis.findings for text in (f.title, f.advice) if text)]
        assert [text for text in told if not isinstance(text, Said)] == [], "said without an id"


@pytest.mark.parametrize("name", ["single_batch", "dropout_gap", "trained_on_validation"])
def test_a_light_recording_leads_to_the_same(name: str) -> None:
    """`benchmarks/levels.py` compares all scenarios."""
    case = run_case(name, level=0)
    assert case.failed == case.expected
    assert case.verdict == expected(name)["verdict"]
    reproduced, replayed = case.replayed
    assert 0 < reproduced == replayed
    # In epochs of one step all versions are ends of epochs.
    how = "recorded" if name == "single_batch" else "made-again"
    assert {row.how for d in case.diagnoses for row in d.epoch_rows if row.analysed} == {how}
    for diagnosis, again in zip(case.diagnoses, case.again, strict=True):
        assert findings_list(again) == findings_list(diagnosis.findings)


@pytest.mark.parametrize("name", names())
def test_names_a_rule_that_exists_and_says_which_fail(name: str) -> None:
    said = expected(name)
    assert said.get("shows", said.get("control_of")) in RULES
    assert set(said["failed"]) <= set(RULES)
    if "shows" in said:
        assert said["shows"] in said["failed"]
    else:
        assert said["control_of"] not in said["failed"]


def test_every_rule_has_a_scenario_and_a_control() -> None:
    shown = Counter(expected(name).get("shows") for name in names())
    controls = Counter(expected(name).get("control_of") for name in names())
    assert [rule for rule in RULES if not shown[rule]] == []
    assert [rule for rule in RULES if not controls[rule]] == []

"""`diagnosis.json`: the contract's keys, strict JSON, full precision, and back again."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diagnose.errors import DiagnoseError
from diagnose.report.json import dumps, loads
from diagnose.result.codec import from_dict, to_dict
from diagnose.result.diagnosis import (
    Best,
    Clock,
    Diagnosis,
    EpochRow,
    Finding,
    Ledger,
    LedgerEntry,
    ReplayCheck,
    Restoration,
    Span,
)
from tests.report import examples

CONTRACT = {
    "fit": ["fit", "keras", "backend", "steps", "headline", "epochs", "replay", "ledgers", "restoration", "findings"],
    "epoch": ["epoch", "first_version", "last_version", "logged", "reevaluated"],
    "replay": ["steps", "reproduced", "max_abs_error"],
    "ledger": ["epoch", "metric", "logged", "evaluated", "gap", "entries", "residual"],
    "entry": ["factor", "amount", "low", "high"],
    "restoration": [
        "callback", "monitor", "best_epoch", "best_logged", "restored_epoch", "restored_version", "restored_value",
        "computed_at", "owner_versions", "shift_updates", "verdict", "best_by_reevaluation",
    ],
    "finding": ["rule", "status", "title", "evidence", "advice"],
}  # fmt: skip


def same(a: Any, b: Any) -> bool:
    """Equality in which NaN equals NaN and sequences and mappings are compared by content."""
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return type(a) is type(b) and bool(a == b)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_keys_are_those_of_the_contract() -> None:
    document = json.loads(dumps([examples.single_batch()]), parse_constant=refuse)
    assert list(document) == ["schema", "fits"] and document["schema"] == 1
    (fit,) = document["fits"]
    for name, value in (
        ("fit", fit),
        ("epoch", fit["epochs"][0]),
        ("replay", fit["replay"]),
        ("ledger", fit["ledgers"][0]),
        ("entry", fit["ledgers"][0]["entries"][0]),
        ("restoration", fit["restoration"]),
        ("finding", fit["findings"][0]),
    ):
        assert list(value)[: len(CONTRACT[name])] == CONTRACT[name], name
    assert fit["steps"] == 8 and "step_rows" not in fit
    restoration = fit["restoration"]
    assert restoration["computed_at"] == {"first": 5, "last": 5}
    assert restoration["owner_versions"] == [5]
    assert restoration["best_by_reevaluation"] == {"epoch": 5, "version": 5, "value": 33.2164}
    assert (restoration["best_logged"], restoration["restored_value"]) == (33.2164, 38.88181)


def test_nothing_restored_is_null() -> None:
    assert to_dict(examples.threshold())["restoration"] is None


def test_values_that_are_not_finite_are_spelled() -> None:
    text = dumps([examples.not_finite()])
    (fit,) = json.loads(text, parse_constant=refuse)["fits"]
    assert fit["epochs"][3]["logged"]["loss"] == "NaN"
    assert fit["epochs"][2]["reevaluated"]["loss"] == "Infinity"
    assert fit["findings"][0]["evidence"] == {"value": "NaN", "largest": "Infinity"}


@pytest.mark.parametrize("name", list(examples.ALL))
def test_examples_come_back(name: str) -> None:
    diagnosis = examples.ALL[name]()
    (back,) = loads(dumps([diagnosis]))
    assert same(back, replace(diagnosis, step_rows=()))


numbers = st.floats() | st.sampled_from([0.1 + 0.2, 5e-324, 1.7976931348623157e308])
counts = st.integers(0, 10**6)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.dictionaries(texts, numbers, max_size=3)
# The three words that spell numbers read back as numbers where a value has no fixed type; see the module's docstring.
words = texts.filter(lambda text: text not in ("NaN", "Infinity", "-Infinity"))
evidence = st.recursive(
    st.none() | st.booleans() | counts | numbers | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
free = st.dictionaries(texts, st.none() | st.booleans() | counts | texts, max_size=2)


def several(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(strategy, max_size=2).map(tuple)


clocks = st.builds(
    Clock,
    st.sampled_from(["train-steps", "validation", "end-of-epoch", "own", "learning-rate"]),
    st.none() | st.builds(Span, counts, counts), st.booleans(), st.none() | texts,
)  # fmt: skip


diagnoses = st.builds(
    Diagnosis,
    fit=counts,
    keras=texts,
    backend=texts,
    steps_total=counts,
    headline=texts,
    epoch_rows=several(
        st.builds(
            EpochRow, counts, counts, counts, values, values, st.none() | numbers, st.none() | counts, st.booleans(),
            st.dictionaries(texts, clocks, max_size=2),
        )
    ),
    step_rows=st.just(()),
    replay=st.none()
    | st.builds(ReplayCheck, counts, counts, values, values, several(counts), st.none() | texts),
    ledgers=several(
        st.builds(
            Ledger, counts, texts, numbers, numbers, numbers,
            several(st.builds(LedgerEntry, texts, numbers, numbers, numbers)), numbers,
        )
    ),
    restoration=st.none()
    | st.builds(
        Restoration, texts, texts, st.none() | counts, st.none() | numbers, st.none() | counts, st.none() | counts,
        st.none() | numbers, st.none() | st.builds(Span, counts, counts), st.lists(counts, max_size=3).map(tuple),
        st.none() | st.integers(-(10**6), 10**6),
        st.sampled_from(["aligned", "shifted", "no-owner", "not-restored", "replaced"]),
        st.none() | st.builds(Best, counts, counts, numbers), st.none() | st.sampled_from(["min", "max"]),
        st.none() | st.booleans(), texts, st.none() | texts, st.lists(texts, max_size=2).map(tuple),
    ),
    findings=several(
        st.builds(
            Finding, texts, st.sampled_from(["failed", "passed", "not-applicable"]), texts,
            st.dictionaries(texts, evidence, max_size=3), texts, st.none() | texts, st.none() | numbers,
            st.none() | st.sampled_from(["explains-gap", "explains-restoration", "explains-stop"]),
        )
    ),
    name=texts,
    notice=st.none() | texts,
    versions=free,
    evaluation_data=free,
    environment=st.dictionaries(texts, texts, max_size=2),
    model=free,
    trace=free,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(diagnoses)
def test_every_diagnosis_comes_back(diagnosis: Diagnosis) -> None:
    (back,) = loads(dumps([diagnosis]))
    assert same(back, diagnosis)


def test_array_scalars_and_tuples_become_plain_json() -> None:
    evidence = {
        "a": np.float32(0.5),
        "b": np.int64(3),
        "c": (1, 2),
        "d": np.array([1.0, math.nan]),
        "e": {2},
        "f": b"x",
    }
    diagnosis = replace(examples.empty(), findings=(Finding("r", "failed", "t", evidence, ""),))
    found = to_dict(diagnosis)["findings"][0]["evidence"]
    assert found == {"a": 0.5, "b": 3, "c": [1, 2], "d": [1.0, "NaN"], "e": [2], "f": "b'x'"}
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("epochs",), None, "epochs: expected `array`, got `null`"),
        (("epochs", 0, "epoch"), "1", "epochs[0].epoch: expected `int`, got `str`"),
        (("epochs", 0, "first_version"), 2**60, "first_version"),
        (("epochs", 0, "last_version"), -1, "last_version"),
        (("epochs", 0, "logged", "loss"), "12", "epochs[0].logged"),
        (("epochs", 0, "analysed"), 1, "analysed"),
        (("steps",), True, "steps: expected `int`"),
        (("restoration", "verdict"), "fine", "verdict"),
        (("restoration", "computed_at", "first"), 1.5, "first"),
        (("findings", 0, "status"), "<b>", "status"),
        (("ledgers", 0, "entries", 0, "amount"), None, "amount"),
        (("ledgers", 0, "gap"), 10**400, "gap"),
        (("model",), [], "model"),
        (("findings", 0), 3, "findings[0]"),
    ],
)
def test_wrong_values_are_named(path: tuple[Any, ...], value: Any, named: str) -> None:
    fit = copy.deepcopy(to_dict(examples.single_batch()))
    place: Any = fit
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(DiagnoseError) as caught:
        from_dict(fit)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": 2, "fits": []}',
        '{"schema": 1, "fits": [{}]}',
        '{"schema": 1, "fits": [NaN]}',
        "[" * 100_000,
    ],
)
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(DiagnoseError):
        loads(text)

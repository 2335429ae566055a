"""`diagnosis.json`, schema 1: the keys and types that others rely on. More keys are allowed, fewer are not."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.cli.command import strict_json
from tests.conftest import Traced

FACTORS = {
    "weights-lag", "weights-drift", "restored-weights", "dropout", "batch-norm", "augmentation", "other-training-mode",
    "class-weights", "data-coverage", "aggregation",
}  # fmt: skip


class Maybe:
    """null, or a value of this shape."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape


class OneOf:
    def __init__(self, *values: str) -> None:
        self.values = values


NUMBERS = {str: float}
SHAPE: dict[Any, Any] = {
    "schema": int,
    "fits": [
        {
            "fit": int,
            "keras": str,
            "backend": OneOf("tensorflow", "jax", "torch"),
            "steps": int,
            "epochs": [
                {"epoch": int, "first_version": int, "last_version": int, "logged": NUMBERS, "reevaluated": NUMBERS}
            ],
            "replay": {"steps": int, "reproduced": int, "max_abs_error": NUMBERS},
            "ledgers": [
                {
                    "epoch": int,
                    "metric": str,
                    "logged": float,
                    "evaluated": float,
                    "gap": float,
                    "entries": [{"factor": OneOf(*FACTORS), "amount": float, "low": float, "high": float}],
                    "residual": float,
                }
            ],
            "restoration": {
                "callback": str,
                "monitor": str,
                "best_epoch": int,
                "best_logged": float,
                "restored_epoch": int,
                "restored_version": int,
                "restored_value": float,
                "computed_at": {"first": int, "last": int},
                "owner_versions": [int],
                "shift_updates": Maybe(int),
                "verdict": OneOf("aligned", "shifted", "no-owner", "not-restored", "replaced"),
                "best_by_reevaluation": {"epoch": int, "version": int, "value": float},
            },
            "findings": [
                {
                    "rule": str,
                    "status": OneOf("failed", "passed", "not-applicable"),
                    "title": str,
                    "evidence": dict,
                    "advice": str,
                }
            ],
        }
    ],
}


def check(value: Any, shape: Any, place: str) -> None:
    if isinstance(shape, Maybe):
        if value is not None:
            check(value, shape.shape, place)
    elif isinstance(shape, OneOf):
        assert value in shape.values, f"{place}: {value!r}"
    elif isinstance(shape, list):
        assert type(value) is list and value, place
        for index, item in enumerate(value):
            check(item, shape[0], f"{place}[{index}]")
    elif isinstance(shape, dict) and set(shape) == {str}:
        assert type(value) is dict and value, place
        for name, item in value.items():
            check(item, shape[str], f"{place}.{name}")
    elif isinstance(shape, dict):
        assert type(value) is dict, place
        assert set(shape) <= set(value), f"{place} lacks {set(shape) - set(value)}"
        for name, inner in shape.items():
            check(value[name], inner, f"{place}.{name}")
    else:
        assert type(value) is shape, f"{place}: {value!r} is no {shape.__name__}"


@pytest.fixture(params=["single_batch", "many_batches_val"])
def document(request: pytest.FixtureRequest, shipped: dict[str, Traced]) -> dict[str, Any]:
    run = shipped[request.param]
    assert "diagnosis.json" in run.files, run.done.stderr
    printed: dict[str, Any] = strict_json(run.done.stdout)
    assert printed == strict_json((run.out / "diagnosis.json").read_text("utf-8"))
    return printed


def test_keys_and_types(document: dict[str, Any]) -> None:
    check(document, SHAPE, "diagnosis.json")
    assert document["schema"] == 1 and len(document["fits"]) == 1


def test_epochs_count_from_one_and_versions_from_zero(document: dict[str, Any]) -> None:
    (fit,) = document["fits"]
    assert fit["fit"] == 1
    assert [row["epoch"] for row in fit["epochs"]] == list(range(1, len(fit["epochs"]) + 1))
    versions = [(row["first_version"], row["last_version"]) for row in fit["epochs"]]
    assert versions[0][0] == 0 and versions[-1][1] == fit["steps"]
    assert all(before[1] == after[0] for before, after in pairwise(versions))
    restoration = fit["restoration"]
    restored = fit["epochs"][restoration["restored_epoch"] - 1]
    assert restored["last_version"] == restoration["restored_version"]
    assert fit["epochs"][restoration["best_epoch"] - 1]["logged"][restoration["monitor"]] == restoration["best_logged"]


def test_numbers_have_full_precision(document: dict[str, Any]) -> None:
    """float32 losses written as float64 have some sixteen digits; rounded ones would not."""
    (fit,) = document["fits"]
    digits = [len(repr(row["logged"]["loss"]).replace(".", "").lstrip("0")) for row in fit["epochs"]]
    assert sorted(digits)[len(digits) // 2] >= 14


def test_a_rule_appears_once_with_a_title(document: dict[str, Any]) -> None:
    (fit,) = document["fits"]
    rules = [finding["rule"] for finding in fit["findings"]]
    assert len(rules) == len(set(rules)) >= 4
    assert all(finding["title"] for finding in fit["findings"])

"""The tables of a Diagnosis as DataFrames."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from diagnose.errors import DiagnoseError
from tests.report import examples


def test_ledger() -> None:
    frame = examples.many_batches().ledger("loss", epoch=1)
    assert list(frame.columns) == ["factor", "amount", "low", "high"]
    assert list(frame["factor"]) == ["weights-lag", "weights-drift", "restored-weights", "dropout", "residual"]
    assert frame.attrs["epoch"] == 1 and frame.attrs["metric"] == "loss"
    assert math.isclose(frame["amount"].sum(), frame.attrs["gap"], rel_tol=1e-12)
    assert math.isclose(frame.attrs["logged"] + frame.attrs["gap"], frame.attrs["evaluated"], rel_tol=1e-12)


def test_the_default_is_the_last_epoch_that_has_a_ledger() -> None:
    assert examples.single_batch().ledger("loss").attrs["epoch"] == 8
    assert examples.single_batch().ledger("mae").attrs["epoch"] == 6


@pytest.mark.parametrize(
    ("metric", "epoch", "named"), [("auc", None, "'loss', 'mae'"), ("loss", 7, "6, 8"), ("mae", 8, "are 6")]
)
def test_a_missing_ledger_names_those_that_exist(metric: str, epoch: int | None, named: str) -> None:
    with pytest.raises(KeyError) as caught:
        examples.single_batch().ledger(metric, epoch)
    assert isinstance(caught.value, DiagnoseError)
    assert named in str(caught.value) and not str(caught.value).startswith(('"', "'"))
    with pytest.raises(DiagnoseError, match="no ledgers"):
        examples.empty().ledger("loss")


def test_epochs() -> None:
    frame = examples.aligned().epochs
    assert list(frame.columns) == [
        "epoch", "first_version", "last_version", "logged_accuracy", "logged_loss", "logged_val_loss",
        "reevaluated_accuracy", "reevaluated_loss", "learning_rate", "validation_version", "analysed",
    ]  # fmt: skip
    assert list(frame["epoch"]) == list(range(1, 13))
    assert list(frame["validation_version"]) == list(range(5, 61, 5))
    assert frame["logged_loss"].dtype == "float64" and frame["analysed"].dtype == "bool"


def test_missing_values_stay_missing() -> None:
    base = examples.single_batch()
    rows = (replace(base.epoch_rows[0], reevaluated={}, learning_rate=None), *base.epoch_rows[1:])
    frame = replace(base, epoch_rows=rows).epochs
    assert math.isnan(frame["reevaluated_loss"][0]) and math.isnan(frame["learning_rate"][0])
    assert frame["validation_version"].isna().all()


def test_steps() -> None:
    base = examples.single_batch()
    steps = (*base.step_rows[:7], replace(base.step_rows[7], replayed=None, reproduced=None))
    frame = replace(base, step_rows=steps).steps
    assert list(frame.columns) == [
        "step", "epoch", "batch_index", "computed_at", "produced", "value_loss", "replayed_loss", "reproduced",
    ]  # fmt: skip
    assert list(frame["value_loss"]) == list(examples.ONE_STEP_LOSSES)
    assert list(frame["produced"] - frame["computed_at"]) == [1] * 8
    assert math.isnan(frame["replayed_loss"][7]) and frame["reproduced"][7] is pd.NA


def test_a_diagnosis_without_epochs_has_empty_tables() -> None:
    assert len(examples.empty().epochs) == 0 and len(examples.empty().steps) == 0

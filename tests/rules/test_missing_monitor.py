from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest

from diagnose.rules.missing_monitor import nearest
from tests.rules.advice import blocks
from tests.rules.runs import fit

RULE = "missing-monitor"


class Written(keras.callbacks.Callback):
    """Which epochs (1-based) left another file, by its contents."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.epochs, self._last = path, [], b""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        now = self.path.read_bytes() if self.path.exists() else b""
        if now != self._last:
            self.epochs.append(epoch + 1)
        self._last = now


def checkpoint(path: Path, monitor: str, **arguments: Any) -> Any:
    arguments = {"save_best_only": True, "save_weights_only": True, **arguments}
    return keras.callbacks.ModelCheckpoint(str(path), monitor, **arguments)


@pytest.mark.recorded
def test_fails_without_validation_data() -> None:
    finding = fit(keras.callbacks.EarlyStopping("val_loss", patience=1)).finding(RULE)
    assert finding.status == "failed"
    assert finding.evidence["names"] == ["accuracy", "loss"]
    assert "fit made no validation pass" in finding.title
    assert "in 5 epochs it could neither stop training nor restore weights" in finding.title
    assert "validation_data=" in blocks(finding.advice)[0]


@pytest.mark.recorded
def test_fails_for_another_name_of_the_metric() -> None:
    finding = fit(keras.callbacks.EarlyStopping("val_acc", mode="max", patience=1), validation=True).finding(RULE)
    assert finding.status == "failed"
    assert finding.evidence["nearest"] == "val_accuracy"
    assert 'monitor="val_accuracy"' in blocks(finding.advice)[0]


@pytest.mark.recorded
def test_fails_for_a_learning_rate_that_is_never_lowered() -> None:
    plateau = keras.callbacks.ReduceLROnPlateau("val_loss", patience=1)
    finding = fit(plateau).finding(RULE)
    assert finding.status == "failed"
    assert "could not lower the learning rate" in finding.title


def test_says_what_became_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "best.weights.h5"
    written = Written(path)
    finding = fit(checkpoint(path, "val_loss"), written, rate=1.0).finding(RULE)
    assert finding.status == "failed"
    if written.epochs:  # Keras 3.12 and 3.15.1 save in any case, 3.8 never does
        assert f"wrote its file {len(written.epochs)} times" in finding.title
        assert f"last after epoch {written.epochs[-1]}" in finding.title
    else:
        assert "was not seen to write a file" in finding.title


def test_fails_where_epochs_without_validation_are_saved_over_the_best(tmp_path: Path) -> None:
    path = tmp_path / "best.weights.h5"
    written = Written(path)
    seen = fit(checkpoint(path, "val_loss"), written, rate=1.0, validation=True, validation_freq=2)
    valued = [i + 1 for i, log in enumerate(seen.witness.logs) if "val_loss" in log]
    assert valued == [2, 4]
    finding = seen.finding(RULE)
    if written.epochs[-1] in valued:
        pytest.skip("this release of Keras does not save where the value is missing")
    assert finding.status == "failed"
    assert finding.evidence["saved_epochs"] == written.epochs
    assert finding.evidence["epochs_without"] == [1, 3, 5]
    assert finding.evidence["best_epoch"] == min(valued, key=lambda e: seen.witness.logs[e - 1]["val_loss"])
    assert f"The file holds the weights of epoch {written.epochs[-1]}" in finding.title
    blocks(finding.advice)


@pytest.mark.recorded
def test_control_early_stopping_passes_over_epochs_without_validation() -> None:
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=10)
    finding = fit(stopping, validation=True, validation_freq=2).finding(RULE)
    assert finding.status == "passed"
    assert "3 of 5 epochs have no 'val_loss'" in finding.title


def test_names_each_callback_that_misses_it(tmp_path: Path) -> None:
    path = tmp_path / "best.weights.h5"
    written = Written(path)
    finding = fit(keras.callbacks.EarlyStopping("val_loss"), checkpoint(path, "val_loss"), written, rate=1.0).finding(
        RULE
    )
    assert finding.evidence["callback"] == "EarlyStopping"
    assert "ModelCheckpoint watches it too: it could not tell which epoch was the best" in finding.title
    assert (f"wrote its file {len(written.epochs)} times" in finding.title) == bool(written.epochs)


class AddsF1(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["val_f1"] = 0.1 * epoch


@pytest.mark.recorded
def test_fails_where_the_value_comes_after_the_callback_that_wants_it() -> None:
    stopping = keras.callbacks.EarlyStopping("val_f1", mode="max", patience=1)
    finding = fit(stopping, AddsF1(), validation=True).finding(RULE)
    assert finding.status == "failed"
    assert "AddsF1" in finding.evidence["callbacks_behind"]
    assert "never saw 'val_f1'" in finding.title
    blocks(finding.advice)


@pytest.mark.recorded
def test_control_the_value_comes_before() -> None:
    stopping = keras.callbacks.EarlyStopping("val_f1", mode="max", patience=1)
    assert fit(AddsF1(), stopping, validation=True).finding(RULE).status == "passed"


class StopsByItself(keras.callbacks.EarlyStopping):
    def get_monitor_value(self, logs: Any) -> float:
        return float(logs["loss"] + logs["accuracy"])


@pytest.mark.recorded
def test_control_a_subclass_with_a_value_of_its_own() -> None:
    finding = fit(StopsByItself("total", mode="min", patience=1)).finding(RULE)
    assert finding.status == "not-applicable"
    assert "values of its own" in finding.title


@pytest.mark.recorded
def test_control_the_usual_case() -> None:
    assert fit(keras.callbacks.EarlyStopping("val_loss"), validation=True).finding(RULE).status == "passed"


@pytest.mark.parametrize(
    ("monitor", "names", "found"),
    [
        ("val_acc", ["accuracy", "loss", "val_accuracy", "val_loss"], "val_accuracy"),
        ("acc", ["accuracy", "loss"], "accuracy"),
        ("val_accuracy", ["loss", "val_loss", "val_sparse_categorical_accuracy"], "val_sparse_categorical_accuracy"),
        ("val_los", ["loss", "val_loss"], "val_loss"),
        ("xyzzy", ["loss"], None),
    ],
)
def test_the_nearest_name(monitor: str, names: list[str], found: str | None) -> None:
    assert nearest(monitor, names) == found

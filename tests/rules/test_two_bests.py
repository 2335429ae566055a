from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.rules.advice import blocks
from tests.rules.runs import Seen, fit

RULE = "two-bests"

OVERSHOOT: dict[str, Any] = {"rate": 30.0, "epochs": 8, "batch": 64, "validation": True}


class Accuracies(keras.callbacks.Callback):
    """Gives the epochs other accuracies, so that the two bests are where the test wants them."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        logs["val_accuracy"] = self.values[epoch]


def stopping(**settings: Any) -> Any:
    return keras.callbacks.EarlyStopping("val_loss", **{"patience": 50, "restore_best_weights": True, **settings})


def checkpoint(folder: Path, monitor: str, **settings: Any) -> Any:
    path = str(folder / "best.weights.h5")
    return keras.callbacks.ModelCheckpoint(
        path, monitor=monitor, save_best_only=True, save_weights_only=True, **settings
    )


def epoch_of(seen: Seen, weights: list[np.ndarray]) -> int:
    same = [all(np.array_equal(a, b) for a, b in zip(w, weights, strict=True)) for w in seen.witness.weights]
    return same.index(True) + 1


def in_file(seen: Seen, folder: Path) -> int:
    copy = keras.models.clone_model(seen.model)
    copy.load_weights(folder / "best.weights.h5")
    return epoch_of(seen, copy.get_weights())


def test_fails_where_memory_and_file_are_of_different_epochs(tmp_path: Path) -> None:
    best_at_7 = Accuracies([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9, 0.7])
    seen = fit(best_at_7, stopping(), checkpoint(tmp_path, "val_accuracy", mode="max"), **OVERSHOOT)
    finding = seen.finding(RULE)
    values = [log["val_loss"] for log in seen.witness.logs]
    restored = int(np.argmin(values)) + 1
    assert (epoch_of(seen, seen.model.get_weights()), in_file(seen, tmp_path)) == (restored, 7)
    assert restored != 7
    assert finding.status == "failed"
    assert (finding.evidence["restored"]["epoch"], finding.evidence["saved"]["epoch"]) == (restored, 7)
    assert finding.evidence["saved"]["logged"] == {"val_loss": values[6], "val_accuracy": 0.9}
    assert finding.evidence["saved"]["path"] == str(tmp_path / "best.weights.h5")
    assert (finding.metric, finding.effect) == ("val_loss", values[6] - values[restored - 1])
    again = seen.evaluate(seen.witness.weights[6])["loss"]
    assert finding.evidence["saved"]["reevaluated"]["loss"] == pytest.approx(again, rel=1e-5)
    blocks(finding.advice)


@pytest.mark.recorded
def test_control_both_bests_in_one_epoch(tmp_path: Path) -> None:
    plain = fit(stopping(), **OVERSHOOT)
    best = int(np.argmin([log["val_loss"] for log in plain.witness.logs]))
    peak = Accuracies([0.9 if epoch == best else 0.5 for epoch in range(8)])
    finding = fit(peak, stopping(), checkpoint(tmp_path, "val_accuracy", mode="max"), **OVERSHOOT).finding(RULE)
    assert (finding.status, finding.evidence["saved"]["epoch"]) == ("passed", best + 1)


@pytest.mark.recorded
def test_control_the_same_metric(tmp_path: Path) -> None:
    finding = fit(stopping(), checkpoint(tmp_path, "val_loss"), **OVERSHOOT).finding(RULE)
    assert finding.status == "passed"


@pytest.mark.recorded
def test_without_a_restore_only_the_file_is_a_best(tmp_path: Path) -> None:
    callbacks = stopping(restore_best_weights=False), checkpoint(tmp_path, "val_accuracy", mode="max")
    assert fit(*callbacks, **OVERSHOOT).finding(RULE).status == "not-applicable"


@pytest.mark.recorded
def test_one_of_the_two_alone(tmp_path: Path) -> None:
    assert fit(stopping(), **OVERSHOOT).finding(RULE).status == "not-applicable"
    only = fit(checkpoint(tmp_path, "val_accuracy", mode="max"), **OVERSHOOT)
    assert only.finding(RULE).status == "not-applicable"

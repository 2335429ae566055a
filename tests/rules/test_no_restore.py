from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from tests.rules.advice import paste
from tests.rules.runs import data, fit

RULE = "no-restore"
ARGUMENTS = {"rate": 30.0, "batch": 64, "epochs": 8, "validation": True}


def test_fails_where_the_last_weights_are_kept() -> None:
    seen = fit(keras.callbacks.EarlyStopping("val_loss", patience=50), **ARGUMENTS)
    values = [log["val_loss"] for log in seen.witness.logs]
    best = int(np.argmin(values))
    assert best != len(values) - 1, "the run must have a best epoch before its last"
    finding = seen.finding(RULE)
    assert finding.status == "failed"
    assert finding.evidence["best_epoch"] == best + 1
    assert finding.effect == values[-1] - values[best]
    assert seen.diagnosis.restoration.verdict == "not-restored"


@pytest.mark.recorded
def test_control_the_same_run_with_restore() -> None:
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=50, restore_best_weights=True)
    assert fit(stopping, **ARGUMENTS).finding(RULE).status == "passed"


@pytest.mark.recorded
def test_control_the_best_epoch_is_the_last() -> None:
    seen = fit(keras.callbacks.EarlyStopping("val_loss", patience=50), rate=0.01, validation=True)
    values = [log["val_loss"] for log in seen.witness.logs]
    assert int(np.argmin(values)) == len(values) - 1
    assert seen.finding(RULE).status == "passed"


@pytest.mark.recorded
def test_does_not_apply_without_early_stopping() -> None:
    assert fit().finding(RULE).status == "not-applicable"


@pytest.mark.recorded
def test_does_not_apply_where_the_monitor_never_appeared() -> None:
    finding = fit(keras.callbacks.EarlyStopping("val_loss", patience=2)).finding(RULE)
    assert finding.status == "not-applicable"
    assert "never saw 'val_loss'" in finding.title


class Accuracies(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["val_accuracy"] = self.values[epoch]


@pytest.mark.parametrize(("rows", "status"), [(0, "passed"), (1, "passed"), (2, "failed")])
def test_less_than_two_validation_rows_are_no_loss(rows: int, status: str) -> None:
    """Of 16 validation rows; the last epoch has so many fewer right than the best."""
    stopping = keras.callbacks.EarlyStopping("val_accuracy", patience=50)
    values = (12 / 16, 12 / 16 - rows / 16)
    finding = fit(Accuracies(*values), stopping, epochs=2, validation_split=0.25).finding(RULE)
    assert finding.status == status, finding.title


def test_control_the_best_epoch_is_in_a_file(tmp_path: Path) -> None:
    """The usual pair: EarlyStopping to stop, ModelCheckpoint to keep. Oracle: the file, loaded."""
    saving = keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"), "val_loss", save_best_only=True)
    seen = fit(keras.callbacks.EarlyStopping("val_loss", patience=50), saving, **ARGUMENTS)
    values = [log["val_loss"] for log in seen.witness.logs]
    assert int(np.argmin(values)) != len(values) - 1
    loaded = keras.saving.load_model(tmp_path / "best.keras")
    assert seen.evaluate(loaded.get_weights())["loss"] == pytest.approx(min(values), rel=1e-5)
    finding = seen.finding(RULE)
    assert finding.status == "passed" and "'best.keras'" in finding.title
    assert str(tmp_path) not in finding.title + str(finding.evidence)


@pytest.mark.parametrize("loads", [False, True], ids=["the last", "the file"])
def test_notable_where_the_script_goes_by_the_last_and_not_by_the_file(
    loads: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(3)
    x, y = data()
    with diagnose.trace() as session:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
        model.compile(keras.optimizers.SGD(30.0, momentum=0.9), "binary_crossentropy")
        saving = keras.callbacks.ModelCheckpoint("best.keras", "val_loss", save_best_only=True)
        callbacks = [keras.callbacks.EarlyStopping("val_loss", patience=50), saving]
        arguments: dict[str, Any] = {"validation_data": (x, y), "callbacks": callbacks, "verbose": 0}
        values = model.fit(x, y, batch_size=64, epochs=8, **arguments).history["val_loss"]
        used = keras.models.load_model("best.keras") if loads else model
        value = used.evaluate(x, y, verbose=0)
        (found,) = session.diagnose()
    finding = next(f for f in found.findings if f.rule == RULE)
    assert value == pytest.approx(min(values) if loads else values[-1], rel=1e-5) and values[-1] > min(values)
    assert (finding.status, finding.severity) == (("passed", None) if loads else ("failed", "notable")), finding.title
    if not loads:
        cured = paste(finding.advice, keras=keras, model=model)["model"]
        assert cured.evaluate(x, y, verbose=0) == pytest.approx(min(values), rel=1e-5)


def test_fails_where_the_checkpoint_wrote_no_file(tmp_path: Path) -> None:
    saving = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "last.keras"), "val_loss", save_best_only=True, initial_value_threshold=0.0
    )
    seen = fit(keras.callbacks.EarlyStopping("val_loss", patience=50), saving, **ARGUMENTS)
    assert not (tmp_path / "last.keras").exists()
    assert seen.finding(RULE).status == "failed" and seen.finding(RULE).severity == "wrong"

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose.decide import better
from tests.rules.advice import blocks
from tests.rules.runs import fit

RULE = "wrong-direction"
ARGUMENTS = {"rate": 0.3, "epochs": 8, "validation": True}


def test_fails_where_early_stopping_looks_for_the_lowest_accuracy() -> None:
    stopping = keras.callbacks.EarlyStopping("val_accuracy", mode="min", patience=3, restore_best_weights=True)
    seen = fit(stopping, **ARGUMENTS)
    values = [log["val_accuracy"] for log in seen.witness.logs]
    lowest, highest = int(np.argmin(values)), int(np.argmax(values))
    assert values[lowest] < values[highest]
    finding = seen.finding(RULE)
    assert finding.status == "failed"
    assert (finding.evidence["kept_epoch"], finding.evidence["best_epoch"]) == (lowest + 1, highest + 1)
    assert (finding.evidence["compared_for"], finding.evidence["better"]) == ("min", "max")
    assert finding.effect == values[highest] - values[lowest]
    kept = zip(seen.model.get_weights(), seen.witness.weights[lowest], strict=True)
    assert all(np.array_equal(*pair) for pair in kept)
    assert f"epoch {lowest + 1} ({values[lowest]:.6g}) for the best, whose weights the model now holds" in finding.title
    assert f"the best was epoch {highest + 1}" in finding.title
    assert 'mode="max"' in blocks(finding.advice)[0]


def test_fails_for_a_checkpoint_and_its_file(tmp_path: Path) -> None:
    path = str(tmp_path / "best.weights.h5")
    checkpoint = keras.callbacks.ModelCheckpoint(
        path, "val_loss", mode="max", save_best_only=True, save_weights_only=True
    )
    seen = fit(checkpoint, **ARGUMENTS)
    values = [log["val_loss"] for log in seen.witness.logs]
    finding = seen.finding(RULE)
    assert finding.status == "failed"
    assert finding.evidence["kept_epoch"] == int(np.argmax(values)) + 1
    seen.model.load_weights(path)
    assert seen.evaluate()["loss"] == pytest.approx(max(values), rel=1e-5)
    assert finding.effect == max(values) - min(values)


def test_fails_for_a_plateau_of_rising_accuracy() -> None:
    plateau = keras.callbacks.ReduceLROnPlateau("val_accuracy", mode="min", patience=2)
    seen = fit(plateau, **ARGUMENTS)
    rates = [log["learning_rate"] for log in seen.witness.logs]
    lowered = [i for i in range(1, len(rates)) if rates[i] < rates[i - 1]]
    assert lowered
    finding = seen.finding(RULE)
    assert finding.status == "failed"
    assert set(lowered) <= set(finding.evidence["rate_lowered_in_epochs"])
    assert finding.effect is None


@pytest.mark.recorded
@pytest.mark.parametrize(("monitor", "mode"), [("val_accuracy", "max"), ("val_accuracy", "auto"), ("val_loss", "auto")])
def test_control_the_right_way_round(monitor: str, mode: str) -> None:
    stopping = keras.callbacks.EarlyStopping(monitor, mode=mode, patience=3, restore_best_weights=True)
    assert fit(stopping, **ARGUMENTS).finding(RULE).status == "passed"


@pytest.mark.recorded
def test_control_a_metric_of_the_users_own_may_be_better_either_way() -> None:
    def accuracy_like(y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean(keras.ops.cast(keras.ops.equal(y_true, keras.ops.round(y_pred)), "float32"), axis=-1)

    seen = run_with_metrics([accuracy_like], keras.callbacks.EarlyStopping("val_accuracy_like", mode="min", patience=2))
    finding = next(f for f in seen.findings if f.rule == RULE)
    assert finding.status == "not-applicable"
    assert "'val_accuracy_like'" in finding.title


@pytest.mark.recorded
def test_control_a_class_of_the_users_that_only_has_the_name() -> None:
    class Recall(keras.metrics.Metric):
        """Counts what was missed."""

        def __init__(self) -> None:
            super().__init__(name="recall")
            self.missed = keras.metrics.FalseNegatives()

        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            self.missed.update_state(y_true, y_pred, sample_weight)

        def result(self) -> Any:
            return self.missed.result()

        def reset_state(self) -> None:
            self.missed.reset_state()

    found = run_with_metrics([Recall()], keras.callbacks.EarlyStopping("val_recall", mode="min", patience=2))
    assert next(f for f in found.findings if f.rule == RULE).status == "not-applicable"


@pytest.mark.recorded
def test_one_value_has_no_direction() -> None:
    stopping = keras.callbacks.EarlyStopping("val_accuracy", mode="min")
    assert fit(stopping, epochs=1, validation=True).finding(RULE).status == "not-applicable"


def run_with_metrics(metrics: list[Any], *callbacks: Any) -> Any:
    from diagnose import Tracer
    from tests.rules.runs import data

    keras.utils.set_random_seed(3)
    x, y = data()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.SGD(0.3), "binary_crossentropy", metrics=metrics)
    tracer = Tracer()
    model.fit(x, y[:, None], epochs=4, verbose=0, validation_data=(x, y[:, None]), callbacks=[*callbacks, tracer])
    return tracer.diagnose()


ARGUMENTS_OF = {
    "SensitivityAtSpecificity": (0.5,), "SpecificityAtSensitivity": (0.5,), "PrecisionAtRecall": (0.5,),
    "RecallAtPrecision": (0.5,), "IoU": (2, [0]), "MeanIoU": (2,), "OneHotIoU": (2, [0]), "OneHotMeanIoU": (2,),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(better.HIGHER | better.LOWER))
def test_the_table_says_what_keras_says(name: str) -> None:
    if not hasattr(keras.metrics, name):
        pytest.skip("this release of Keras has no such metric")
    metric = getattr(keras.metrics, name)(*ARGUMENTS_OF.get(name, ()))
    direction = getattr(metric, "_direction", None)
    if direction is not None:
        assert (direction == "up") == (name in better.HIGHER)


def test_every_metric_that_keras_gives_a_direction_is_in_the_table() -> None:
    kinds = [c for _, c in inspect.getmembers(keras.metrics, inspect.isclass) if issubclass(c, keras.metrics.Metric)]
    known = better.HIGHER | better.LOWER
    left_out = {c.__name__ for c in kinds} - known
    assert left_out <= {"Mean", "MeanMetricWrapper", "MeanRelativeError", "Metric", "Sum"}

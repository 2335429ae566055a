"""The cure: values that belong to the weights kept, in fits that are otherwise what they were."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest

from diagnose.callbacks import OwnedEarlyStopping, ReevaluatedMetrics

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 4)).astype("float32")
Y = (X[:, 0] + 0.5 * RNG.normal(size=48) > 0).astype("float32")

Callbacks = Sequence[keras.callbacks.Callback]


def build(stateful: bool = False) -> keras.Model:
    """Everything that training mode draws for or keeps: dropout, batch normalisation; or the states of an RNN."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    if stateful:
        body = [keras.Input((4, 1), batch_size=16), layers.LSTM(3, stateful=True)]
    else:
        body = [keras.Input((4,)), layers.Dense(8, "relu"), layers.BatchNormalization(), layers.Dropout(0.3)]
    model = keras.Sequential([*body, layers.Dense(1, activation="sigmoid")])
    model.compile(
        keras.optimizers.Adam(0.05), "binary_crossentropy", metrics=["accuracy", keras.metrics.AUC(name="auc")]
    )
    return model


def fit(model: keras.Model, callbacks: Callbacks, **arguments: Any) -> dict[str, list[float]]:
    given = {"batch_size": 16, "epochs": 4, "verbose": 0} | arguments
    return dict(model.fit(X, Y, callbacks=list(callbacks), **given).history)


def contents(model: keras.Model) -> list[bytes]:
    states = [v for layer in model.layers for v in getattr(layer, "states", None) or []]
    variables = [*model.variables, *states, *model.optimizer.variables, *model.metrics_variables]
    return [v.numpy().tobytes() for v in variables]


class Weights(keras.callbacks.Callback):  # type: ignore[misc]
    """The weights before each step and at the end of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[list[Any]] = []
        self.ends: list[list[Any]] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.before.append([w.copy() for w in self.model.get_weights()])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.ends.append([w.copy() for w in self.model.get_weights()])


def same(a: list[Any], b: list[Any]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


NOT_ON_TORCH = pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="Keras 3.15.1 cannot train a stateful RNN on torch: backward() fails"
)


@pytest.mark.parametrize(
    ("stateful", "validation"),
    [
        pytest.param(False, None, id="plain"),
        pytest.param(False, (X[:16], Y[:16]), id="validation"),
        pytest.param(True, None, id="stateful", marks=NOT_ON_TORCH),
    ],
)
def test_a_fit_with_reevaluated_metrics_is_the_fit_without(stateful: bool, validation: Any) -> None:
    def run(cure: Callbacks) -> tuple[Any, ...]:
        model = build(stateful)
        random.seed(5)
        history = fit(model, cure, validation_data=validation)
        draws = random.random(), np.random.random(), float(keras.random.uniform(()))
        flags = [getattr(layer, "training", None) for layer in model.layers]
        first = contents(model)
        fit(model, [], epochs=1)  # what comes after is the same, too
        return history, draws, flags, model.stop_training, first, contents(model)

    plain, cured = run([]), run([ReevaluatedMetrics(X, Y, batch_size=16)])
    assert {k: v for k, v in cured[0].items() if not k.startswith("eval_")} == plain[0]
    assert {"eval_loss", "eval_accuracy", "eval_auc"} == set(cured[0]) - set(plain[0])
    assert cured[1:] == plain[1:]


def test_values_are_those_of_evaluate_with_the_weights_at_the_end_of_each_epoch() -> None:
    model, weights = build(), Weights()
    history = fit(model, [ReevaluatedMetrics(X, Y, batch_size=16), weights])
    for epoch, held in enumerate(weights.ends):
        model.set_weights(held)
        expected = model.evaluate(X, Y, batch_size=16, verbose=0, return_dict=True)
        assert {name: history[f"eval_{name}"][epoch] for name in expected} == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("monitor", "operation"), [("eval_loss", "less"), ("eval_accuracy", "greater"), ("eval_auc", "greater")]
)
def test_callbacks_after_it_get_the_direction(monitor: str, operation: str, tmp_path: Any) -> None:
    stopping = keras.callbacks.EarlyStopping(monitor=monitor, patience=9)
    plateau = keras.callbacks.ReduceLROnPlateau(monitor=monitor)
    saving = keras.callbacks.ModelCheckpoint(
        tmp_path / "b.weights.h5", monitor, save_best_only=True, save_weights_only=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit(build(), [ReevaluatedMetrics(X, Y), stopping, plateau, saving], epochs=2)
    assert [c.monitor_op.__name__ for c in (stopping, plateau, saving)] == [operation] * 3


def test_a_wrong_direction_is_warned_about() -> None:
    stopping = keras.callbacks.EarlyStopping(monitor="eval_auc", mode="min", patience=9)
    with pytest.warns(UserWarning, match="EarlyStopping takes the wrong direction for 'eval_auc'; pass mode='max'"):
        fit(build(), [ReevaluatedMetrics(X, Y), stopping], epochs=2)


@pytest.mark.parametrize(
    "make", [lambda: ReevaluatedMetrics(iter([(X, Y)])), lambda: ReevaluatedMetrics(X, Y, prefix="val_")]
)
def test_what_cannot_work_is_refused_at_once(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError):
        make()


# ── OwnedEarlyStopping ──


def test_one_step_epochs_keep_the_weights_before_the_update() -> None:
    model, weights = build(), Weights()
    history = fit(model, [weights, OwnedEarlyStopping(monitor="loss", patience=2)], batch_size=48, epochs=8)
    best = int(np.argmin(history["loss"]))
    assert same(model.get_weights(), weights.before[best])
    assert not same(weights.before[best], weights.ends[best])


def test_validation_keeps_the_weights_that_were_validated() -> None:
    model, weights = build(), Weights()
    rows = X[:20], Y[:20]
    history = fit(model, [weights, OwnedEarlyStopping(monitor="val_loss", patience=2)], validation_data=rows, epochs=12)
    best = int(np.argmin(history["val_loss"]))
    assert same(model.get_weights(), weights.ends[best])
    assert model.evaluate(*rows, verbose=0)[0] == pytest.approx(history["val_loss"][best], rel=1e-6)


def test_averages_swapped_in_for_validation_are_what_is_kept() -> None:
    model = build()
    model.compile(keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.8), "binary_crossentropy")
    rows = X[:20], Y[:20]
    callbacks = [keras.callbacks.SwapEMAWeights(), OwnedEarlyStopping(monitor="val_loss", patience=2)]
    history = fit(model, callbacks, validation_data=rows, epochs=12)
    assert model.evaluate(*rows, verbose=0, return_dict=True)["loss"] == pytest.approx(
        min(history["val_loss"]), rel=1e-6
    )


def test_many_batches_go_by_the_value_evaluated_again() -> None:
    model, weights = build(), Weights()
    cure = OwnedEarlyStopping(monitor="accuracy", patience=2, x=X, y=Y)
    with pytest.warns(UserWarning, match="averaged over 3 batches") as caught:
        history = fit(model, [weights, cure], epochs=10)
    assert len([w for w in caught if "averaged over" in str(w.message)]) == 1
    best = int(np.argmax(history["eval_accuracy"]))  # the first of equals, as in Keras
    assert same(model.get_weights(), weights.ends[best])
    assert model.evaluate(X, Y, verbose=0)[1] == pytest.approx(history["eval_accuracy"][best])


def test_a_value_without_owner_and_without_rows_is_refused_before_training() -> None:
    model = build()
    before = contents(model)
    with pytest.raises(ValueError, match=r"averaged over 3 batches.*Give OwnedEarlyStopping the rows"):
        fit(model, [OwnedEarlyStopping(monitor="loss")])
    assert contents(model)[: len(model.variables)] == before[: len(model.variables)]


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras on torch has no steps_per_execution above 1")
def test_several_batches_in_one_execution_are_seen() -> None:
    model = build()
    model.compile("sgd", "binary_crossentropy", steps_per_execution=3)
    with pytest.warns(UserWarning, match="averaged over 3 batches"):
        history = dict(
            model.fit(
                ((X[i : i + 16], Y[i : i + 16]) for _ in range(2) for i in (0, 16, 32)),
                steps_per_epoch=3,
                epochs=2,
                verbose=0,
                callbacks=[OwnedEarlyStopping(monitor="loss", x=X, y=Y)],
            ).history
        )
    assert "eval_loss" in history


def test_used_again_it_starts_anew() -> None:
    model, cure = build(), OwnedEarlyStopping(monitor="loss", patience=1, x=X, y=Y)
    with pytest.warns(UserWarning, match="averaged"):
        fit(model, [cure], epochs=3)
    weights = Weights()
    history = fit(model, [weights, cure], batch_size=48, epochs=3)
    assert "eval_loss" not in history
    assert same(model.get_weights(), weights.before[int(np.argmin(history["loss"]))])


def test_after_reevaluated_metrics_it_goes_by_these() -> None:
    model, weights = build(), Weights()
    callbacks = [ReevaluatedMetrics(X, Y), weights, OwnedEarlyStopping(monitor="eval_auc", patience=2)]
    history = fit(model, callbacks, epochs=10)
    assert same(model.get_weights(), weights.ends[int(np.argmax(history["eval_auc"]))])

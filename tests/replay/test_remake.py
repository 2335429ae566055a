"""Versions that were not kept are made again by training, and count only if they equal the recorded ones by digest."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Diagnosis, Tracer

BACKEND = keras.config.backend()


def fit(weights: Any, *callbacks: Any, layers: tuple[Any, ...] = (), **arguments: Any) -> tuple[Diagnosis, Any]:
    keras.utils.set_random_seed(4)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4)).astype("float32")
    y = (x[:, 0] > 0).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            *layers,
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    tracer = Tracer(weights=weights)
    model.fit(x, y, batch_size=16, epochs=3, verbose=0, callbacks=[*callbacks, tracer], **arguments)
    held = [np.array(w) for w in model.get_weights()]
    slots = [keras.ops.convert_to_numpy(v.value) for v in model.optimizer.variables]
    diagnosis = tracer.diagnose()
    assert all(np.array_equal(a, b) for a, b in zip(held, model.get_weights(), strict=True))
    now = [keras.ops.convert_to_numpy(v.value) for v in model.optimizer.variables]
    assert all(np.array_equal(a, b) for a, b in zip(slots, now, strict=True))
    return diagnosis, model


def halve(epoch: int, rate: float) -> float:
    return 0.01 / (epoch + 1)


class Shrink(keras.callbacks.Callback):
    """Changes the weights in the middle of an epoch."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 1:
            self.model.set_weights([0.9 * np.array(w) for w in self.model.get_weights()])


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (lambda: (), {}),
        (lambda: (keras.callbacks.LearningRateScheduler(halve),), {}),
        (lambda: (keras.callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True),), {}),
        (lambda: (Shrink(),), {}),
        (lambda: (), {"class_weight": {0: 1.0, 1: 3.0}}),
        (lambda: (), {"shuffle": False}),
    ],
    ids=["plain", "learning rate by epoch", "restore", "changed inside an epoch", "class weights", "in order"],
)
def test_the_diagnosis_is_the_same_as_with_all_weights_kept(make: Any, arguments: Any) -> None:
    kept, _ = fit("auto", *make(), **arguments)
    made, _ = fit("epochs", *make(), **arguments)
    assert kept.versions["kept"] == kept.versions["total"] == 13
    assert made.versions["kept"] < 13
    assert made.replay is not None and (made.replay.steps, made.replay.reproduced) == (12, 12)
    assert made.ledgers == kept.ledgers and made.ledgers
    assert made.step_rows == kept.step_rows
    assert made.headline == kept.headline


@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="a TensorFlow operation with a seed of its own outside the variables"
)
def test_what_cannot_be_made_again_is_not_replayed() -> None:
    import tensorflow as tf

    class Noise(keras.layers.Layer):
        def call(self, value: Any, training: bool = False) -> Any:
            return value + tf.random.normal(tf.shape(value)) if training else value

    diagnosis, _ = fit("epochs", layers=(Noise(),))
    # The operation counts its calls: only a newly compiled step begins where the fit began.
    assert diagnosis.replay is not None and set(diagnosis.replay.epochs) <= {1}
    assert diagnosis.notice is not None and "training from its start made others" in diagnosis.notice
    assert diagnosis.ledgers == ()
    assert len(diagnosis.epoch_rows[-1].reevaluated) == 2, "the ends of epochs were kept and can be evaluated"


def unfreeze(model: Any) -> None:
    model.layers[0].trainable = True
    model.compile(keras.optimizers.SGD(0.5, momentum=0.9), "mse")


def freeze_itself(model: Any) -> None:
    """As a GAN does with its discriminator."""
    model.trainable = False


def freeze_a_layer(model: Any) -> None:
    model.layers[-1].trainable = False
    model.compile("adam", "mae")


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen base", "all trained"])
@pytest.mark.parametrize("change", [unfreeze, freeze_itself, freeze_a_layer])
def test_what_the_fit_was_run_with_counts_not_what_the_model_is_now(change: Any, frozen: bool) -> None:
    keras.utils.set_random_seed(4)
    x = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
    y = x.sum(1, keepdims=True)
    base = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6, activation="relu"), keras.layers.Dense(3)])
    base.trainable = not frozen
    model = keras.Sequential([keras.Input((4,)), base, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    tracer = Tracer(weights="epochs")
    model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=[tracer])
    change(model)
    flags = [bool(v.trainable) for v in model.variables], [bool(x.trainable) for x in model._flatten_layers()]
    optimizer = model.optimizer
    diagnosis = tracer.diagnose()
    assert diagnosis.problems == ()
    assert diagnosis.replay is not None and (diagnosis.replay.steps, diagnosis.replay.reproduced) == (6, 6)
    assert diagnosis.versions["kept"] < diagnosis.versions["total"] and "made again" in diagnosis.versions["policy"]
    assert flags == ([bool(v.trainable) for v in model.variables], [bool(x.trainable) for x in model._flatten_layers()])
    assert model.optimizer is optimizer


def changed_by(share: float) -> Any:
    """Steps trained again whose first weights come out otherwise by this share, each by itself, as an operation that
    adds in no fixed order makes them."""
    from diagnose.replay.keras.retrain import KerasRetrainer

    step = KerasRetrainer.step

    def changed(self: Any, *arguments: Any) -> Any:
        arrays, metrics = step(self, *arguments)
        return [np.asarray(arrays[0] * (1 + share), arrays[0].dtype), *arrays[1:]], metrics

    return changed


def test_versions_that_differ_by_rounding_are_taken_and_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diagnose.replay.keras.retrain.KerasRetrainer.step", changed_by(3e-7))
    diagnosis, _ = fit("epochs")
    assert diagnosis.replay is not None and (diagnosis.replay.steps, diagnosis.replay.reproduced) == (12, 12)
    assert "differ in the last digits" in diagnosis.versions["policy"]


def test_control_those_that_lead_elsewhere_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diagnose.replay.keras.retrain.KerasRetrainer.step", changed_by(1e-3))
    diagnosis, _ = fit("epochs")
    assert diagnosis.replay is not None and diagnosis.replay.steps == 0
    assert diagnosis.replay.reason is not None and "made others (first at version" in diagnosis.replay.reason

"""A loss that is another function later in the fit, by a number outside the model; and what only looks like it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from tests.rules.advice import cures, paste

RULE = "loss-changed"
constant_on_jax = pytest.mark.skipif(keras.backend.backend() == "jax", reason="compiled into the step as a constant")


class Penalised(keras.losses.Loss):  # type: ignore[misc]
    """The mean of squares, and `weight` (a number or a variable) times that of the predictions."""

    def __init__(self, weight: Any) -> None:
        super().__init__()
        self.weight = weight

    def call(self, y_true: Any, y_pred: Any) -> Any:
        squares = keras.ops.square(y_true - y_pred) + self.weight * keras.ops.square(y_pred)
        return keras.ops.mean(squares, axis=-1)


class Weighted(Penalised):
    """The mean of squares, and `weight` times that."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return (1.0 + self.weight) * keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


class Raise(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, put: Any) -> None:
        super().__init__()
        self.put = put

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.put(min(epoch, 3) / 4)


def fit(loss: Any, *callbacks: Any, metrics: Any = ("mse",), rate: float = 0.05, **compiled: Any) -> tuple[Any, Any]:
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(2)
    x = rng.normal(size=(48, 3)).astype("float32")
    y = (x @ [1.0, -1.0, 0.5] + 2).astype("float32")[:, None]
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), loss, metrics=list(metrics), **compiled)
    tracer = Tracer()
    model.fit(x, y, batch_size=16, epochs=5, verbose=0, validation_data=(x, y), callbacks=[*callbacks, tracer])
    diagnosis = tracer.diagnose()
    return diagnosis, next(f for f in diagnosis.findings if f.rule == RULE)


def values(finding: Any) -> list[float]:
    (changed,) = finding.evidence["changed"]
    return [v["value"] for v in changed["values"]]


@constant_on_jax
def test_a_variable_in_a_closure() -> None:
    weight = keras.Variable(0.0, trainable=False, name="weight")

    def loss(y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean(keras.ops.square(y_true - y_pred) + weight * keras.ops.square(y_pred), axis=-1)

    stopping = keras.callbacks.EarlyStopping("val_loss", patience=9, restore_best_weights=True)
    diagnosis, finding = fit(loss, Raise(weight.assign), stopping)
    assert finding.status == "failed"
    assert values(finding) == [0.0, 0.25, 0.5, 0.75, 0.75]
    assert "`weight` of the loss 'loss' was 0 when epoch 1 began and 0.75 when epoch 5 began." in finding.title
    assert (finding.evidence["steps"], finding.evidence["steps_with_another_loss"]) == (15, 9)
    assert 'monitor="val_mse"' in finding.advice
    r = diagnosis.restoration
    assert diagnosis.headline == finding.title and r.verdict != "no-owner" and "average" not in r.sentence


@constant_on_jax
@cures(RULE)
def test_advice_keeps_the_best_epoch_by_a_metric() -> None:
    """The user's own call on the metric: it keeps the epoch whose error is least, which the loss did not."""
    weight = keras.Variable(0.0, trainable=False, name="weight")
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=9, baseline=50.0, restore_best_weights=True)

    def raises() -> Any:
        weight.assign(0.0)
        return Raise(lambda w: weight.assign(6.0 if w else 0.0))

    diagnosis, finding = fit(Weighted(weight), raises(), stopping, rate=0.002)
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(2)
    x = rng.normal(size=(48, 3)).astype("float32")
    y = (x @ [1.0, -1.0, 0.5] + 2).astype("float32")[:, None]
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.002), Weighted(weight), metrics=["mse"])
    code = finding.advice.replace("callbacks=[", "callbacks=[raises, ")
    fill = {"epochs=...": "epochs=5, batch_size=16, verbose=0, validation_data=(x, y)"}
    again = paste(code, fill=fill, raises=raises(), model=model, x=x, y=y)["model"]
    errors = again.history.history["val_mse"]
    held = float(np.mean((keras.ops.convert_to_numpy(model(x)) - y) ** 2))
    assert held == pytest.approx(min(errors), rel=1e-4)
    best_loss = diagnosis.restoration.restored_epoch
    assert errors[best_loss - 1] > min(errors) * 1.01, "the loss chose another"


@pytest.mark.recorded
def test_a_plain_number_in_an_attribute_of_the_loss() -> None:
    loss = Penalised(0.0)
    _, finding = fit(loss, Raise(lambda w: setattr(loss, "weight", w)), run_eagerly=True)
    assert finding.status == "failed" and values(finding) == [0.0, 0.25, 0.5, 0.75, 0.75]


@pytest.mark.recorded
@constant_on_jax
def test_without_a_metric_beside_it_the_number_tells() -> None:
    weight = keras.Variable(0.0, trainable=False, name="weight")
    _, finding = fit(Penalised(weight), Raise(weight.assign), metrics=())
    assert finding.status == "failed" and "9 of 15 steps do not come out as recorded" in finding.title
    assert 'metrics=["mse"]' in finding.advice


@constant_on_jax
def test_one_element_of_a_variable() -> None:
    weight = keras.Variable([0.0, 1.0], trainable=False, name="weight")
    _, finding = fit(lambda y, p: keras.ops.square(y - p) + weight[0] * p**2, Raise(lambda w: weight.assign([w, 1.0])))
    assert finding.status == "failed" and values(finding) == [0.0, 0.25, 0.5, 0.75, 0.75]
    assert "`weight[0]`" in finding.title


def test_what_the_loss_reads_is_told_by_the_evidence_where_it_is_not_found() -> None:
    """Kept where no look reaches, and changed after the last step, too."""
    deep = [[[0.0]]]

    def loss(y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1) + deep[0][0][0]

    change = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: deep[0][0].append(deep[0][0].pop() + 1))
    diagnosis, finding = fit(loss, change, keras.callbacks.EarlyStopping("loss", patience=9), run_eagerly=True)
    assert finding.status == "failed" and finding.evidence["changed"] == []
    assert "reads something that is another now" in finding.title and "of 15 of 15 steps" in finding.title
    assert "average" not in diagnosis.restoration.sentence
    moving = next(f for f in diagnosis.findings if f.rule == "moving-average-of-weights")
    assert (moving.status, moving.evidence) == ("not-applicable", {"metric": "loss"})


def test_the_rate_of_a_dropout_layer() -> None:
    class Rate(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model.layers[0].rate = 0.25 * epoch

    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(32, 3)).astype("float32"), rng.normal(size=(32, 1)).astype("float32")
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dropout(0.5, seed=1, name="dropout"), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse", run_eagerly=True)
    tracer = Tracer()
    model.fit(x, y, batch_size=16, epochs=3, verbose=0, callbacks=[Rate(), tracer])
    finding = next(f for f in tracer.diagnose().findings if f.rule == RULE)
    assert finding.status == "failed" and values(finding) == [0.0, 0.25, 0.5]
    assert finding.title.startswith("What the model computes changed during the fit")
    assert "`rate` of layer 'dropout' was 0 when epoch 1 began and 0.5 when epoch 3 began." in finding.title


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="its graphs take plain numbers in as constants")
def test_a_plain_number_that_a_graph_does_not_see_is_said_to_be_one() -> None:
    loss = Penalised(0.0)
    _, finding = fit(loss, Raise(lambda w: setattr(loss, "weight", w)))
    assert finding.status == "not-applicable" and "a compiled step on TensorFlow goes by the value" in finding.title


@pytest.mark.recorded
def test_control_the_same_number_unchanged() -> None:
    weight = keras.Variable(0.5, trainable=False, name="weight")
    _, finding = fit(Penalised(weight), Raise(lambda w: weight.assign(0.5)))
    assert finding.status == "passed" and finding.effect == 0.0


@pytest.mark.recorded
def test_a_number_that_no_step_sees_is_no_finding() -> None:
    """TensorFlow puts a plain number into the graph once: changing it has no effect."""
    loss = Penalised(0.5)
    if keras.backend.backend() == "torch":
        pytest.skip("each step runs the user's code")
    _, finding = fit(loss, Raise(lambda w: None))
    assert finding.status == "passed"


@pytest.mark.recorded
def test_a_loss_that_draws_is_not_said_to_have_changed() -> None:
    rng = np.random.default_rng()

    def loss(y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1) + float(rng.uniform())

    _, finding = fit(loss, run_eagerly=True)
    assert finding.status == "not-applicable" and "draw at random" in finding.title


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="others see the change")
def test_on_jax_a_compiled_step_does_not_see_it() -> None:
    weight = keras.Variable(0.0, trainable=False, name="weight")
    _, finding = fit(Penalised(weight), Raise(weight.assign))
    assert finding.status == "not-applicable" and "compiled step on JAX" in finding.title

"""Replay of real fits: steps come out as recorded, re-evaluation is Keras's evaluate, the model is left as it was."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer, read_trace
from diagnose.analysis.analyze import analyse
from diagnose.errors import DiagnoseError
from tests.replay.fits import BACKEND, Copies, classifier, fit, labels, linear, rows

ONE_STEP = pytest.mark.skipif(BACKEND == "torch", reason="Keras on torch knows only steps_per_execution=1")


class Doubles(keras.layers.Layer):
    """A layer of the user's that behaves differently in training."""

    def call(self, x: Any, training: bool = False) -> Any:
        return 2 * x if training else x


MODELS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "dropout": (lambda: classifier(keras.layers.Dropout(0.4)), {}),
    "seeded dropout": (lambda: classifier(keras.layers.Dropout(0.4, seed=3)), {}),
    "batch norm": (lambda: classifier(keras.layers.BatchNormalization()), {}),
    "all three": (
        lambda: classifier(
            keras.layers.GaussianNoise(0.2), keras.layers.BatchNormalization(), keras.layers.Dropout(0.4)
        ),
        {"class_weight": {0: 1.0, 1: 3.0}},
    ),
    "a layer of the user's": (lambda: classifier(Doubles()), {}),
    "penalties": (lambda: classifier(kernel_regularizer="l2", activity_regularizer="l1"), {}),
    "sample weights": (lambda: classifier(), {"sample_weight": np.linspace(0, 2, 22, dtype="float32")}),
    "nested": (
        lambda: classifier(keras.Sequential([keras.layers.Dropout(0.4), keras.layers.BatchNormalization()])),
        {},
    ),
    "eager": (lambda: classifier(keras.layers.Dropout(0.4), compiled={"run_eagerly": True}), {}),
}


class Unseeded(keras.layers.Layer):
    """Draws from Keras's global seed generator, in evaluation too."""

    def call(self, x: Any) -> Any:
        return x + 0.5 * keras.random.normal(keras.ops.shape(x))


if BACKEND == "tensorflow":  # XLA has other random numbers than TensorFlow's graphs
    MODELS |= {
        "compiled by XLA": (
            lambda: classifier(
                keras.layers.GaussianNoise(0.2),
                keras.layers.BatchNormalization(),
                keras.layers.Dropout(0.4),
                compiled={"jit_compile": True},
            ),
            {"class_weight": {0: 1.0, 1: 3.0}},
        ),
    }
if BACKEND != "jax":  # Keras on JAX refuses it inside a step
    MODELS["the global seed generator"] = (lambda: classifier(Unseeded()), {})


def bits(variables: Any) -> list[bytes]:
    return [np.array(keras.ops.convert_to_numpy(v.value)).tobytes() for v in variables]


@pytest.mark.parametrize("name", MODELS)
def test_every_step_and_every_epoch_is_reproduced(name: str, tmp_path: Path) -> None:
    make, arguments = MODELS[name]
    x, y = labels()
    tracer, history = fit(tmp_path, make(), x=x, y=y, **arguments)
    replay = tracer.diagnose().replay
    assert replay is not None and replay.reason is None
    assert (replay.steps, replay.reproduced, replay.epochs) == (18, 18, (1, 2, 3))
    assert set(replay.max_abs_error) == set(history)
    assert all(error <= 1e-5 for error in replay.max_abs_error.values()), replay.max_abs_error


@pytest.mark.skipif(BACKEND == "jax", reason="Keras on JAX refuses its global seed generator inside a step")
@pytest.mark.parametrize("random", [True, False])
def test_that_evaluate_itself_draws_is_said(random: bool, tmp_path: Path) -> None:
    x, y = labels()
    model = classifier(*([Unseeded()] if random else [keras.layers.Dropout(0.4)]))
    tracer, _ = fit(tmp_path, model, x=x, y=y)
    assert ("evaluate itself draws" in (tracer.diagnose().notice or "")) is random
    values = {model.evaluate(x, y, verbose=0)[0] for _ in range(2)}
    assert len(values) == (2 if random else 1)


def test_sample_weights_for_one_of_two_outputs(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    x, y = rows(32)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, [keras.layers.Dense(1, name="a")(inputs), keras.layers.Dense(1, name="b")(inputs)])
    model.compile("adam", ["mse", "mse"])
    weights = [np.linspace(0, 2, 32, dtype="float32"), None]
    replay = fit(tmp_path, model, x=x, y=[y, -y], sample_weight=weights, batch_size=8)[0].diagnose().replay
    assert replay is not None and (replay.steps, replay.reproduced) == (12, 12)


class Interrupts(keras.callbacks.Callback):
    """After so many steps of an epoch (0-based)."""

    def __init__(self, epoch: int, steps: int) -> None:
        super().__init__()
        self.at = epoch, steps
        self.now = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.now = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (self.now, batch + 1) == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("weights", ["auto", "epochs"])
@pytest.mark.parametrize("finished", [0, 2])
def test_the_steps_of_an_epoch_that_did_not_end_are_reproduced(weights: Any, finished: int, tmp_path: Path) -> None:
    x, y = labels()
    tracer = Tracer(tmp_path / "fit.diag", weights=weights)
    with pytest.raises(KeyboardInterrupt):
        classifier(keras.layers.Dropout(0.4)).fit(
            x, y, batch_size=4, epochs=4, verbose=0, callbacks=[Interrupts(finished, 3), tracer]
        )
    replay = tracer.diagnose().replay
    assert replay is not None
    expected = 6 * finished + 3
    assert (replay.steps, replay.reproduced) == (expected, expected)
    assert replay.epochs == tuple(range(1, finished + 2))


@ONE_STEP
def test_steps_inside_one_execution_are_reproduced(tmp_path: Path) -> None:
    x, y = labels()
    model = classifier(keras.layers.Dropout(0.4), compiled={"steps_per_execution": 4})
    replay = fit(tmp_path, model, x=x, y=y)[0].diagnose().replay
    assert replay is not None and (replay.steps, replay.reproduced) == (18, 18)


@pytest.mark.parametrize("name", ["dropout", "batch norm", "all three", "nested", "a layer of the user's", "penalties"])
def test_re_evaluated_values_are_keras_evaluate_on_a_clone(name: str, tmp_path: Path) -> None:
    make, arguments = MODELS[name]
    x, y = labels()
    copies = Copies()
    tracer, _ = fit(tmp_path, make(), copies, x=x, y=y, shuffle=False, **arguments)
    rows_found = tracer.diagnose().epoch_rows
    assert len(rows_found) == 3
    clone = make()
    for row, weights in zip(rows_found, copies.weights, strict=True):
        clone.set_weights(weights)
        expected = clone.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
        assert dict(row.reevaluated) == {k: pytest.approx(v, rel=2e-6, abs=1e-7) for k, v in expected.items()}


def test_with_another_dropout_no_step_is_reproduced(tmp_path: Path) -> None:
    """The check can fail: it is the model that made the trace, or it is not."""
    x, y = labels()
    tracer, _ = fit(tmp_path, classifier(keras.layers.Dropout(0.4)), x=x, y=y)
    with read_trace(tracer.path) as trace:
        right = analyse(trace, classifier(keras.layers.Dropout(0.4))).replay
        wrong = analyse(trace, classifier(keras.layers.Dropout(0.6))).replay
    assert right is not None and (right.steps, right.reproduced) == (18, 18)
    assert wrong is not None and (wrong.steps, wrong.reproduced) == (18, 0)


def test_a_model_of_another_shape_is_refused_with_the_reason(tmp_path: Path) -> None:
    x, y = labels()
    tracer, _ = fit(tmp_path, classifier(), x=x, y=y)
    with read_trace(tracer.path) as trace:
        diagnosis = analyse(trace, linear())
    assert diagnosis.replay is None or diagnosis.replay.steps == 0
    assert diagnosis.ledgers == () and "variables" in (diagnosis.notice or "")


# ── the model is left as it was ──


def everything(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "variables": bits(model.variables),
        "optimizer": bits(model.optimizer.variables),
        "metrics": bits(model.metrics_variables),
        "parts": [id(getattr(model, n)) for n in ("optimizer", "_compile_loss", "_compile_metrics", "_loss_tracker")],
        "functions": [id(getattr(model, n)) for n in ("train_function", "test_function", "predict_function")],
        "flags": [model.stop_training, getattr(model, "training", None), id(model.history)],
        "losses": len(model.losses),
        "attributes": sorted(vars(model)),
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tobytes(),
        "calls": [sorted(vars(layer)) for layer in model._flatten_layers()],
    }
    if BACKEND == "torch":
        import torch

        found["torch"] = torch.get_rng_state().numpy().tobytes()
    return found


def recompiled(model: Any) -> None:
    model.compile(optimizer="sgd", loss="mse", metrics=["mae"])


def trained_on(model: Any) -> None:
    model.fit(*labels(8, seed=9), epochs=1, verbose=0)


def changed(model: Any) -> None:
    model.set_weights([0 * w for w in model.get_weights()])


def recompiled_and_trained(model: Any) -> None:
    recompiled(model)
    trained_on(model)


def used(model: Any) -> None:
    model.evaluate(*labels(8, seed=9), verbose=0)
    model.predict(labels(8, seed=9)[0], verbose=0)


@pytest.mark.parametrize(
    "since",
    [None, recompiled, changed, trained_on, recompiled_and_trained, used],
    ids=lambda f: getattr(f, "__name__", "nothing"),
)
def test_diagnose_leaves_the_model_as_it_was_and_finds_the_same(since: Any, tmp_path: Path) -> None:
    make, arguments = MODELS["all three"]
    x, y = labels()
    model = make()
    tracer, _ = fit(tmp_path, model, x=x, y=y, **arguments)
    expected = None
    if since is not None:
        expected = tracer.diagnose()
        since(model)
    before = everything(model)
    diagnosis = tracer.diagnose()
    after = everything(model)
    assert [name for name in before if before[name] != after[name]] == []
    replay = diagnosis.replay
    assert replay is not None and (replay.steps, replay.reproduced) == (18, 18)
    if expected is not None:
        assert diagnosis.ledgers == expected.ledgers
        assert [dict(r.reevaluated) for r in diagnosis.epoch_rows] == [dict(r.reevaluated) for r in expected.epoch_rows]


def test_training_goes_on_after_diagnose_as_if_it_had_not_been(tmp_path: Path) -> None:
    make, arguments = MODELS["all three"]
    x, y = labels()

    def run(diagnose: bool) -> tuple[Any, list[bytes]]:
        model = make()
        tracer, first = fit(tmp_path, model, x=x, y=y, **arguments)
        if diagnose:
            tracer.diagnose()
        second = model.fit(x, y, epochs=2, batch_size=4, verbose=0).history
        return (first, second), bits([*model.variables, *model.optimizer.variables])

    assert run(False) == run(True)


def test_a_diagnosis_is_the_same_each_time(tmp_path: Path) -> None:
    make, arguments = MODELS["all three"]
    x, y = labels()
    tracer, _ = fit(tmp_path, make(), x=x, y=y, **arguments)
    assert tracer.diagnose().ledgers == tracer.diagnose().ledgers


# ── other data ──


def test_the_data_given_is_what_evaluate_goes_over(tmp_path: Path) -> None:
    """Rows fit never saw, in evaluate's own batches of 32."""
    x, y = labels()
    unseen_x, unseen_y = labels(70, seed=5)
    model = classifier(keras.layers.Dropout(0.4), keras.layers.BatchNormalization())
    tracer, history = fit(tmp_path, model, x=x, y=y)
    diagnosis = tracer.diagnose(evaluate=(unseen_x, unseen_y))
    expected = model.evaluate(unseen_x, unseen_y, verbose=0, return_dict=True)
    assert diagnosis.evaluation_data == {"source": "given", "rows": 70, "batch_size": 32}
    last = [ledger for ledger in diagnosis.ledgers if ledger.epoch == 3]
    assert {ledger.metric: ledger.evaluated for ledger in last} == pytest.approx(expected, rel=1e-6)
    assert {ledger.metric: ledger.logged for ledger in last} == {k: v[-1] for k, v in history.items()}
    assert all("data-coverage" in {e.factor for e in ledger.entries} for ledger in last)
    assert dict(diagnosis.epoch_rows[-1].reevaluated) == pytest.approx(expected, rel=2e-6)


def test_the_same_rows_in_another_order_are_no_other_data(tmp_path: Path) -> None:
    x, y = labels()
    order = np.random.default_rng(1).permutation(len(x))
    tracer, _ = fit(tmp_path, classifier(), x=x, y=y)
    for ledger in tracer.diagnose(evaluate=(x[order], y[order])).ledgers:
        assert "data-coverage" not in {e.factor for e in ledger.entries}


def test_float64_data_is_recognised_as_the_rows_fit_saw(tmp_path: Path) -> None:
    x, y = labels()
    tracer, _ = fit(tmp_path, classifier(), x=x.astype("float64"), y=y.astype("float64"))
    for ledger in tracer.diagnose(evaluate=(x.astype("float64"), y.astype("float64"))).ledgers:
        assert "data-coverage" not in {e.factor for e in ledger.entries}


def test_batches_and_sample_weights_may_be_given(tmp_path: Path) -> None:
    x, y = labels()
    weights = np.linspace(0.5, 2, 22, dtype="float32")
    model = classifier()
    tracer, _ = fit(tmp_path, model, x=x, y=y)
    expected = model.evaluate(x, y, sample_weight=weights, batch_size=8, verbose=0, return_dict=True)
    whole = tracer.diagnose(evaluate=(x, y, weights))
    parts = [slice(i, i + 8) for i in range(0, 22, 8)]
    batches = tracer.diagnose(evaluate=[(x[p], y[p], weights[p]) for p in parts])
    for diagnosis in (whole, batches):
        values = {ledger.metric: ledger.evaluated for ledger in diagnosis.ledgers if ledger.epoch == 3}
        assert values == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("data", [5, "words", (1, 2, 3, 4)])
def test_data_of_another_form_is_refused(data: Any, tmp_path: Path) -> None:
    x, y = rows()
    tracer, _ = fit(tmp_path, linear(), x=x, y=y)
    with pytest.raises(DiagnoseError, match=r"\(x, y, sample_weight\)"):
        tracer.diagnose(evaluate=data)


def test_a_tracer_that_saw_no_fit_says_so(tmp_path: Path) -> None:
    with pytest.raises(DiagnoseError, match="Nothing was traced"):
        Tracer(tmp_path / "fit.diag").diagnose()


def test_moving_averages_are_left_as_they_were(tmp_path: Path) -> None:
    """On JAX they share buffers with the weights after a fit, and Keras's own evaluate deletes these."""
    x, y = labels()
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model = classifier(compiled={"optimizer": optimizer})
    tracer, _ = fit(tmp_path, model, x=x, y=y)
    before = bits([*model.variables, *optimizer.variables])
    tracer.diagnose()
    assert bits([*model.variables, *optimizer.variables]) == before

"""Advice is run: what the report says to paste is pasted into the scenario it was given for, and cures it, in numbers.

Each test makes a small fit in which a rule fails, runs its advice with the names a user has (`model`, `x`, `y`, …), and
compares with plain `evaluate`, NumPy, or the files. Rules whose advice is run beside the rule's other tests are in
`ELSEWHERE`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from diagnose import Tracer
from diagnose.rules import RULES
from tests.replay.own_models import Late
from tests.replay.own_models import traced as traced_own
from tests.rules.advice import CURED, cures, paste
from tests.rules.runs import Seen, Witness, copy_of, data, fit

BACKEND = keras.backend.backend()

ELSEWHERE = {
    "batch-averaged-metric": "test_batch_averaged_metric.test_advice_gives_the_value_over_all_rows",
    "class-weights": "test_class_weights",
    "evaluate-inside-epoch": "test_evaluate_inside_epoch",
    "inputs-on-another-scale": "test_inputs_on_another_scale",
    "masked-metric": "test_masked_metric",
    "partial-batch-weight": "test_partial_batch_weight",
    "penalty-in-loss": "test_penalty_in_loss",
    "running-mean-batch-logs": "test_running_mean_batch_logs",
    "schedule-restarts": "test_schedule_restarts",
    "loss-says-nothing": "test_loss_says_nothing",
}

CURED_BESIDE = (
    "constant-monitor", "file-overwritten", "loaded-model-differs", "loss-changed", "metric-never-reset",
    "metric-never-updated", "not-finite", "preprocessing-differs", "random-evaluate", "trained-on-validation",
    "validation-changes",
)  # fmt: skip
"""Rules whose tests mark there what cures them."""


def fresh(optimizer: Any = None, *layers: Any) -> Any:
    """The model of `runs.fit`, not trained."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1, activation="sigmoid")])
    model.compile(optimizer or keras.optimizers.SGD(30.0, momentum=0.9), "binary_crossentropy", metrics=["accuracy"])
    return model


def names(model: Any) -> dict[str, Any]:
    x, y = data()
    return {"model": model, "x": x, "y": y, "x_val": x, "y_val": y}


def advice(seen: Seen, rule: str) -> str:
    finding = seen.finding(rule)
    assert finding.status == "failed", finding.title
    return str(finding.advice)


def loss_of(model: Any, weights: Any = None) -> float:
    x, y = data()
    copy = copy_of(model)
    copy.set_weights(model.get_weights() if weights is None else weights)
    return float(copy.evaluate(x, y, verbose=0, return_dict=True)["loss"])


OVERSHOOT: dict[str, Any] = {"rate": 30.0, "batch": 64, "epochs": 8}
EPOCHS = {"epochs=...": "epochs=8, batch_size=64, verbose=0"}


# ── what was kept, and by which value ──


@cures("one-step-epoch")
def test_one_step_epoch() -> None:
    stopping = keras.callbacks.EarlyStopping("loss", patience=20, restore_best_weights=True)
    seen = fit(stopping, **OVERSHOOT)
    best = min(loss_of(seen.model, w) for w in seen.witness.weights)
    assert loss_of(seen.model) > best * 1.01
    fill = {"epochs=..., batch_size=len(x)": "epochs=8, batch_size=len(x), verbose=0"}
    again = fresh()
    paste(advice(seen, "one-step-epoch"), fill=fill, **names(again))
    assert loss_of(again) == pytest.approx(best, rel=1e-5)


@cures("moving-average-of-weights")
def test_moving_average_of_weights() -> None:
    stopping = keras.callbacks.EarlyStopping("loss", patience=20, restore_best_weights=True)
    seen = fit(stopping, rate=30.0, epochs=8)
    best = min(loss_of(seen.model, w) for w in seen.witness.weights)
    again = fresh()
    fill = {"epochs=...": "epochs=8, batch_size=16, verbose=0"}
    paste(advice(seen, "moving-average-of-weights"), fill=fill, **names(again))
    assert loss_of(again) == pytest.approx(best, rel=1e-5)


def test_moving_average_where_nothing_was_decided() -> None:
    x, y = data()
    model = fresh(keras.optimizers.SGD(0.5))
    with diagnose.trace() as session:
        model.fit(x, y, batch_size=16, epochs=3, verbose=0)
        model.evaluate(x, y, verbose=0)
        (found,) = session.diagnose()
    finding = next(f for f in found.findings if f.rule == "moving-average-of-weights")
    assert finding.status == "failed"
    code = finding.advice
    printed = paste(code, fill={"model.evaluate": "found = model.evaluate"}, model=model, x=x, y=y)["found"]
    assert printed["loss"] == pytest.approx(loss_of(model), rel=1e-5)


@cures("checkpoint-on-training-metric")
def test_checkpoint_on_training_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saving = keras.callbacks.ModelCheckpoint("mine.weights.h5", "loss", save_best_only=True, save_weights_only=True)
    seen = fit(saving, **OVERSHOOT)
    best = min(loss_of(seen.model, w) for w in seen.witness.weights)
    seen.model.load_weights("mine.weights.h5")
    assert loss_of(seen.model) > best * 1.01
    again = fresh()
    paste(advice(seen, "checkpoint-on-training-metric"), fill=EPOCHS, **names(again))
    again.load_weights("mine.weights.h5")
    assert loss_of(again) == pytest.approx(best, rel=1e-5)


@cures("no-restore")
def test_no_restore() -> None:
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=50)
    seen = fit(stopping, validation=True, **OVERSHOOT)
    best = min(log["val_loss"] for log in seen.witness.logs)
    assert loss_of(seen.model) > best * 1.01
    again = fresh()
    given = names(again)
    pasted = paste("```python\ncallback = " + advice(seen, "no-restore").partition("```python\n")[2])["callback"]
    again.fit(given["x"], given["y"], validation_data=(given["x"], given["y"]), epochs=8, batch_size=64, verbose=0,
              callbacks=[pasted])  # fmt: skip
    assert loss_of(again) == pytest.approx(best, rel=1e-5)


@cures("restored-is-not-best")
def test_restored_is_not_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=50, start_from_epoch=6, restore_best_weights=True)
    seen = fit(stopping, validation=True, **OVERSHOOT)
    best = min(log["val_loss"] for log in seen.witness.logs)
    assert loss_of(seen.model) > best * 1.01
    kept = paste(advice(seen, "restored-is-not-best"), fill=EPOCHS, **names(fresh()))["model"]
    assert loss_of(kept) == pytest.approx(best, rel=1e-5)


class Accuracies(keras.callbacks.Callback):
    """Other accuracies than the model's, so that the two bests are apart."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["val_accuracy"] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9, 0.7][epoch]


@cures("two-bests")
def test_two_bests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen = fit(
        Accuracies(),
        keras.callbacks.EarlyStopping("val_loss", patience=50, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint("mine.weights.h5", "val_accuracy", mode="max", save_best_only=True,
                                        save_weights_only=True),
        validation=True,
        **OVERSHOOT,
    )  # fmt: skip
    again = fresh()
    paste(advice(seen, "two-bests"), fill=EPOCHS, **names(again))
    in_memory = again.get_weights()
    again.load_weights("mine.weights.h5")
    assert all(np.array_equal(*pair) for pair in zip(in_memory, again.get_weights(), strict=True))


@cures("wrong-direction")
def test_wrong_direction() -> None:
    stopping = keras.callbacks.EarlyStopping("val_accuracy", mode="min", patience=8, restore_best_weights=True)
    seen = fit(stopping, rate=0.3, epochs=8, validation=True)
    highest = max(log["val_accuracy"] for log in seen.witness.logs)
    assert seen.evaluate()["accuracy"] < highest
    code = "```python\ncallback = " + advice(seen, "wrong-direction").partition("```python\n")[2]
    again = fit(paste(code)["callback"], rate=0.3, epochs=8, validation=True)
    assert again.evaluate()["accuracy"] == pytest.approx(highest)


@cures("missing-monitor")
def test_missing_monitor() -> None:
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=50, restore_best_weights=True)
    seen = fit(stopping, **OVERSHOOT)
    again = fresh()
    paste(advice(seen, "missing-monitor"), fill=EPOCHS, **names(again))
    best = min(loss_of(seen.model, w) for w in seen.witness.weights)
    assert loss_of(seen.model) > best * 1.01 and loss_of(again) == pytest.approx(best, rel=1e-5)


@cures("patience-conflict")
def test_patience_conflict() -> None:
    def run(callbacks: list[Any]) -> tuple[Seen, list[float]]:
        seen = fit(*callbacks, rate=30.0, epochs=20, validation=True)
        return seen, [log["learning_rate"] for log in seen.witness.logs]

    seen, rates = run(
        [
            keras.callbacks.ReduceLROnPlateau("val_loss", patience=6),
            keras.callbacks.EarlyStopping("val_loss", patience=3),
        ]
    )
    assert set(rates) == {30.0}
    _, rates = run(paste(advice(seen, "patience-conflict"))["callbacks"])
    assert min(rates) < 30.0


class NeverResets(keras.callbacks.EarlyStopping):
    def on_train_begin(self, logs: Any = None) -> None:
        """Without `super()`."""


@cures("stale-best")
def test_stale_best() -> None:
    stopping = NeverResets("val_loss", patience=2, restore_best_weights=True)
    fit(stopping, rate=3.0, epochs=8, validation=True)
    seen = fit(stopping, rate=0.001, epochs=8, validation=True)
    assert len(seen.witness.logs) < 8
    again = fresh(keras.optimizers.SGD(0.001, momentum=0.9))
    witness = Witness()
    code = advice(seen, "stale-best").replace("callbacks=[", "callbacks=[witness, ")
    paste(code, fill={"epochs=...": "epochs=8, batch_size=16, verbose=0"}, witness=witness, **names(again))
    values = [log["val_loss"] for log in witness.logs]
    assert len(values) == 8 and loss_of(again) == pytest.approx(min(values), rel=1e-5)


@cures("checkpoint-best-kept")
@pytest.mark.parametrize("file", ["mine.weights.h5", "best-{epoch:02d}-{val_loss:.3f}.weights.h5"])
def test_checkpoint_best_kept(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saving = keras.callbacks.ModelCheckpoint(file, "val_loss", save_best_only=True, save_weights_only=True)
    fit(saving, rate=1.0, validation=True)
    seen = fit(saving, rate=0.001, validation=True)
    models: list[Any] = []

    def build_model() -> Any:
        models.append(fresh(keras.optimizers.SGD([1.0, 0.001][len(models)])))
        return models[-1]

    fill = {"range(5)": "range(2)", "epochs=...": "epochs=1, verbose=0"}
    paste(advice(seen, "checkpoint-best-kept"), fill=fill, build_model=build_model, **names(None))
    for fold, model in enumerate(models):
        (written,) = [path for path in tmp_path.iterdir() if path.name.endswith(f"-{fold}.weights.h5")]
        copy = fresh()
        copy.load_weights(written)
        assert all(np.array_equal(*pair) for pair in zip(copy.get_weights(), model.get_weights(), strict=True))


@cures("threshold-on-training-metric")
def test_threshold_on_training_metric() -> None:
    plain = fit(**OVERSHOOT)
    logged = [log["loss"] for log in plain.witness.logs]
    evaluated = [loss_of(plain.model, w) for w in plain.witness.weights]
    epoch = next(i for i in range(8) if evaluated[i] > logged[i] and logged[i] == min(logged[: i + 1]))
    limit = (logged[epoch] + min(evaluated[epoch], *logged[:epoch] or [9e9])) / 2

    class StopBelow(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if logs["loss"] < limit:
                self.model.stop_training = True

    seen = fit(StopBelow(), **OVERSHOOT)
    assert loss_of(seen.model) > limit
    again = fresh()
    paste(advice(seen, "threshold-on-training-metric"), fill=EPOCHS, **names(again))
    assert again.stop_training is False or loss_of(again) < limit


@cures("ema-order")
def test_ema_order() -> None:
    def ema() -> Any:
        return keras.optimizers.SGD(2.0, momentum=0.9, use_ema=True, ema_momentum=0.9)

    seen = fit(batch=64, epochs=6, validation=True, optimizer=ema())
    assert seen.witness.logs[-1]["val_loss"] != pytest.approx(loss_of(seen.model), rel=1e-3)
    again, witness = fresh(ema()), Witness()
    code = advice(seen, "ema-order").replace("callbacks=[", "callbacks=[witness, ")
    fill = {"epochs=...": "epochs=6, batch_size=64, verbose=0"}
    paste(code, fill=fill, witness=witness, **names(again))
    assert witness.logs[-1]["val_loss"] == pytest.approx(loss_of(again), rel=1e-4)


@cures("optimizer-not-restored")
def test_optimizer_not_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resumed from the whole model, the loss goes on as if there had been no break."""
    monkeypatch.chdir(tmp_path)
    x, y = data()
    arguments: dict[str, Any] = {"batch_size": 16, "shuffle": False, "verbose": 0}
    whole = fresh(keras.optimizers.Adam(0.1))
    wanted = whole.fit(x, y, epochs=4, **arguments).history["loss"]
    model = fresh(keras.optimizers.Adam(0.1))
    with diagnose.trace(tmp_path / "runs") as session:
        model.fit(x, y, epochs=2, **arguments)
        model.save_weights("mine.weights.h5")
        other = fresh(keras.optimizers.Adam(0.1))
        other.load_weights("mine.weights.h5")
        lost = other.fit(x, y, epochs=2, **arguments).history["loss"]
    assert lost[1] != pytest.approx(wanted[3], rel=1e-3)
    finding = next(f for f in session.diagnose()[1].findings if f.rule == "optimizer-not-restored")
    fill = {"initial_epoch=10, epochs=20": "initial_epoch=2, epochs=4, batch_size=16, shuffle=False, verbose=0"}
    resumed = paste(finding.advice, fill=fill, model=model, x=x, y=y)["model"]
    assert resumed.history.history["loss"] == pytest.approx(wanted[2:], rel=1e-5)


# ── what training mode does ──


def printed_values(code: str, model: Any, capsys: pytest.CaptureFixture[str]) -> list[dict[str, float]]:
    """What the pasted callback prints, epoch by epoch."""
    capsys.readouterr()
    paste(code, fill={"epochs=...": "epochs=2, verbose=0"}, **names(model))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return [{key.split()[0]: value for key, value in eval(line).items()} for line in lines]


@cures("dropout-gap")
def test_dropout_gap(capsys: pytest.CaptureFixture[str]) -> None:
    """At rate 0 the printed values are those of validation over the same rows, which the log is not."""
    layer = keras.layers.Dropout(0.5)
    seen = fit(rate=0.0, layers=(layer,), validation=True)
    log = seen.witness.logs[-1]
    assert log["loss"] != pytest.approx(log["val_loss"], rel=0.01)
    model = fresh(keras.optimizers.SGD(0.0), keras.layers.Dropout(0.5))
    for values in printed_values(advice(seen, "dropout-gap"), model, capsys):
        assert values["loss"] == pytest.approx(log["val_loss"], rel=1e-5)


@cures("augmentation-gap")
def test_augmentation_gap(capsys: pytest.CaptureFixture[str]) -> None:
    keras.utils.set_random_seed(2)
    x = np.random.default_rng(1).normal(size=(32, 4, 4, 1)).astype("float32") + np.linspace(-2, 2, 4)[:, None, None]
    y = x[:, 0].mean(axis=(1, 2))
    layers = [keras.Input((4, 4, 1)), keras.layers.RandomFlip("vertical"), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    model.fit(x, y, epochs=5, verbose=0)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    tracer = Tracer()
    history = model.fit(x, y, validation_data=(x, y), verbose=0, callbacks=[tracer]).history
    finding = next(f for f in tracer.diagnose().findings if f.rule == "augmentation-gap")
    assert finding.status == "failed", finding.title
    capsys.readouterr()
    paste(finding.advice, fill={"epochs=...": "epochs=1, verbose=0"}, model=model, x=x, y=y, x_val=x, y_val=y)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    (value,) = eval(line).values()
    assert value == pytest.approx(history["val_loss"][0], rel=1e-5) != pytest.approx(history["loss"][0], rel=0.01)


@cures("batch-norm-gap")
def test_batch_norm_gap_of_young_averages() -> None:
    """A net of several such layers: evaluated at once it is far off, after the averages have settled it is as good as
    with the batches' own statistics, and no weight has moved. Oracle: a plain forward pass in training mode."""
    rng = np.random.default_rng(0)
    x = rng.normal(5.0, 4.0, size=(64, 3)).astype("float32")
    y = (x[:, 0] - 5.0 > 0.5 * (x[:, 1] - 5.0)).astype("float32")
    keras.utils.set_random_seed(3)
    norms = [keras.layers.BatchNormalization(momentum=0.99) for _ in range(2)]
    model = keras.Sequential(
        [keras.Input((3,)), norms[0], keras.layers.Dense(8, "relu"), norms[1], keras.layers.Dense(1, "sigmoid")]
    )
    model.compile(keras.optimizers.SGD(0.05), "binary_crossentropy", metrics=["accuracy"])
    tracer = Tracer()
    model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=[tracer])
    finding = next(f for f in tracer.diagnose().findings if f.rule == "batch-norm-gap")
    assert (finding.status, finding.severity) == ("failed", "wrong"), (finding.title, finding.evidence)
    weights = [keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables]
    before = model.evaluate(x, y, verbose=0, return_dict=True)
    out = keras.ops.convert_to_numpy(model(x, training=True))[:, 0].astype("float64")
    trained = float(-np.mean(y * np.log(out) + (1 - y) * np.log(1 - out)))
    assert before["loss"] > 1.3 * trained
    paste(finding.advice, model=model, x=x, y=y)
    after = model.evaluate(x, y, verbose=0, return_dict=True)
    assert after["loss"] == pytest.approx(trained, rel=0.1)
    for old, new in zip(weights, model.trainable_variables, strict=True):
        assert np.array_equal(old, keras.ops.convert_to_numpy(new))


# ── what was never made, reset or covered ──


@cures("frozen-after-compile")
@pytest.mark.skipif(BACKEND != "tensorflow", reason="elsewhere the step refuses to run, or obeys")
@pytest.mark.filterwarnings("ignore:A layer's `trainable` state has changed")
def test_frozen_after_compile() -> None:
    x, y = data()
    norm = keras.layers.BatchNormalization(center=False, scale=False)
    model = fresh(keras.optimizers.SGD(0.1), norm)
    model.fit(x + 3.0, y, verbose=0)
    norm.trainable = False
    tracer = Tracer()
    before = keras.ops.convert_to_numpy(norm.moving_mean).copy()
    model.fit(x + 3.0, y, verbose=0, callbacks=[tracer])
    moved = keras.ops.convert_to_numpy(norm.moving_mean).copy()
    assert not np.array_equal(before, moved)
    finding = next(f for f in tracer.diagnose().findings if f.rule == "frozen-after-compile")
    fill = {"optimizer=...": "optimizer='sgd'", "loss=...": "loss='binary_crossentropy'", "[...]": "['accuracy']"}
    paste(finding.advice, fill=fill, model=model, x=x + 3.0, y=y)
    assert np.array_equal(moved, keras.ops.convert_to_numpy(norm.moving_mean))


@cures("state-carried")
@pytest.mark.skipif(BACKEND == "jax", reason="on JAX, Keras carries no state out of a compiled step")
def test_state_carried() -> None:
    keras.utils.set_random_seed(4)
    x = np.random.default_rng(0).normal(loc=1.0, size=(8, 3, 1)).astype("float32")
    y = x.sum(axis=1)
    cell = {"activation": "linear", "kernel_initializer": "ones", "recurrent_initializer": "identity"}
    rnn = keras.layers.SimpleRNN(1, stateful=True, **cell)
    model = keras.Sequential([keras.Input(batch_shape=(4, 3, 1)), rnn, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.001), "mse")
    tracer = Tracer()
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=[tracer])
    finding = next(f for f in tracer.diagnose().findings if f.rule == "state-carried")
    carried = [model.evaluate(x, y, batch_size=4, verbose=0) for _ in range(2)]
    fill = {"model.evaluate": "value = model.evaluate", "batch_size=...": "batch_size=4, verbose=0"}
    reset = [paste(finding.advice, fill=fill, model=model, x=x, y=y)["value"] for _ in range(2)]
    assert carried[0] != pytest.approx(carried[1], rel=1e-4) and reset[0] == reset[1]
    rnn.reset_state()
    out = [keras.ops.convert_to_numpy(model(x[rows])) for rows in (slice(4), slice(4, 8))]
    assert reset[0] == pytest.approx(float(np.mean((np.concatenate(out) - y) ** 2)), rel=1e-5)


@cures("unadapted-normalization")
def test_unadapted_normalization() -> None:
    keras.utils.set_random_seed(4)
    x = np.random.default_rng(0).uniform(10.0, 30.0, size=(32, 2)).astype("float32")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Normalization(), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0001), "mse")
    tracer = Tracer()
    model.fit(x, x.sum(axis=1), batch_size=8, verbose=0, validation_data=(x, x.sum(axis=1)), callbacks=[tracer])
    finding = next(f for f in tracer.diagnose().findings if f.rule == "unadapted-normalization")
    model = paste(finding.advice, fill={"...": "keras.layers.Dense(1)"}, x=x)["model"]
    seen = keras.ops.convert_to_numpy(model.layers[0](x))
    assert np.allclose(seen.mean(axis=0), 0.0, atol=1e-4) and np.allclose(seen.std(axis=0), 1.0, atol=1e-3)


@cures("stopped-inside-epoch")
def test_stopped_inside_epoch() -> None:
    class StopsAfter(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.done = getattr(self, "done", 0) + 1
            if self.done == 6:
                self.model.stop_training = True

    seen = fit(StopsAfter(), epochs=9)
    code = advice(seen, "stopped-inside-epoch").replace("callbacks=[", "callbacks=[tracer, ")
    again, tracer = fresh(), Tracer()
    fill = {"epochs=...": "epochs=9, batch_size=16, verbose=0"}
    paste(code, fill=fill, tracer=tracer, **names(again))
    # It still stops after the same number of updates, at the end of that epoch.
    assert [(e.first_version, e.last_version) for e in tracer.diagnose().epoch_rows] == [(0, 4), (4, 8)]


@cures("partial-epoch")
def test_partial_epoch() -> None:
    import tensorflow as tf

    x, y = data()
    model, tracer = fresh(keras.optimizers.SGD(0.1)), Tracer()
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    model.fit(dataset, steps_per_epoch=2, verbose=0, callbacks=[tracer])
    finding = next(f for f in tracer.diagnose(evaluate=(x, y)).findings if f.rule == "partial-epoch")
    assert finding.status == "failed", finding.title
    again, whole = fresh(keras.optimizers.SGD(0.1)), Tracer()
    code = finding.advice.replace("x_val, y_val)", "x_val, y_val), callbacks=[whole]")
    fill = {"batch_size=..., epochs=...": "batch_size=16, epochs=1, verbose=0"}
    paste(code, fill=fill, whole=whole, **names(again))
    with diagnose.read_trace(whole.path) as trace:
        assert len({row for step in trace.steps for row in step.batch.row_ids}) == len(x)


@cures("split-tail")
def test_split_tail() -> None:
    """Rows sorted by label: the tail has one label only. Shuffled, both parts have both."""
    x, y = data()
    order = np.argsort(y, kind="stable")
    x, y = x[order], y[order]
    model, tracer = fresh(keras.optimizers.SGD(0.1)), Tracer()
    model.fit(x, y, validation_split=0.2, epochs=2, verbose=0, callbacks=[tracer])
    finding = next(f for f in tracer.diagnose().findings if f.rule == "split-tail")
    assert finding.status == "failed" and len(set(y[-12:])) == 1
    scope = paste(finding.advice, fill={"epochs=...": "epochs=1, verbose=0"}, model=fresh(), x=x, y=y)
    assert set(scope["y"][-12:]) == {0.0, 1.0}
    held = {(*row, label) for row, label in zip(scope["x"].tolist(), scope["y"].tolist(), strict=True)}
    assert held == {(*row, label) for row, label in zip(x.tolist(), y.tolist(), strict=True)}


@cures("reshuffled-split")
@pytest.mark.skipif(BACKEND != "tensorflow", reason="the advice is for tf.data")
def test_reshuffled_split() -> None:
    import tensorflow as tf

    from diagnose.rules import reshuffled_split

    seen: list[Any] = []

    class Model:
        def fit(self, training: Any, epochs: int, validation_data: Any) -> None:
            for _ in range(2):
                seen.append([{int(v) for batch in part for v in batch} for part in (training, validation_data)])

    text = str(reshuffled_split.ADVICE(code=reshuffled_split.CODE))
    paste(text, dataset=tf.data.Dataset.range(20), rows=20, validation_rows=5, batch_size=4, model=Model())
    for training, validation in seen:
        assert not training & validation and len(training | validation) == 20
    assert seen[0] == seen[1]


@cures("metric-after-update")
@pytest.mark.skipif(BACKEND != "tensorflow", reason="the advice is for TensorFlow")
def test_metric_after_update() -> None:
    import tensorflow as tf

    finding = next(f for f in traced_own(Late)[0].findings if f.rule == "metric-after-update")
    assert finding.status == "failed"
    cured = type("Cured", (keras.Model,), {"train_step": paste(finding.advice, tf=tf)["train_step"]})
    x, y = data()

    def train(kind: Any) -> tuple[float, float]:
        keras.utils.set_random_seed(3)
        inputs = keras.Input((3,))
        model = kind(inputs, keras.layers.Dense(1)(inputs))
        model.compile(keras.optimizers.SGD(0.3), "mse", metrics=["mse"])
        history = model.fit(x, y[:, None], batch_size=16, verbose=0).history
        return history["loss"][0], history["mse"][0]

    loss, metric = train(cured)
    assert metric == pytest.approx(loss, rel=1e-5)


@cures("metric-mismatch")
def test_metric_mismatch() -> None:
    """Accuracy of labels -1 and 1 by the advised function: Oracle: NumPy."""
    x, y = data()
    signs = (2 * y - 1)[:, None]
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="tanh")])
    model.compile(keras.optimizers.SGD(0.5), "hinge", metrics=["accuracy"])
    tracer = Tracer()
    model.fit(x, signs, epochs=3, verbose=0, callbacks=[tracer])
    finding = next(f for f in tracer.diagnose().findings if f.rule == "metric-mismatch")
    assert finding.status == "failed", finding.title
    fill = {"optimizer=...": "optimizer='sgd'", "loss=...": "loss='hinge'", ", ...": ""}
    paste(finding.advice, fill=fill, model=model, x=x, y=signs)
    right = float(np.mean((keras.ops.convert_to_numpy(model(x)) > 0) == (signs > 0)))
    values = model.evaluate(x, signs, verbose=0, return_dict=True)
    assert [v for k, v in values.items() if k != "loss"] == [pytest.approx(right)]


# ── all of them ──


def test_the_advice_of_every_rule_is_run() -> None:
    """A new rule comes with a test here that runs what it advises."""
    for place in ELSEWHERE.values():
        module = importlib.import_module(f"tests.rules.{place.partition('.')[0]}")
        assert any(name.startswith("test") for name in vars(module))
    for rule in CURED_BESIDE:
        importlib.import_module(f"tests.rules.test_{rule.replace('-', '_')}")
        assert rule in CURED
    assert set(CURED) | set(ELSEWHERE) == set(RULES)
    assert not set(CURED) & set(ELSEWHERE)

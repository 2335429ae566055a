"""Versions that were not kept are made again by training, and count only if they equal the recorded ones by digest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Diagnosis, Trace, Tracer, read_trace
from diagnose.errors import DiagnoseError
from diagnose.record.chooser import Bounds, Costs

BACKEND = keras.config.backend()


def fit(level: Any, *callbacks: Any, layers: tuple[Any, ...] = (), **arguments: Any) -> tuple[Diagnosis, Any]:
    keras.utils.clear_session(free_memory=False)  # layers have the same names each time
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
    tracer = Tracer(level=level)
    model.fit(x, y, batch_size=16, epochs=3, verbose=0, callbacks=[*callbacks, tracer], **arguments)
    held = [np.array(w) for w in model.get_weights()]
    slots = [keras.ops.convert_to_numpy(v.value) for v in model.optimizer.variables]
    diagnosis = tracer.diagnose()
    assert all(np.array_equal(a, b) for a, b in zip(held, model.get_weights(), strict=True))
    now = [keras.ops.convert_to_numpy(v.value) for v in model.optimizer.variables]
    assert all(np.array_equal(a, b) for a, b in zip(slots, now, strict=True))
    return diagnosis, model


def failed(diagnosis: Diagnosis) -> list[tuple[str, str, Any]]:
    return [(f.rule, f.title, f.evidence) for f in diagnosis.findings if f.status == "failed"]


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
    kept, _ = fit(3, *make(), **arguments)
    assert kept.versions["kept"] == kept.versions["total"] == 13
    assert [row.how for row in kept.epoch_rows] == ["recorded"] * 3
    assert kept.replay is not None and kept.replay.how == "recorded"
    # What 1 records is between the two.
    for level in (2, 0) if "shuffle" in arguments else (0,):
        made, _ = fit(level, *make(), **arguments)
        assert made.versions["kept"] < made.versions["total"] == 13
        assert [row.how for row in made.epoch_rows] == ["made-again"] * 3
        assert made.replay is not None and (made.replay.steps, made.replay.reproduced) == (12, 12)
        assert made.replay.how == "made-again"
        assert made.ledgers == kept.ledgers and made.ledgers
        assert made.step_rows == kept.step_rows
        assert made.headline == kept.headline
        assert failed(made) == failed(kept)


def test_of_epochs_recorded_at_several_levels_the_same_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside the first epoch the level goes down; the second has another, the third is recorded in full."""
    kept, _ = fit(3)
    chosen = {(True, 2): 0, (False, 4): 1, (False, 8): 3}

    def choose(costs: Costs, bounds: Bounds, *, inside: bool) -> int:
        return chosen.get((inside, 12 - (costs.left or 0)), costs.level)

    monkeypatch.setattr("diagnose.record.choice.choose", choose)
    made, _ = fit("auto")
    assert [row.level for row in made.epoch_rows] == [0, 1, 3]
    assert [row.how for row in made.epoch_rows] == ["made-again", "made-again", "recorded"]
    assert made.replay is not None and (made.replay.steps, made.replay.reproduced) == (12, 12)
    assert made.replay.how == "partly"
    assert made.ledgers == kept.ledgers and made.ledgers
    assert made.step_rows == kept.step_rows
    assert made.headline == kept.headline
    assert failed(made) == failed(kept)
    told = made.versions["levels"]
    assert told.startswith("level 3 at first; level 0 from step 2 of epoch 1 on, since at 3 recording took ")
    assert "; level 1 from the end of epoch 1 on" in told and "; level 3 from the end of epoch 2 on" in told


class Twice(keras.callbacks.Callback):
    """Takes part in the training of every epoch, where no hook comes."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        variables = self.model.trainable_variables
        self.model.optimizer.apply([keras.ops.ones(v.shape) for v in variables], variables)


def test_an_epoch_that_ends_in_other_weights_is_not_known_inside() -> None:
    """The callback leaves weights and optimizer others than the epoch before did: the weights are seen, the optimizer's
    variables only before the first step of the fit, and training from there ends elsewhere."""
    diagnosis, _ = fit(0, Twice())
    assert diagnosis.replay is not None and diagnosis.replay.epochs == (1,)
    assert [row.how for row in diagnosis.epoch_rows] == ["made-again", "epoch-ends", "epoch-ends"]
    why = "epoch 2 was trained again from its start and ended in other weights"
    assert diagnosis.epoch_rows[1].why is not None and diagnosis.epoch_rows[1].why.startswith(why)
    assert diagnosis.notice is not None and why in diagnosis.notice
    assert all(ledger.epoch == 1 for ledger in diagnosis.ledgers)
    assert len(diagnosis.epoch_rows[-1].reevaluated) == 2, "the ends of epochs were kept and can be evaluated"


def recorded(path: Path, level: int, *callbacks: Any, fits: int = 1) -> Trace:
    keras.utils.set_random_seed(4)
    x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    for _ in range(fits):
        tracer = Tracer(path, level=level)
        model.fit(x, x.sum(1), batch_size=8, epochs=2, verbose=0, callbacks=[*callbacks, tracer])
    return read_trace(path)


def test_what_each_level_records(tmp_path: Path) -> None:
    found = {}
    for level in range(4):
        with recorded(tmp_path / "fit.diag", level) as trace:
            assert trace.header.policy.level == level
            seen = [s for s in trace.states if s.label == "version"]
            found[level] = (
                sum(s.kept or trace.index.kept(s) is not None for s in seen),
                [s.version for s in seen],
                [s.step for s in trace.steps if s.metrics_after is not None],
            )
    looked = [0, 1, 5, 10]  # before and after the first step, where models are built, and at the ends of epochs
    assert found == {
        0: (3, looked, [0, 4, 9]),
        1: (3, looked, [*range(10)]),
        2: (3, [*range(11)], [*range(10)]),
        3: (11, [*range(11)], [*range(10)]),
    }


@pytest.mark.parametrize("level", [0, 1])
def test_where_a_callback_has_code_in_every_batch_each_version_is_looked_at(level: int, tmp_path: Path) -> None:
    """It may change the weights there. Keras's own, such as a checkpoint every few batches, do not."""
    with recorded(tmp_path / "own.diag", level, Shrink()) as trace:
        assert trace.header.policy.level == 2
        assert [s.version for s in trace.states if s.label == "version"] == [*range(11)]
        assert sum(e.kind == "weights-changed" for e in trace.events) == 2

    def files() -> Any:
        return keras.callbacks.ModelCheckpoint(
            str(tmp_path / "b{batch}.weights.h5"), save_freq=3, save_weights_only=True
        )

    with recorded(tmp_path / "keras.diag", level, files()) as trace:
        assert trace.header.policy.level == level
        saved = [e.detail.version for e in trace.events if e.kind == "file-saved"]
    with recorded(tmp_path / "full.diag", 3, files()) as trace:
        assert saved == [e.detail.version for e in trace.events if e.kind == "file-saved"] and saved


def test_a_fit_that_goes_on_with_a_used_optimizer_is_made_again(tmp_path: Path) -> None:
    with recorded(tmp_path / "fit.diag", 0, fits=2) as trace:
        (state,) = [s for s in trace.states if s.label == "start"]
        assert state.optimizer_arrays is not None
        names = [v.path for v in trace.header.optimizer_variables]
        (count,) = [trace.array(d) for d, n in zip(state.optimizer_arrays, names, strict=True) if "iteration" in n]
        assert int(count) == 10
    keras.utils.set_random_seed(4)
    x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(x, x.sum(1), batch_size=8, epochs=2, verbose=0)
    tracer = Tracer(tmp_path / "second.diag", level=0)
    model.fit(x, x.sum(1), batch_size=8, epochs=1, verbose=0, callbacks=[tracer])
    diagnosis = tracer.diagnose()
    assert [row.how for row in diagnosis.epoch_rows] == ["made-again"]
    assert diagnosis.replay is not None and (diagnosis.replay.steps, diagnosis.replay.reproduced) == (5, 5)


@pytest.mark.parametrize(
    "asked", [{"level": 4}, {"level": True}, {"level": "2"}, {"level": 3, "weights": "epochs"}], ids=str
)
def test_a_level_that_there_is_not_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(DiagnoseError, match="level"):
        Tracer(**asked)


@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="a TensorFlow operation with a seed of its own outside the variables"
)
def test_what_cannot_be_made_again_is_not_replayed() -> None:
    import tensorflow as tf

    class Noise(keras.layers.Layer):
        def call(self, value: Any, training: bool = False) -> Any:
            return value + tf.random.normal(tf.shape(value)) if training else value

    diagnosis, _ = fit(2, layers=(Noise(),))
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
    diagnosis, _ = fit(2)
    assert diagnosis.replay is not None and (diagnosis.replay.steps, diagnosis.replay.reproduced) == (12, 12)
    assert "differ in the last digits" in diagnosis.versions["policy"]
    assert {row.how for row in diagnosis.epoch_rows} == {"epoch-ends"}, "not bit for bit"
    assert all(row.why is not None and "differ in the last digits" in row.why for row in diagnosis.epoch_rows)


def test_control_those_that_lead_elsewhere_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diagnose.replay.keras.retrain.KerasRetrainer.step", changed_by(1e-3))
    diagnosis, _ = fit(2)
    assert diagnosis.replay is not None and diagnosis.replay.steps == 0
    assert diagnosis.replay.reason is not None and "made others (first at version" in diagnosis.replay.reason

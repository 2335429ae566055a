from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import pytest

import diagnose
from diagnose import Diagnosis, read_trace
from diagnose.rules import optimizer_not_restored
from diagnose.rules.facts import Facts
from tests.rules.advice import blocks
from tests.rules.runs import Witness, data

RULE = "optimizer-not-restored"


def build(optimizer: Any = None, seed: int = 3) -> Any:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(optimizer or keras.optimizers.Adam(0.1), "binary_crossentropy", metrics=["accuracy"])
    return model


def train(model: Any, *callbacks: Any, epochs: int = 4, **arguments: Any) -> list[float]:
    x, y = data()
    options: dict[str, Any] = {"batch_size": 16, "shuffle": False, "verbose": 0, "validation_data": (x, y)}
    history = model.fit(x, y, epochs=epochs, callbacks=list(callbacks), **{**options, **arguments})
    return [float(v) for v in history.history["loss"]]


def finding(diagnosis: Diagnosis) -> Any:
    return next(f for f in diagnosis.findings if f.rule == RULE)


def loss_of(model: Any, weights: list[np.ndarray]) -> float:
    copy = keras.models.clone_model(model)
    copy.set_weights(weights)
    copy.compile(loss="binary_crossentropy")
    return float(copy.evaluate(*data(), verbose=0, return_dict=True)["loss"])


def test_weights_of_an_epoch_with_the_optimizer_of_the_end(tmp_path: Path) -> None:
    model, witness = build(), Witness()
    with diagnose.trace(tmp_path) as session:
        first = train(model, witness)
        model.set_weights(witness.weights[1])
        again = train(model, epochs=2)
    found = finding(session.diagnose()[1])
    assert found.status == "failed"
    assert found.evidence["weights_of"] == {"trace": "fit-1.diag", "epoch": 2, "version": 8}
    assert found.evidence["optimizer_then"]["iterations"] == 8
    assert found.evidence["optimizer_at_start"]["iterations"] == 16
    assert found.evidence["not_of_that_moment"] == ["variables", "iterations"]
    start = loss_of(model, witness.weights[1])
    assert found.evidence["evaluated_at_start"] == pytest.approx(start, rel=1e-5)
    assert found.evidence["first_logged"] == again[0]
    assert found.evidence["next_epoch_then"] == first[2]
    assert (found.metric, found.effect) == ("loss", pytest.approx(abs(again[0] - start), rel=1e-4))
    blocks(found.advice)


@pytest.mark.recorded
def test_control_training_simply_goes_on(tmp_path: Path) -> None:
    model = build()
    with diagnose.trace(tmp_path) as session:
        train(model)
        train(model)
    found = finding(session.diagnose()[1])
    assert found.status == "passed"
    assert found.evidence["weights_of"]["epoch"] == 4
    assert found.evidence["optimizer_at_start"]["iterations"] == 16


def test_control_the_optimizer_is_put_back_as_well(tmp_path: Path) -> None:
    """The same numbers as in an uninterrupted run, by Keras alone, and no finding."""
    straight = train(build(), epochs=4)

    class Keep(Witness):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            super().on_epoch_end(epoch, logs)
            if epoch == 1:
                # On JAX, reading `model` puts the step's state into the variables.
                self.state = [np.array(keras.ops.convert_to_numpy(v)) for v in self.model.optimizer.variables]

    model, keep = build(), Keep()
    with diagnose.trace(tmp_path) as session:
        train(model, keep)
        model.set_weights(keep.weights[1])
        for variable, value in zip(model.optimizer.variables, keep.state, strict=True):
            variable.assign(value)
        again = train(model, epochs=2)
    assert again == pytest.approx(straight[2:], rel=1e-6)
    assert finding(session.diagnose()[1]).status == "passed"


def test_a_weights_file_and_a_new_optimizer(tmp_path: Path) -> None:
    with diagnose.trace(tmp_path) as session:
        model = build()
        train(model)
        model.save_weights(tmp_path / "w.weights.h5")
        other = build(seed=5)
        with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
            other.load_weights(tmp_path / "w.weights.h5")
        train(other, initial_epoch=4, epochs=6)
    found = finding(session.diagnose()[1])
    assert found.status == "failed"
    assert "new one: 0 updates" in found.title
    assert found.evidence["same_optimizer_object"] is False
    assert "load_model" in blocks(found.advice)[0]


def test_control_the_whole_model_from_a_file(tmp_path: Path) -> None:
    with diagnose.trace(tmp_path) as session:
        model = build()
        train(model)
        model.save(tmp_path / "m.keras")
        train(keras.saving.load_model(tmp_path / "m.keras"), initial_epoch=4, epochs=6)
    assert finding(session.diagnose()[1]).status == "passed"


@pytest.mark.recorded
def test_control_another_optimizer_is_a_new_start(tmp_path: Path) -> None:
    model = build()
    with diagnose.trace(tmp_path) as session:
        train(model)
        model.compile(keras.optimizers.Adam(0.001), "binary_crossentropy")  # fine tuning
        train(model)
    found = finding(session.diagnose()[1])
    assert found.status == "passed"
    assert "set up differently" in found.title


@pytest.mark.recorded
def test_initial_weights_again_with_the_optimizer_of_the_fold_before(tmp_path: Path) -> None:
    model = build()
    initial = model.get_weights()
    with diagnose.trace(tmp_path) as session:
        for _ in range(3):
            model.set_weights(initial)
            train(model, epochs=2)
    first, *others = [finding(d) for d in session.diagnose()]
    assert first.status == "not-applicable"
    for found, updates in zip(others, (8, 16), strict=True):
        assert found.status == "failed"
        assert found.evidence["weights_of"] == {"trace": "fit-1.diag", "epoch": 0, "version": 0}
        assert found.evidence["optimizer_then"]["iterations"] == 0
        assert found.evidence["optimizer_at_start"]["iterations"] == updates
        assert "compile" in blocks(found.advice)[0]


@pytest.mark.recorded
def test_control_compiled_again_with_the_initial_weights(tmp_path: Path) -> None:
    model = build()
    initial = model.get_weights()
    with diagnose.trace(tmp_path) as session:
        train(model)
        model.set_weights(initial)
        model.compile(keras.optimizers.Adam(0.1), "binary_crossentropy")
        train(model)
    found = finding(session.diagnose()[1])
    assert found.status == "not-applicable"
    assert "both new" in found.title


class Lowers(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == 2:
            self.model.optimizer.learning_rate = 0.001


def restored(tmp_path: Path, optimizer: Any, *, rate: float | None = None) -> Any:
    model, witness = build(optimizer), Witness()
    with diagnose.trace(tmp_path) as session:
        train(model, witness, Lowers())
        model.set_weights(witness.weights[1])
        if rate is not None:
            model.optimizer.learning_rate = rate
        train(model, epochs=2)
    return finding(session.diagnose()[1])


def test_a_learning_rate_left_behind(tmp_path: Path) -> None:
    found = restored(tmp_path, keras.optimizers.SGD(0.1))
    assert (found.status, found.evidence["not_of_that_moment"]) == ("failed", ["learning_rate"])
    assert found.evidence["optimizer_at_start"]["learning_rate"] == pytest.approx(0.001)
    assert found.evidence["optimizer_then"]["learning_rate"] == pytest.approx(0.1)
    assert found.effect is None
    assert "0.1" in blocks(found.advice)[0]


@pytest.mark.parametrize("rate", [0.1, 0.02])
def test_control_a_learning_rate_that_was_set(rate: float, tmp_path: Path) -> None:
    found = restored(tmp_path, keras.optimizers.SGD(0.1), rate=rate)
    assert found.status == "passed"
    assert "nothing that could be lost" in found.title


def test_a_schedule_goes_by_the_count_of_updates(tmp_path: Path) -> None:
    model, witness = build(keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 4, 0.5))), Witness()
    with diagnose.trace(tmp_path) as session:
        train(model, witness)
        model.set_weights(witness.weights[1])
        train(model, epochs=2)
    found = finding(session.diagnose()[1])
    assert (found.status, found.evidence["not_of_that_moment"]) == ("failed", ["iterations"])


class PutsBack(keras.callbacks.Callback):
    """Returns to the first epoch's weights at the end of the third."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == 0:
            self.kept = self.model.get_weights()
        if epoch == 2:
            self.model.set_weights(self.kept)


@pytest.mark.recorded
@pytest.mark.parametrize(("epochs", "status"), [(5, "failed"), (3, "not-applicable")])
def test_a_callback_that_puts_weights_back(epochs: int, status: str, tmp_path: Path) -> None:
    with diagnose.trace(tmp_path) as session:
        logged = train(build(), PutsBack(), epochs=epochs)
    found = finding(session.diagnose()[0])
    assert found.status == status
    if status == "failed":
        assert (found.evidence["callback"], found.evidence["epoch"]) == ("PutsBack", 3)
        assert found.evidence["weights_of"] == {"epoch": 1, "version": 4}
        assert (found.evidence["next_epoch_then"], found.evidence["next_epoch_now"]) == (logged[1], logged[3])
        assert found.effect == abs(logged[3] - logged[1])
        blocks(found.advice)


@pytest.mark.recorded
def test_told_to_continue_with_a_new_optimizer(tmp_path: Path) -> None:
    """As in another process: no earlier fit is known."""
    with diagnose.trace(tmp_path) as session:
        train(build(seed=11), initial_epoch=6, epochs=8)
    found = finding(session.diagnose()[0])
    assert found.status == "failed"
    assert "went on after epoch 6" in found.title


@pytest.mark.recorded
def test_control_told_to_continue_with_an_optimizer_that_keeps_nothing(tmp_path: Path) -> None:
    with diagnose.trace(tmp_path) as session:
        train(build(keras.optimizers.SGD(0.1), seed=12), initial_epoch=6, epochs=8)
    assert finding(session.diagnose()[0]).status == "passed"


def test_an_older_trace_does_not_say(tmp_path: Path) -> None:
    with diagnose.trace(tmp_path) as session:
        train(build(seed=13), epochs=1)
    with read_trace(session.runs[0].path) as trace:
        trace.header = msgspec.structs.replace(trace.header, start=None)
        found = optimizer_not_restored.check(Facts(trace, (), None))
    assert found.status == "not-applicable"
    assert "does not say" in found.title


class RollsBack(keras.callbacks.Callback):
    """Returns to the weights (or the trainable ones) of an update inside the first epoch, in a batch of the third."""

    def __init__(self, trainable_only: bool, optimizer: bool = False) -> None:
        super().__init__()
        self.trainable_only, self.optimizer, self.seen = trainable_only, optimizer, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen += 1
        variables = self.model.trainable_weights if self.trainable_only else self.model.weights
        variables = [*variables, *(self.model.optimizer.variables if self.optimizer else [])]
        if self.seen == 3:
            self.kept = [keras.ops.convert_to_numpy(v).copy() for v in variables]
        if self.seen == 10:
            for v, kept in zip(variables, self.kept, strict=True):
                v.assign(kept)


@pytest.mark.recorded
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="variables cannot be assigned between JAX's steps")
@pytest.mark.parametrize("trainable_only", [False, True])
def test_weights_rolled_back_inside_an_epoch(trainable_only: bool, tmp_path: Path) -> None:
    with diagnose.trace(tmp_path) as session:
        train(build(), RollsBack(trainable_only), epochs=4)
    found = finding(session.diagnose()[0])
    assert found.status == "failed", found.title
    assert found.evidence["weights_of"] == {"epoch": 1, "version": 3} and found.evidence["epoch"] == 3
    assert "of version 3, in epoch 1 back in epoch 3" in found.title


@pytest.mark.recorded
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="variables cannot be assigned between JAX's steps")
def test_control_rolled_back_with_its_optimizer(tmp_path: Path) -> None:
    with diagnose.trace(tmp_path) as session:
        train(build(), RollsBack(False, optimizer=True), epochs=4)
    assert finding(session.diagnose()[0]).status == "not-applicable"


@pytest.mark.recorded
def test_control_fine_tuning_in_two_phases(tmp_path: Path) -> None:
    """A layer is unfrozen, and `compile` with the same settings makes the optimizer that this takes."""
    keras.utils.set_random_seed(6)
    parts = [keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(1, activation="sigmoid")]
    model = keras.Sequential([keras.Input((3,)), *parts])
    model.layers[0].trainable = False
    model.compile(keras.optimizers.Adam(0.1), "binary_crossentropy")
    with diagnose.trace(tmp_path) as session:
        train(model)
        model.layers[0].trainable = True
        model.compile(keras.optimizers.Adam(0.1), "binary_crossentropy")
        train(model, initial_epoch=4, epochs=6)
    found = finding(session.diagnose()[1])
    assert found.evidence["weights_of"]["epoch"] == 4
    assert found.status == "passed", found.title


def test_control_fine_tuning_of_the_same_variables_at_another_rate(tmp_path: Path) -> None:
    """`compile` with another rate is a new start on purpose, whatever `initial_epoch` counts from."""
    with diagnose.trace(tmp_path) as session:
        model = build(seed=21)  # no other fit of this process has these weights
        train(model)
        model.compile(keras.optimizers.Adam(0.001), "binary_crossentropy")
        train(model, initial_epoch=4, epochs=6)
    found = finding(session.diagnose()[1])
    assert found.evidence["weights_of"]["epoch"] == 4
    assert found.status == "passed" and "set up differently" in found.title


@pytest.mark.recorded
def test_a_rate_that_a_schedule_set_again_is_not_said_to_be_that_of_the_moment(tmp_path: Path) -> None:
    model, schedule = build(), keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 * 0.5**epoch)
    with diagnose.trace(tmp_path) as session:
        train(model, schedule, epochs=3)
        train(model, schedule, epochs=2)
    found = finding(session.diagnose()[1])
    assert found.status == "passed"
    assert found.title.endswith("but for its learning rate: that went from 0.025 to 0.1.")

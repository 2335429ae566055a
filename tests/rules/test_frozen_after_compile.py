from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from tests.rules.advice import blocks, paste

RULE = "frozen-after-compile"
compiled = pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="on PyTorch the step is not compiled and reads `trainable` every time"
)
# On JAX, a step made for more trainable variables than there are now refuses to run: nothing can move unseen.
tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the step refuses to run, or obeys")


@dataclass
class Seen:
    """The finding, and by the test's own look which variables differ before and after the traced fit."""

    finding: Any
    moved: set[str]


def inner() -> Any:
    return keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, name="below"),
            keras.layers.BatchNormalization(center=False, scale=False, name="norm"),
        ],
        name="backbone",
    )


def run(change: Callable[[Any], None], *, first: bool = True, model: Any = None, callbacks: Any = ()) -> Seen:
    """Fits (if `first`), changes the model, and fits again, traced."""
    keras.utils.set_random_seed(4)
    rng = np.random.default_rng(0)
    x = rng.normal(loc=3.0, size=(32, 3)).astype("float32")
    y = (x[:, 0] > 3).astype("float32")
    model = model or keras.Sequential([keras.Input((3,)), inner(), keras.layers.Dense(1, name="head")])
    again(model)
    if first:
        model.fit(x, y, batch_size=8, verbose=0)
    change(model)
    before = {v.path: keras.ops.convert_to_numpy(v).copy() for v in model.weights}
    tracer = Tracer()
    model.fit(x, y, batch_size=8, epochs=2, verbose=0, validation_data=(x, y), callbacks=[*callbacks, tracer])
    moved = {v.path for v in model.weights if not np.array_equal(before[v.path], keras.ops.convert_to_numpy(v))}
    return Seen(next(f for f in tracer.diagnose().findings if f.rule == RULE), moved)


def again(model: Any) -> None:
    model.compile(keras.optimizers.Adam(0.01), "mse")


def freeze_norm(model: Any) -> None:
    model.get_layer("backbone").get_layer("norm").trainable = False


def freeze_backbone(model: Any) -> None:
    model.get_layer("backbone").trainable = False


@compiled
@pytest.mark.filterwarnings("ignore:A layer's `trainable` state has changed")
def test_fails_for_moving_averages_of_a_nested_layer() -> None:
    seen = run(freeze_norm)
    averages = {path for path in seen.moved if "norm/moving" in path}
    assert len(averages) == 2
    assert seen.finding.status == "failed" and seen.finding.effect is None
    assert seen.finding.evidence["frozen"] == ["norm"]
    assert set(seen.finding.evidence["changed_in_steps"]) == averages
    assert set(seen.finding.evidence["changed_in_steps"].values()) == {4}
    assert "'norm'" in seen.finding.title and "'below'" not in seen.finding.title
    assert blocks(seen.finding.advice)


@tensorflow
@pytest.mark.filterwarnings("ignore:A layer's `trainable` state has changed")
def test_fails_for_kernels_too() -> None:
    seen = run(freeze_backbone)
    frozen = {path for path in seen.moved if "below" in path or "norm" in path}
    assert len(frozen) == 4
    assert set(seen.finding.evidence["changed_in_steps"]) == frozen
    assert "weights and moving averages" in seen.finding.title


def frozen_first() -> Any:
    model = keras.Sequential([keras.Input((3,)), inner(), keras.layers.Dense(1, name="head")])
    freeze_backbone(model)
    return model


def thaw_backbone(model: Any) -> None:
    model.get_layer("backbone").trainable = True


@tensorflow
@pytest.mark.filterwarnings("ignore:A layer's `trainable` state has changed")
def test_fails_for_a_layer_that_was_thawed_and_stands_still() -> None:
    seen = run(thaw_backbone, model=frozen_first())
    assert seen.moved == {path for path in seen.moved if "head" in path} != set()
    assert seen.finding.status == "failed" and seen.finding.evidence["layers"] == ["below"]
    assert [path.rpartition("/")[2] for path in seen.finding.evidence["unchanged"]] == ["kernel", "bias"]
    assert "trainable=True, but none of 8 train steps changed the 2 weights" in seen.finding.title
    assert "with a new optimizer" in seen.finding.advice


def test_control_thawed_and_compiled_again() -> None:
    def change(model: Any) -> None:
        thaw_backbone(model)
        again(model)

    seen = run(change, model=frozen_first())
    assert any("below" in path for path in seen.moved) and seen.finding.status == "not-applicable"


class Sets(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the flag of the layer `below` when the second epoch begins."""

    def __init__(self, wanted: bool) -> None:
        super().__init__()
        self.wanted = wanted

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        below = self.model.get_layer("backbone").get_layer("below")
        if epoch == 1:
            self.at_flip = [keras.ops.convert_to_numpy(v).copy() for v in below.weights]
            below.trainable = self.wanted

    def on_train_end(self, logs: Any = None) -> None:
        weights = self.model.get_layer("backbone").get_layer("below").weights
        self.moved_since = [
            not np.array_equal(a, keras.ops.convert_to_numpy(v)) for a, v in zip(self.at_flip, weights, strict=True)
        ]


@tensorflow
@pytest.mark.filterwarnings("ignore:A layer's `trainable` state has changed")
@pytest.mark.parametrize("wanted", [False, True], ids=["frozen", "thawed"])
def test_fails_for_a_flag_that_a_callback_sets_within_the_fit(wanted: bool) -> None:
    sets = Sets(wanted)
    seen = run(lambda model: None, first=False, model=frozen_first() if wanted else None, callbacks=[sets])
    assert sets.moved_since == [not wanted, not wanted], "by the test's own look"
    assert seen.finding.status == "failed" and seen.finding.evidence["epoch"] == 2
    assert seen.finding.evidence["layers"] == ["below"] and seen.finding.evidence["steps"] == 4
    paths = seen.finding.evidence["unchanged"] if wanted else seen.finding.evidence["changed_in_steps"]
    assert sorted(path.rpartition("/")[2] for path in paths) == ["bias", "kernel"]
    assert f"trainable={wanted} from epoch 2 on" in seen.finding.title
    # The advice: two fits with a compile between them, of which the second obeys.
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="below"), keras.layers.Dense(1)])
    model.get_layer("below").trainable = not wanted
    again(model)
    x = np.ones((8, 3), "float32")
    held: list[np.ndarray] = []
    fill = {
        "model.compile(optimizer=..., loss=..., metrics=[...])": "keep(model); again(model)",
        "epochs=...": "epochs=2",
    }
    keep = lambda model: held.append(keras.ops.convert_to_numpy(model.get_layer("below").kernel).copy())  # noqa: E731
    paste(seen.finding.advice, fill=fill, model=model, x=x, y=x[:, :1], keep=keep, again=again)
    assert (not np.array_equal(held[0], keras.ops.convert_to_numpy(model.get_layer("below").kernel))) == wanted


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="elsewhere a made step does not read the flag")
def test_control_a_flag_within_the_fit_that_is_obeyed() -> None:
    sets = Sets(False)
    seen = run(lambda model: None, first=False, callbacks=[sets])
    assert sets.moved_since == [False, False] and seen.finding.status != "failed"


@pytest.mark.parametrize("freeze", [freeze_norm, freeze_backbone])
def test_control_compiled_again(freeze: Callable[[Any], None]) -> None:
    def change(model: Any) -> None:
        freeze(model)
        again(model)

    seen = run(change)
    assert not any("norm" in path for path in seen.moved)
    assert seen.finding.status == "passed"


def test_control_frozen_before_the_first_step() -> None:
    seen = run(freeze_norm, first=False)
    assert not any("norm" in path for path in seen.moved) and any("below" in path for path in seen.moved)
    assert seen.finding.status == "passed"


def test_does_not_apply_where_nothing_is_frozen() -> None:
    seen = run(lambda model: None)
    assert any("norm/moving" in path for path in seen.moved)
    assert seen.finding.status == "not-applicable"


def test_a_kernel_that_the_model_counts_as_trainable_is_not_frozen() -> None:
    """Variables can be thawed one by one, or be shared with a layer that trains."""
    below = keras.layers.Dense(3, name="below")
    model = keras.Sequential([keras.Input((3,)), below, keras.layers.Dense(1)])

    def change(model: Any) -> None:
        below.trainable = False
        below.kernel.trainable = True
        again(model)

    seen = run(change, model=model)
    assert any("below/kernel" in path for path in seen.moved), "the kernel must train"
    assert not any("below/bias" in path for path in seen.moved)
    assert seen.finding.status == "passed"


def test_states_and_counters_of_a_frozen_layer_may_change() -> None:
    class Counter(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.scale = self.add_weight(shape=(), initializer="ones", name="scale")
            self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False, name="seen")

        def call(self, inputs: Any) -> Any:
            self.seen.assign(self.seen + 1.0)
            return inputs * self.scale

    counter = Counter(name="counter")
    counter.trainable = False
    model = keras.Sequential([keras.Input((3,)), counter, keras.layers.Dense(1)])
    seen = run(lambda model: None, first=False, model=model)
    assert any("seen" in path for path in seen.moved)
    assert seen.finding.status == "passed"


def test_spectral_normalization_changes_its_kernel_frozen_or_not() -> None:
    layer = keras.layers.SpectralNormalization(keras.layers.Dense(3), name="spectral")
    layer.trainable = False
    model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Dense(1)])
    seen = run(lambda model: None, first=False, model=model)
    assert any("kernel" in path and "spectral" in path for path in seen.moved)
    assert seen.finding.status == "passed"

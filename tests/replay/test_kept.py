"""What was compiled for a replay is used again where nothing that the compiler saw has changed, and only there. The
oracle of a diagnosis is one for which everything is compiled anew; of a likeness, what was changed."""

from __future__ import annotations

import gc
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from diagnose.replay.keras import engine, kept
from diagnose.replay.keras.likeness import likeness
from tests.replay.fits import BACKEND, classifier, labels

compiles = pytest.mark.skipif(BACKEND == "torch", reason="nothing is compiled")

FACTOR = 1.0
SETTINGS = types.SimpleNamespace(factor=1.0)


class Scaled(keras.layers.Layer):
    """A user's layer that reads from everywhere."""

    about = "a class's own"

    def __init__(self) -> None:
        super().__init__()
        self.held = {"by": [np.ones(3)]}
        inner = 1.0

        def own(x: Any) -> Any:
            return x * inner

        self.own = own

    def call(self, x: Any) -> Any:
        return self.own(x) * FACTOR * SETTINGS.factor


def _set(thing: Any, name: str, value: Any) -> Callable[[Any, Any], None]:
    return lambda model, patch: patch.setattr(thing, name, value)


CHANGES: dict[str, Callable[[Any, Any], None]] = {
    "a layer is frozen": lambda model, patch: setattr(model.layers[0], "trainable", False),
    "a rate": lambda model, patch: setattr(model.layers[1], "rate", 0.5),
    "compiled again": lambda model, patch: model.compile("sgd", "mse"),
    "an array in place": lambda model, patch: model.layers[2].held["by"][0].__setitem__(0, 5.0),
    "a list": lambda model, patch: model.layers[2].held["by"].append(1),
    "a closure": lambda model, patch: setattr(model.layers[2].own.__closure__[0], "cell_contents", 2.0),
    "a function": lambda model, patch: setattr(model.layers[2], "own", lambda x: x),
    "a global": lambda model, patch: patch.setitem(globals(), "FACTOR", 2.0),
    "an object of a global": _set(SETTINGS, "factor", 2.0),
    "a method of the user's": _set(Scaled, "call", lambda self, x: x),
    "a value of a class": _set(Scaled, "about", "another"),
    "a method of Keras": _set(keras.layers.Dropout, "call", lambda self, x, training=False: x),
    "a step on the instance": lambda model, patch: object.__setattr__(model, "compute_loss", lambda **parts: 0.0),
    "epsilon": lambda model, patch: patch.setattr(keras.config, "epsilon", lambda: 1e-3),
    "a metric's threshold": lambda model, patch: setattr(model.metrics[0], "threshold", 0.1),
}


def made() -> Any:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3), keras.layers.Dropout(0.2), Scaled()])
    model.compile("sgd", "mse", metrics=["mae"])
    return model


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_is_not_alike_after(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made()
    before = likeness(model)
    assert before is not None and likeness(model) == before
    CHANGES[change](model, monkeypatch)
    assert likeness(model) != before


def test_a_model_is_alike_after_it_was_used() -> None:
    model = made()
    model.evaluate(np.ones((4, 3)), np.ones((4, 3)), verbose=0)  # the first time, metrics make their variables
    before = likeness(model)
    model.set_weights([w + 1 for w in model.get_weights()])
    model.evaluate(np.ones((4, 3)), np.ones((4, 3)), verbose=0)
    model.predict(np.ones((4, 3)), verbose=0)
    assert before is not None and likeness(model) == before


def test_many_layers_one_after_the_other_are_looked_at() -> None:
    model = keras.Sequential([keras.Input((1,)), *(keras.layers.Activation("tanh") for _ in range(200))])
    before = likeness(model)
    assert before is not None and likeness(model) == before
    model.layers[-1].activation = keras.activations.relu
    assert likeness(model) != before


def test_what_cannot_be_looked_at_is_never_alike() -> None:
    model = made()
    model.layers[2].held["iterator"] = iter("abc")
    assert likeness(model) is None


def trained(model: Any, path: Path) -> Tracer:
    tracer = Tracer(path, level=0)
    model.fit(*labels(), epochs=3, batch_size=4, verbose=0, callbacks=[tracer])
    return tracer


@compiles
def test_what_was_compiled_is_used_again_for_a_model_that_is_as_it_was_and_holds_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced: list[int] = []
    make = engine.make_step
    monkeypatch.setattr(engine, "make_step", lambda *a, **k: traced.append(1) or make(*a, **k))
    model = classifier(keras.layers.Dropout(0.4))
    first = trained(model, tmp_path / "first.diag")
    once = first.diagnose()
    assert traced
    traced.clear()
    assert first.diagnose().ledgers == once.ledgers
    assert not traced

    # Another rate, taken up by `compile`: what was compiled before would give other values.
    model.layers[1].rate = 0.7
    model.compile(optimizer="sgd", loss="binary_crossentropy", metrics=["accuracy"])
    second = trained(model, tmp_path / "second.diag")
    found = second.diagnose()
    assert traced and found.replay is not None and (found.replay.steps, found.replay.reproduced) == (18, 18)
    kept._entries.clear()
    anew = second.diagnose()
    assert anew.ledgers == found.ledgers and anew.epoch_rows == found.epoch_rows

    gone = weakref.ref(model)
    del model, first, second
    keras.backend.clear_session()
    gc.collect()
    assert gone() is None


@pytest.mark.skipif(BACKEND != "tensorflow", reason="others have no operations with a state of their own")
def test_what_draws_from_a_state_of_its_own_is_compiled_anew(tmp_path: Path) -> None:
    import tensorflow as tf

    class Noise(keras.layers.Layer):
        def call(self, x: Any, training: bool = False) -> Any:
            return x + tf.random.normal(tf.shape(x)) if training else x

    x, y = labels()
    tracer = Tracer(tmp_path / "fit.diag")
    keras.utils.set_random_seed(5)
    classifier(Noise()).fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[tracer])
    first, again = (tracer.diagnose().replay for _ in range(2))
    assert first is not None and again is not None
    assert (first.steps, first.reproduced, first.max_abs_error) == (again.steps, again.reproduced, again.max_abs_error)

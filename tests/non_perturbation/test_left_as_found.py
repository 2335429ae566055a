"""However a fit ends, it leaves model and callbacks as an untraced one does, and the next fit runs as it would have."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import keras
import pytest

from diagnose import Tracer
from tests.attach.fits import left, model, rows
from tests.record.fits import BACKEND


class At(keras.callbacks.Callback):
    """Does something in one hook, once."""

    def __init__(self, hook: str, work: Callable[[Any], None]) -> None:
        super().__init__()
        self.work: Callable[[Any], None] | None = work
        setattr(self, hook, self.once)

    def once(self, *args: Any, **kwargs: Any) -> None:
        work, self.work = self.work, None
        if work is not None:
            work(self.model)


def compiles(trained: Any) -> None:
    trained.compile("sgd", "mae")


def compiles_and_makes(trained: Any) -> None:
    compiles(trained)
    trained.make_train_function()


def makes_anew(trained: Any) -> None:
    trained.make_train_function(force=True)


def stops(trained: Any) -> None:
    trained.stop_training = True


def raises(trained: Any) -> None:
    raise ZeroDivisionError("planned")


def interrupts(trained: Any) -> None:
    raise KeyboardInterrupt


def fits(trained: Any) -> None:
    trained.fit(*rows(), epochs=1, batch_size=8, verbose=0, shuffle=False)


def fits_another(trained: Any) -> None:
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, kernel_initializer="ones")])
    made.compile("sgd", "mse")
    fits(made)


WAYS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "to its end": ("on_predict_begin", stops),
    "stopped": ("on_epoch_end", stops),
    "raises at the start": ("on_train_begin", raises),
    "raises in an epoch": ("on_train_batch_begin", raises),
    "raises in a validation pass": ("on_test_batch_end", raises),
    "raises at the end of an epoch": ("on_epoch_end", raises),
    "raises at the end": ("on_train_end", raises),
    "interrupted": ("on_train_batch_end", interrupts),
    "compiles at the start": ("on_train_begin", compiles),
    "compiles at the start, and makes the function": ("on_train_begin", compiles_and_makes),
    "makes the function anew at the start": ("on_train_begin", makes_anew),
    "compiles as an epoch begins": ("on_epoch_begin", compiles),
    "compiles as an epoch begins, and makes the function": ("on_epoch_begin", compiles_and_makes),
    "compiles in a validation pass": ("on_test_begin", compiles),
    "compiles as an epoch ends": ("on_epoch_end", compiles),
    "compiles at the end": ("on_train_end", compiles),
    "fits the same model": ("on_epoch_end", fits),
    "fits another model": ("on_epoch_begin", fits_another),
}


def outcome(way: tuple[str, Callable[[Any], None]], place: Callable[[Any], list[Any]], given: str) -> dict[str, Any]:
    """All that a fit and an untraced one after it leave behind."""
    found: dict[str, Any] = {}
    trained = model(3)
    given_callbacks: Any = place(At(*way))
    before = [type(cb) for cb in given_callbacks if not isinstance(cb, Tracer)]
    if given == "CallbackList":
        given_callbacks = keras.callbacks.CallbackList(given_callbacks, add_history=True, model=trained)
    x, y = rows()
    arguments: dict[str, Any] = {
        "x": x, "y": y, "validation_data": (x, y), "batch_size": 8, "epochs": 2, "verbose": 0, "shuffle": False,
    }  # fmt: skip
    try:
        found["history"] = trained.fit(**arguments, callbacks=given_callbacks).history
    except BaseException as error:
        found["raised"] = (type(error), str(error))
    if given == "CallbackList" and "raised" in found:
        trained.fit(**arguments, callbacks=given_callbacks)  # the user's list, used again, is what tells the tracer
    listed = given_callbacks if given == "list" else given_callbacks.callbacks
    found["callbacks"] = [type(cb) for cb in listed if not isinstance(cb, Tracer)][: len(before)]
    found["attributes"] = sorted(vars(trained))
    for name in ("train_function", "test_function"):
        function = getattr(trained, name)
        found[name] = (function is None, type(function), getattr(function, "__qualname__", None))
    found["weights"] = left(trained)
    found["next"] = trained.fit(**arguments).history
    found["weights after that"] = left(trained)
    return found


@cache
def untraced(way: str, given: str) -> dict[str, Any]:
    return outcome(WAYS[way], lambda cb: [cb], given)


LOST_ON_JAX = (
    "compiles at the start", "compiles at the start, and makes the function", "compiles as an epoch begins",
    "compiles as an epoch begins, and makes the function", "compiles as an epoch ends",
)  # fmt: skip
"""There Keras itself loses the model's variables: no value can be read after that, traced or not."""


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("way", [w for w in WAYS if BACKEND != "jax" or w not in LOST_ON_JAX])
def test_a_fit_leaves_what_an_untraced_one_leaves(way: str, order: str, tmp_path: Path) -> None:
    tracer = Tracer(tmp_path / "fit.diag")
    traced = outcome(WAYS[way], lambda cb: [tracer, cb] if order == "before" else [cb, tracer], "list")
    assert traced == untraced(way, "list")
    assert ("raised" in traced) == (way.startswith(("raises", "interrupted")) or way in NO_FUNCTION)


NO_FUNCTION = (
    "compiles at the start", "compiles as an epoch begins", "compiles in a validation pass",
    "compiles as an epoch ends",
)  # fmt: skip
"""Keras has no function to call then."""


@pytest.mark.parametrize("way", ["to its end", "raises in an epoch"])
def test_a_list_of_callbacks_that_the_user_made(way: str, tmp_path: Path) -> None:
    traced = outcome(WAYS[way], lambda cb: [Tracer(tmp_path / "fit.diag"), cb], "CallbackList")
    assert traced == untraced(way, "CallbackList")

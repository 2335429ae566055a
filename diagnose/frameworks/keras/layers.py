"""Layers: which a model has, what they keep, and how they tell training from inference
(`keras/src/layers/layer.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from diagnose.frameworks.keras.origin import by_keras

MOST_ITEMS: Final = 1000
"""Lists and dicts of more items than this hold data, nothing that belongs to a model."""


def layers_of(model: Any) -> list[Any]:
    """All layers in a model, nested ones too, in an order that depends on nothing but how it was built."""
    return list(model._flatten_layers(include_self=False))


def model_and_layers(model: Any) -> list[Any]:
    """The model, which is a layer itself, then those in it."""
    return list(model._flatten_layers())


def held_by(model: Any) -> Iterator[Any]:
    """Everything in the attributes of a model and its layers, in lists, tuples and dicts too."""
    for layer in model_and_layers(model):
        for name, value in list(vars(layer).items()):
            if not name.startswith("_self_"):  # TensorFlow's own list of what was ever set
                yield from _items(value, 2)


def _items(value: Any, depth: int) -> Iterator[Any]:
    if isinstance(value, (list, tuple, Mapping)):
        if depth and len(value) <= MOST_ITEMS:
            for item in list(value.values() if isinstance(value, Mapping) else value):
                yield from _items(item, depth - 1)
    else:
        yield value


def takes_training(layer: Any) -> bool:
    """Whether the `call` of a layer (or a model) has a `training` argument."""
    return bool(layer._call_has_training_arg)


def own_variables(layer: Any) -> tuple[list[Any], list[Any]]:
    """A layer's variables without those of layers in it: made to be trained (frozen or not), and the others."""
    return list(layer._trainable_variables), list(layer._non_trainable_variables)


def makes_mask(layer: Any) -> bool:
    """Whether a layer gives its output a mask of its own, rather than passing one on."""
    from keras import layers

    zero = getattr(layer, "mask_zero", False)
    if isinstance(layer, layers.Masking) or (isinstance(zero, int) and bool(zero)):
        return True
    return not by_keras(type(layer).compute_mask)


def flag(layer: Any) -> bool:
    """The `trainable` flag of the layer alone."""
    found: bool = layer._trainable
    return found


def set_flag(layer: Any, wanted: bool) -> None:
    """Sets the flag of the layer alone: the property would set those of its variables and of inner layers too."""
    object.__setattr__(layer, "_trainable", wanted)


def added_losses(layer: Any) -> list[Any]:
    """What the layer's `add_loss` was given in its last pass."""
    return list(layer._losses)


def losses_put_back(layer: Any) -> Callable[[], None]:
    """A function that gives the layer the added losses it has now."""
    own, ids = list(layer._losses), set(layer._loss_ids)

    def put_back() -> None:
        layer._losses[:] = own
        layer._loss_ids.clear()
        layer._loss_ids.update(ids)

    return put_back

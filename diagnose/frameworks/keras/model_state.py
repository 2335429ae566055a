"""Which variables make up a model's state, in the order in which a trace holds them. Shared by recording and replay;
imports neither."""

from __future__ import annotations

from typing import Any

from diagnose.frameworks.keras.layers import layers_of
from diagnose.frameworks.keras.trainers import keeps_jax_state


def variables_exist(model: Any) -> bool:
    """Whether a model has its variables before its first step. One whose own train step calls its parts (an
    autoencoder, a pair of adversaries) never counts as built itself."""
    if model.built:
        return True
    layers = layers_of(model)
    return bool(layers) and all(layer.built for layer in layers)


def state_variables(model: Any) -> list[Any]:
    """`model.variables`, then what stateful layers hand from one batch to the next."""
    return [*model.variables, *carried_variables(model)]


def carried_variables(model: Any) -> list[Any]:
    """The states of stateful layers. Keras makes them untracked (`keras.layers.RNN._create_state_variables`), so that
    `model.variables` and `get_weights()` lack them.

    None on JAX: there a step returns tracked variables only, and what it writes to others is lost (Keras 3.15.1).
    """
    if keeps_jax_state(model):
        return []
    found: dict[int, Any] = {id(v): None for v in model.variables}
    carried = []
    for layer in layers_of(model):
        if getattr(layer, "stateful", False) is True:
            for variable in _flat(getattr(layer, "states", None)):
                if id(variable) not in found and hasattr(variable, "assign"):
                    found[id(variable)] = None
                    carried.append(variable)
    return carried


def _flat(states: Any) -> list[Any]:
    if isinstance(states, (list, tuple)):
        return [v for part in states for v in _flat(part)]
    return [] if states is None else [states]

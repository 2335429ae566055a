"""How much work Keras would have with a stored architecture, reckoned before it is handed one. Use after
`stored_check.check`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

MOST_LAYERS: Final = 5000
"""Layers to be made or called; Keras takes about 4 ms for each. Its own largest application has 1,039."""

SEQUENTIAL: Final = 25
"""A `Sequential` runs through all of its layers again for each one added (3.8 to 3.15), but that costs less than making
them: with so many layers as much again."""

MOST_TRIES: Final = 200_000

_INNER = ("layers", "layer", "forward_layer", "backward_layer", "cell", "cells")


class TooMuch(Exception):
    """Why an architecture is not built, as the end of a sentence about it."""


def check_work(model: Mapping[str, Any]) -> None:
    """Raises TooMuch if Keras would take more than about half a minute, or for ever."""
    work = _work(model)
    if work > MOST_LAYERS:
        raise TooMuch(
            f"makes or calls {work if work < 10**9 else 'far too many'} layers; at most {MOST_LAYERS} are built"
        )


def _work(node: Mapping[str, Any]) -> int:
    """Calls of layers. A model that is called again calls each of its layers again, so models nested in models
    multiply."""
    config = node["config"]
    inner = 0
    for key in _INNER:
        value = config.get(key)
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, Mapping) and isinstance(item.get("config"), Mapping):
                inner += _work(item)
    layers = config.get("layers")
    if isinstance(layers, list) and node["class_name"] == "Sequential":
        inner += inner * len(layers) // SEQUENTIAL
    elif isinstance(layers, list) and "input_layers" in config:
        _check_order(layers)
    return (1 + inner) * max(1, len(node.get("inbound_nodes") or ()))


def _check_order(layers: Sequence[Mapping[str, Any]]) -> None:
    """Goes through the calls as Keras does: again and again over all layers, each time as far as the inputs of a call
    are there. Of calls that wait for each other, Keras 3.8 never gets to the end."""
    made: dict[str, int] = {}
    waiting: dict[str, list[list[tuple[str, int]]]] = {}
    for layer in layers:
        name = str(layer.get("name"))
        calls = [_inputs(call) for call in layer.get("inbound_nodes") or ()]
        waiting.setdefault(name, []).extend(calls)
        made[name] = 0 if calls and "input_layers" not in layer["config"] else 1
    tries = 0
    while waiting := {name: calls for name, calls in waiting.items() if calls}:
        progress = False
        for name, calls in waiting.items():
            tries += 1
            done = 0
            while done < len(calls) and all(made.get(of, 0) > index for of, index in calls[done]):
                made[name] += 1
                done += 1
            del calls[:done]
            progress |= done > 0
        if not progress:
            raise TooMuch("has layers that wait for each other")
        if tries > MOST_TRIES:
            raise TooMuch("has its layers in an order that takes too long to follow")


def _inputs(value: Any) -> list[tuple[str, int]]:
    """The layers, and which call of each, that a call takes tensors of."""
    if isinstance(value, list):
        return [found for item in value for found in _inputs(item)]
    if not isinstance(value, Mapping):
        return []
    if value.get("class_name") != "__keras_tensor__":
        return [found for item in value.values() for found in _inputs(item)]
    history = value["config"].get("keras_history") if isinstance(value.get("config"), Mapping) else None
    if not (isinstance(history, list) and len(history) == 3 and type(history[1]) is int):
        raise TooMuch("has a call of a layer without its input")
    return [(str(history[0]), history[1])]

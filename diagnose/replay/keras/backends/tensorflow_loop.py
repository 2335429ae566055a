"""TensorFlow: one graph that goes over many batches. A call of a graph costs about a millisecond, a turn of the loop a
small part of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from diagnose.frameworks.keras.tensorflow_tools import graph_function


class Loop:
    """See `ReplayBackend.loop`."""

    def __init__(self, step: Callable[..., Any], modes: int, carried: Sequence[int]) -> None:
        self._step, self._modes, self._carried = step, modes, carried
        self.graphs: dict[Any, Callable[..., Any]] = {}

    def __call__(
        self,
        values: Any,
        metrics: Any,
        left: Any,
        x: Any,
        y: Any,
        sample_weight: Any,
        *,
        moving: bool,
        carry: tuple[bool, ...],
        fixed: bool,
    ) -> Any:
        data = (x, y, sample_weight)
        leaves = [leaf for leaf in tf.nest.flatten(data) if leaf is not None]
        specs = [_spec(leaf, 1 if fixed else 2) for leaf in leaves]
        absent = tf.nest.map_structure(lambda leaf: leaf is None, data)
        key = (str(specs), str(absent), moving, carry)
        if key not in self.graphs:
            of_values = [_spec(value, 1 if moving else 0) for value in values]
            exact = tf.nest.map_structure(tf.TensorSpec.from_tensor, [metrics, left])
            self.graphs[key] = graph_function(
                lambda v, m, own, d: self._all(v, m, own, d, absent, moving, carry),
                input_signature=[of_values, *exact, specs],
            )
        return self.graphs[key](values, metrics, left, leaves)

    def _all(
        self,
        values: Any,
        metrics: Any,
        left: Any,
        leaves: list[Any],
        absent: Any,
        moving: bool,
        carry: tuple[bool, ...],
    ) -> Any:
        count = tf.shape(leaves[0])[0]
        each = [tf.TensorArray(m.dtype, count, element_shape=m.shape) for m in metrics[0]]
        penalties = tf.TensorArray(tf.float32, count, element_shape=[self._modes])

        def turn(place: Any, metrics: Any, left: Any, each: Any, penalties: Any) -> Any:
            rest = iter(leaf[place] for leaf in leaves)
            x, y, weight = tf.nest.map_structure(lambda missing: None if missing else next(rest), absent)
            held = [value[place] for value in values] if moving else list(values)
            own = [held[p] for p in self._carried]
            starts = [mine if on else own for mine, on in zip(left, carry, strict=True)]
            done = self._step(held, metrics, starts, x, y, weight)
            found = [list(d[0]) for d in done]
            each = [array.write(place, m) for array, m in zip(each, found[0], strict=True)]
            return place + 1, found, [list(d[1]) for d in done], each, penalties.write(place, [d[2] for d in done])

        state = (tf.constant(0), metrics, left, each, penalties)
        _, metrics, left, each, penalties = tf.while_loop(
            lambda place, *_: place < count, turn, state, parallel_iterations=1
        )
        return metrics, left, [array.stack() for array in each], penalties.stack()


class Each:
    """See `ReplayBackend.each`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._graph: Callable[..., Any] | None = None

    def __call__(self, columns: Sequence[Any]) -> Any:
        if self._graph is None:
            self._graph = graph_function(self._all, input_signature=[[_spec(column, 1) for column in columns]])
        return self._graph(list(columns))

    def _all(self, columns: list[Any]) -> Any:
        one = graph_function(self._function).get_concrete_function([_spec(column[0], 0) for column in columns])
        signature = tf.nest.map_structure(tf.TensorSpec.from_tensor, one.structured_outputs)
        return tf.map_fn(self._function, columns, fn_output_signature=signature)


def _spec(leaf: Any, open_axes: int) -> Any:
    """The type of a value whose first axes are open."""
    return tf.TensorSpec([*[None] * min(open_axes, leaf.shape.rank), *leaf.shape[open_axes:]], leaf.dtype)

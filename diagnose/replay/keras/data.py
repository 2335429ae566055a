"""The user's data and evaluation by Keras's own hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diagnose.frameworks.keras.model_state import state_variables
from diagnose.replay.keras.backends import current_backend
from diagnose.replay.keras.backends.common import as_arrays
from diagnose.replay.runs import EvaluationData, joined, weights_as_given
from diagnose.result.problems import users_code
from diagnose.tracefile.model import NDArray

KERAS_BATCH_SIZE = 32
"""What `Model.evaluate` uses for arrays when it gets no batch size
(keras/src/trainers/data_adapters/array_data_adapter.py)."""


def keras_evaluate(
    model: Any, arrays: Sequence[NDArray], data: EvaluationData, copies: Mapping[tuple[int, int], NDArray] | None = None
) -> dict[str, float]:
    """`Model.evaluate` itself with these weights on this data; `copies`: see `Replayer.copies`. Use within
    `borrowed(model, …)`: weights and metrics are changed."""
    backend = current_backend()
    variables = state_variables(model)
    for variable, array in zip(variables, arrays, strict=True):
        if not np.array_equal(backend.contents(variable), array):
            variable.assign(array)
    for (index, replica), array in (copies or {}).items():
        backend.parts(variables[index])[replica].assign(array)
    one = joined(data.batches)
    weight = weights_as_given(one.sample_weight, one.weight_tree)
    metrics = [(part, backend.contents(part)) for v in model.metrics_variables for part in backend.parts(v)]
    try:
        with users_code("evaluating the model"), backend.quiet():
            form_of = backend.evaluated if backend.spread(model) == 1 else as_arrays
            form = form_of(one.x, one.y, weight, data.batch_size)
            logs = model.evaluate(**form, verbose=0, return_dict=True)
    except BaseException:
        # JAX takes the values out of the variables while it runs; other measurements need them.
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        for part, content in metrics:
            part.assign(content)
        raise
    return {name: float(value) for name, value in logs.items() if np.ndim(value) == 0}


def as_numpy(tree: Any) -> Any:
    """A tree of arrays as NumPy has them, floats as Keras makes them."""
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {k: as_numpy(v) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)) and tree and hasattr(tree[0], "shape"):
        return type(tree)(as_numpy(v) for v in tree)
    from keras import ops

    array = np.asarray(ops.convert_to_numpy(tree)) if not isinstance(tree, np.ndarray) else tree
    if array.dtype == np.float64:
        # As Keras's adapters do: float arrays take the default float type.
        import keras

        array = array.astype(keras.config.floatx())
    return array

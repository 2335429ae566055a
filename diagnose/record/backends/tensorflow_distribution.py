"""tf.distribute: what each replica holds of a variable and of a batch. Reads this process's own parts only: a read over
all replicas of a variable that is aggregated on reading is a collective, and would wait for the other workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from diagnose.frameworks.keras.tensorflow_tools import is_summed_when_read, local_parts
from diagnose.record.backends.base import Distribution
from diagnose.tracefile.model import NDArray

_PUBLIC = ("MultiWorkerMirroredStrategy", "MirroredStrategy")


def distribution(model: Any) -> Distribution | None:
    """Relies on `TensorFlowTrainer.distribute_strategy` (keras/src/backend/tensorflow/trainer.py)."""
    strategy = getattr(model, "distribute_strategy", None)
    if strategy is None or (strategy.num_replicas_in_sync == 1 and not _several_workers(strategy)):
        return None
    # The public names are aliases; the class of MultiWorkerMirroredStrategy is called otherwise.
    public = (tf.distribute.MultiWorkerMirroredStrategy, tf.distribute.MirroredStrategy)
    name = next((n for n, c in zip(_PUBLIC, public, strict=True) if isinstance(strategy, c)), type(strategy).__name__)
    several = _several_workers(strategy)
    refusal = None
    if isinstance(strategy, tf.distribute.experimental.ParameterServerStrategy):
        refusal = f"{name} runs steps elsewhere and out of order"
    elif several and (model.steps_per_execution != 1 or model.run_eagerly):
        # Fetching each batch by itself would make other collectives than those the other workers run.
        what = "run_eagerly=True" if model.run_eagerly else "steps_per_execution above 1"
        refusal = f"with {name} on several workers, {what} cannot be traced without keeping the other workers waiting"
    local = len(strategy.extended.worker_devices)
    return Distribution(name, int(strategy.num_replicas_in_sync), local, _is_chief(strategy), refusal)


def _several_workers(strategy: Any) -> bool:
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None or not resolver.task_type:
        return False
    cluster = resolver.cluster_spec().as_dict()
    return sum(len(cluster.get(job, ())) for job in ("chief", "worker")) > 1


def _is_chief(strategy: Any) -> bool:
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None or not resolver.task_type:
        return True
    if "chief" in resolver.cluster_spec().as_dict():
        return bool(resolver.task_type == "chief")
    return bool(resolver.task_type == "worker" and resolver.task_id == 0)


def own_copies(variables: Sequence[Any], trainable: Sequence[Any]) -> list[tuple[int, int]]:
    """(index, replica) of the further parts of variables that a replica assigns for itself: all that are not trained.

    Batch-norm statistics do differ: Keras makes their variables without aggregation, so each replica follows its own
    rows.
    """
    trained = {id(v) for v in trainable}
    return [
        (index, replica)
        for index, variable in enumerate(variables)
        if id(variable) not in trained
        for replica in range(1, len(local_parts(variable)))
    ]


def combine(parts: Sequence[NDArray], variable: Any) -> NDArray:
    """What the local parts of a metric's variable come to, as reading it would aggregate them."""
    if len(parts) == 1:
        return parts[0]
    aggregation = variable.value.aggregation if is_summed_when_read(variable.value) else None
    if aggregation == tf.VariableAggregation.SUM:
        return np.asarray(sum(parts[1:], start=parts[0]))
    if aggregation == tf.VariableAggregation.MEAN:
        return np.asarray(sum(parts[1:], start=parts[0]) / len(parts))
    return parts[0]


def batch_parts(value: Any) -> tuple[Any, ...] | None:
    """Each replica's part of a value of a batch, None for a value in one piece."""
    return tuple(value.values) if isinstance(value, tf.distribute.DistributedValues) else None


def shares(data: Any) -> tuple[int, ...] | None:
    found = [parts for leaf in tf.nest.flatten(data) if (parts := batch_parts(leaf)) is not None]
    if not found:
        return None
    if not all(isinstance(part, tf.Tensor) and part.shape.rank for parts in found for part in parts):
        raise ValueError("values other than arrays were split over replicas, which is not recorded")
    rows = {tuple(int(part.shape[0]) for part in parts) for parts in found}
    if len(rows) > 1:
        raise ValueError("the arrays of the batch were split over replicas in different ways")
    return rows.pop()

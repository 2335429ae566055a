"""What a model's own train step works with and no trace holds: why steps may come out otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from diagnose.frameworks.keras.optimizers import own_optimizers
from diagnose.tracefile.reader import Trace


def unrecorded(trace: Trace, model: Any, own_train: bool, drawing: Callable[[], Sequence[str]]) -> str | None:
    """The reason, or None.

    Args:
        own_train: whether the train step is the model's own.
        drawing: names operations that draw random numbers from a state of their own.
    """
    recorded = any(v.role == "own" for v in trace.header.optimizer_variables)
    count = len([o for o in own_optimizers(model) if o.built]) if own_train and not recorded else 0
    if count:
        which = "an optimizer" if count == 1 else f"{count} optimizers"
        return (
            f"the model's own train step has {which} beside the compiled one, whose state is not recorded: what it "
            "computes after their updates comes out otherwise"
        )
    names = drawing()
    if not names:
        return None
    return (
        f"train steps draw random numbers from operations of tf.random ({', '.join(names)}), whose state no "
        "trace holds: they come out otherwise"
    )

"""Says that a callback left the model with an average of weights."""

from __future__ import annotations

from collections.abc import Mapping

from diagnose.decide.mixtures import Mixture
from diagnose.result.texts import Said, Text
from diagnose.tracefile.reader import Trace

MIXED = Text(
    "restoration.mixed",
    "{callback} put {trainable:given(other trainable|other)} weights into the model: it holds {average}."
    "{held:given( With the weights after fit: {held:and}.)}",
)
HELD_VALUE = Text(
    "restoration.held-value", "{metric} {value:number}{logged:given( (logged for epoch {epoch}: {logged:number}))}"
)


def mixed(callback: str, mixture: Mixture, trace: Trace, held: Mapping[str, float]) -> Said:
    """Beside each value, what the last epoch logged, which was of other weights."""
    last = trace.epochs[-1]
    names = [n for n in held if n.startswith("val_")] or list(held)
    values = [
        HELD_VALUE(metric=n, value=held[n], epoch=last.epoch, logged=last.logs.get(n))
        for n in sorted(names, key=lambda n: "acc" not in n)[:2]
    ]
    return MIXED(callback=callback, average=mixture.text, trainable=mixture.trainable, held=values)

"""What the script made of the model after its fit: earlier weights that it put back itself, seen by its own calls or in
the model as it is now."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from diagnose.decide.clock import epoch_of
from diagnose.decide.mixtures import Mixture, mixture_of
from diagnose.frameworks.keras.contents import numpy_of
from diagnose.result.calls import Call
from diagnose.result.diagnosis import Restoration
from diagnose.result.texts import Said, Text, sentences
from diagnose.tracefile.digest import array_digest
from diagnose.tracefile.model import Digest, NDArray
from diagnose.tracefile.reader import Trace

PUT_BACK = Text(
    "since-fit.put-back",
    "After fit, the script put other weights into the model: "
    "{place:given(at {place} it held|now it holds)} {average:given({average}|version {version}"
    "{epoch:given(, {end:given(the end of |of )}epoch {epoch})})}.",
)


MOST_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Since:
    """The version that the model held after the script had put it there, or the `average` of some; `place`: the call
    that shows it, None: the model does as it is now."""

    version: int | None
    place: str | None
    average: Mixture | None = None


@dataclass(frozen=True, slots=True)
class Now:
    """The weights of the model as it is now: digests, and contents where they are not large."""

    digests: tuple[Digest, ...]
    arrays: tuple[NDArray, ...] | None


def weights_now(model: Any) -> Now | None:
    """What `get_weights()` returns; None where that cannot be read."""
    try:
        weights = list(model.weights)
        few = sum(4 * math.prod(v.shape) for v in weights) <= MOST_BYTES
        arrays = [np.array(numpy_of(v)) for v in weights] if few else None
        digests = [array_digest(numpy_of(v)) for v in weights] if arrays is None else map(array_digest, arrays)
        return Now(tuple(digests), None if arrays is None else tuple(arrays))
    except Exception:  # a model of the user's, or buffers that are gone (JAX)
        return None


def since_fit(trace: Trace, called: Sequence[Call], now: Now | None) -> Since | None:
    """The last such version; None where the model is as fit left it, or holds weights of no version."""
    if trace.final is None:
        return None
    own = [i for i, v in enumerate(trace.header.variables) if v.group in ("trainable", "non_trainable")]
    states = {s.version: s for s in trace.states if s.label == "version" and s.version is not None}
    left = trace.index.versions_of(trace.final)
    if now is not None and len(now.digests) != len(own):
        return None
    digests = None if now is None else list(now.digests)
    held = [v for v, s in states.items() if [s.arrays[i] for i in own] == digests]
    if now is not None and not held and digests != [trace.final.arrays[i] for i in own]:
        average = None if now.arrays is None else mixture_of(trace, dict(zip(own, now.arrays, strict=True)))
        return None if average is None else Since(None, None, average)
    if held and not set(held) & set(left):
        return Since(max(held, key=lambda v: (any(e.last_version == v for e in trace.epochs), v)), _shown(held, called))
    for call in reversed(called):
        if call.epoch is None and call.same_model:
            if call.version is None or call.after_fit or call.version in left:
                return None
            return Since(call.version, f"{call.file}:{call.line}")
    return None


def _shown(versions: Sequence[int], called: Sequence[Call]) -> str | None:
    """The first call that had one of them."""
    of = [c for c in called if c.epoch is None and c.same_model and c.version in versions]
    return f"{of[0].file}:{of[0].line}" if of else None


def told(r: Restoration | None, since: Since | None, trace: Trace) -> Restoration | None:
    """The verdict, which is on what fit left, with what the script did since."""
    if r is None or since is None:
        return r
    epoch = None if since.version is None else epoch_of(trace, since.version)
    end = any(e.last_version == since.version for e in trace.epochs)
    average = None if since.average is None else since.average.text
    said = PUT_BACK(place=since.place, version=since.version, epoch=epoch, end=end, average=average)
    return replace(r, sentence=sentences(r.sentence, said) if isinstance(r.sentence, Said) else said)

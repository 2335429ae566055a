"""What callbacks of the user's own did with earlier weights: put back, or kept and never put back. Told by content,
whatever their code looks like; the code only adds which logged values they go by. Reads the trace only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from diagnose.decide.callbacks import Callback, callbacks
from diagnose.decide.clock import SOMEBODY, epoch_of
from diagnose.decide.mixtures import Mixture, held_mixture
from diagnose.tracefile.events import StopRequested, WeightsChanged, WeightsKept
from diagnose.tracefile.model import Epoch, State
from diagnose.tracefile.reader import Trace

MOST_KEPT = 16


@dataclass(frozen=True, slots=True)
class Own:
    """A callback of the user's own and the weights it went back to (`back`), or only keeps (in `attribute`; `arrays`
    is code for them, `alone`: for the trainable ones alone).

    `version`: theirs, `epoch` (1-based): the one this ends or stands in, None for the weights a fit began with.
    `mixture`: the average that it put into the model instead (`version` None).
    `part`: "trainable" where the others (statistics) are not those of that version. `reads`: the logged values that its
    code reads at the ends of epochs; empty where it does not show any."""

    callback: str
    place: int
    version: int | None
    epoch: int | None
    part: Literal["whole", "trainable"]
    back: bool
    reads: tuple[str, ...] = ()
    attribute: str | None = None
    arrays: str | None = None
    alone: bool = False
    mixture: Mixture | None = None


def put_back(trace: Trace) -> Own | None:
    """Who, none of Keras's callbacks, left the model with earlier weights, or with an average of them. None where the
    model holds the last weights, or others."""
    final = trace.final
    if final is None or not trace.epochs:
        return None
    event = next(
        (e for e in reversed(trace.events_of(WeightsChanged)) if _same(trace.states[e.detail.after], final)), None
    )
    if event is None:
        return None
    named = [cb for cb in callbacks(trace) if cb.name == event.detail.callback]
    if any(cb.of_keras or cb.settings.get("restore_best_weights") for cb in named):
        return None
    # Events name the class: of several callbacks of one, nobody knows which it was.
    name = event.detail.callback or SOMEBODY(hook=str(event.detail.hook))
    place = named[0].place if len(named) == 1 else -1
    found = _version_of(trace, final.trainable, final.non_trainable)
    if found is not None:
        version, part = found
        return Own(name, place, version, epoch_of(trace, version), part, True, _reads(trace, named, version))
    if not named or trace.index.versions_of(final) or (mixture := held_mixture(trace)) is None:
        return None
    epoch = trace.epochs[-1].epoch if mixture.of == "updates" else mixture.members[-1]
    reads = _read_at(trace, named, epoch)
    return Own(name, place, None, None, "trainable" if mixture.trainable else "whole", True, reads, mixture=mixture)


def kept_aside(trace: Trace) -> Own | None:
    """A callback that goes by a logged value, keeps weights of an earlier epoch at the end of the fit, and did not put
    them back: the model holds the last ones."""
    last = trace.index.made(trace.epochs[-1].last_version) if trace.epochs else None
    final = trace.final
    if final is None or last is None or final.weights != last.weights:
        return None
    stopped = {e.detail.callback for e in trace.events_of(StopRequested)}
    for event in trace.events_of(WeightsKept)[:MOST_KEPT]:
        kept = event.detail
        others = None if kept.non_trainable is None else bytes.fromhex(kept.non_trainable)
        found = _version_of(trace, bytes.fromhex(kept.trainable), others)
        listed = [cb for cb in callbacks(trace) if cb.place == kept.place]
        if found is None or not listed or bytes.fromhex(kept.trainable) == final.trainable:
            continue
        version, part = found
        epoch, reads = epoch_of(trace, version), _reads(trace, listed, version)
        # The weights of the last epoch but one, or the first ones, may be kept to compare with: not to go back to.
        if epoch is not None and (reads or kept.callback in stopped):
            return Own(
                str(kept.callback),
                kept.place,
                version,
                epoch,
                part,
                False,
                reads,
                kept.attribute,
                kept.arrays,
                others is None,
            )
    return None


def _same(state: State, final: State) -> bool:
    return state.weights == final.weights


def _version_of(
    trace: Trace, trainable: bytes, others: bytes | None
) -> tuple[int, Literal["whole", "trainable"]] | None:
    """The version that has these weights, at the end of an epoch rather than inside one; else the one that has these
    trainable weights. None where none has, or the last version is among them."""
    last, ends = trace.epochs[-1].last_version, {e.last_version for e in trace.epochs}
    made = [s for s in trace.states if s.label == "version" and s.version is not None]
    for part, found in (
        ("whole", [s for s in made if s.trainable == trainable and (others is None or s.non_trainable == others)]),
        ("trainable", [s for s in made if s.trainable == trainable]),
    ):
        versions = [s.version for s in found if s.version is not None]
        if last in versions:
            return None
        if versions:
            best = max(versions, key=lambda v: (v in ends, v))
            return best, "whole" if part == "whole" else "trainable"
    return None


def _reads(trace: Trace, named: Sequence[Callback], version: int) -> tuple[str, ...]:
    """What the code reads, where it is the same for all callbacks it may have been."""
    return _read_at(trace, named, epoch_of(trace, version))


def _read_at(trace: Trace, named: Sequence[Callback], number: int | None) -> tuple[str, ...]:
    epoch = next((e for e in trace.epochs if e.epoch == number), None)
    found = {tuple(_logged(_keys(cb), epoch)) for cb in named}
    return found.pop() if len(found) == 1 else ()


def _keys(cb: Callback) -> Sequence[str]:
    """A class that derives from one of Keras's goes by its monitor where it reads nothing itself."""
    keys, monitor = (cb.reads or {}).get("on_epoch_end", ()), cb.settings.get("monitor")
    return keys or ([monitor] if isinstance(monitor, str) else [])


def _logged(keys: Iterable[str], epoch: Epoch | None) -> list[str]:
    logs = {} if epoch is None else epoch.logs
    return [key for key in keys if isinstance(logs.get(key), (int, float)) and not isinstance(logs.get(key), bool)]

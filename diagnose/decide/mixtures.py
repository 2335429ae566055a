"""Weights that are an average of recorded ones, told by content: a mean over ends of epochs or updates, or a moving
average of them. Reads the trace only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal
from weakref import WeakKeyDictionary

import numpy as np

from diagnose.decide.ramps import Ramp, ramps
from diagnose.errors import ReplayError
from diagnose.result.diagnosis import HeldAverage
from diagnose.result.texts import Said, Text
from diagnose.tracefile.model import NDArray, State
from diagnose.tracefile.reader import Trace

MIXTURE = Text(
    "mixture",
    "{kind:select(mean=the mean of the weights|moving=a moving average (momentum "
    "{ramp:given({ramp} for its update n{momentum:given(, but at most {momentum})}|{momentum})}) of the weights)} "
    "{start:given(at the start of the fit and )}{of:select(epochs=at the ends of epochs|updates=of versions)} "
    "{span:given({span:span}|{members:and})}"
    "{best:given( (the {count} with the {mode:select(min=smallest|max=largest)} {best}))}",
)

MOST_EPOCHS: Final = 200
"""Epochs whose ends are tried, the last ones: each run of consecutive ones, and the sets that fit best."""
MOST_UPDATES: Final = 400
MOST_STARTS: Final = 40
SAMPLE: Final = 256
"""Elements that candidates are told apart by, before all are compared."""
MOST_CANDIDATES: Final = 8
MOST_BYTES: Final = 1 << 30
"""Contents read for one family of candidates."""

MOMENTA: Final = (*(i / 100 for i in range(1, 99)), *(i / 1000 for i in range(990, 1000)), 0.985, 0.995, 0.9995, 0.9999)


@dataclass(frozen=True, slots=True)
class Mixture:
    """`members`: (1-based) epochs whose ends, or versions that, are averaged; of a moving average (`momentum`) the
    first, 0 for the start of the fit, is what it began with; `ramp`: how its momentum grows up to that (`momentum`
    None: it does not come there). `trainable`: only the trainable weights are it. `best`:
    (name in the logs, "min" or "max") where these are the best epochs by it. `error`: the largest difference of an
    element, within rounding."""

    kind: Literal["mean", "moving"]
    of: Literal["epochs", "updates"]
    members: tuple[int, ...]
    error: float
    momentum: float | None = None
    trainable: bool = False
    best: tuple[str, Literal["min", "max"]] | None = None
    ramp: str | None = None

    def plain(self) -> HeldAverage:
        """For a diagnosis."""
        return HeldAverage(self.kind, self.of, self.members, self.momentum, self.trainable, self.ramp)

    @property
    def text(self) -> Said:
        """`the mean of the weights at the ends of epochs 2–4`: a part of a sentence."""
        start = self.of == "epochs" and self.members[0] == 0
        members = self.members[start:]
        first, last = members[0], members[-1]
        row = members == tuple(range(first, last + 1))
        best, mode = self.best or (None, "min")
        return MIXTURE(
            kind=self.kind,
            of=self.of,
            momentum=None if self.momentum is None else f"{self.momentum:g}",
            ramp=self.ramp,
            span=[first, last] if row else None,
            start=start,
            members=[str(m) for m in members],
            count=len(members),
            best=best,
            mode=mode,
        )


_KNOWN: WeakKeyDictionary[Trace, Mixture | None] = WeakKeyDictionary()


def held_mixture(trace: Trace) -> Mixture | None:
    """The average that the weights after fit are proven to be, or their trainable part; None for any other."""
    if trace not in _KNOWN:
        _KNOWN[trace] = _held(trace)
    return _KNOWN[trace]


def _held(trace: Trace) -> Mixture | None:
    final = trace.final
    kept = None if final is None else trace.index.kept(final)
    if kept is None:
        return None
    places = {i: v.group for i, v in enumerate(trace.header.variables) if v.group in ("trainable", "non_trainable")}
    try:
        arrays = dict(enumerate(trace.arrays(kept)))
    except ReplayError:
        return None
    trained = [i for i, group in places.items() if group == "trainable"]
    found = mixture_of(trace, {i: arrays[i] for i in places})
    if found is None and 0 < len(trained) < len(places):
        part = mixture_of(trace, {i: arrays[i] for i in trained})
        found = None if part is None else replace(part, trainable=True)
    return found


def mixture_of(trace: Trace, held: Mapping[int, NDArray]) -> Mixture | None:
    """The average that these weights (by their place among the variables) are proven to be: every element is within
    rounding of it and of no other one tried, and no single version is that near."""
    floats = {i: a for i, a in held.items() if a.dtype.kind == "f" and a.size}
    for of, members in _families(trace):
        if len(members) < 2 or not floats or not all(np.isfinite(a).all() for a in floats.values()):
            continue
        if sum(a.nbytes for a in floats.values()) * len(members) > MOST_BYTES:
            continue
        try:
            found = _Family(trace, floats, of, members).found()
        except ReplayError:
            continue
        if found is not None:
            return replace(found, best=_best(trace, found))
    return None


def _families(trace: Trace) -> Iterator[tuple[Literal["epochs", "updates"], dict[int, State]]]:
    """Epoch -> state at its end (0: at the start), then version -> state."""
    ends = {e.epoch: trace.states[e.state] for e in trace.epochs if trace.states[e.state].kept}
    start = trace.version(0)
    begun = {0: start} if start is not None and start.kept and 0 not in ends else {}
    yield "epochs", {**begun, **dict(list(ends.items())[-MOST_EPOCHS:])}
    last = trace.epochs[-1].last_version if trace.epochs else 0
    made = {v: s for v in range(max(0, last - MOST_UPDATES), last + 1) if (s := trace.version(v)) is not None}
    if made and all(s.kept for s in made.values()):
        yield "updates", made


class _Family:
    """Averages of some recorded states: by a few elements first, then by all."""

    def __init__(
        self, trace: Trace, held: Mapping[int, NDArray], of: Literal["epochs", "updates"], members: Mapping[int, State]
    ) -> None:
        self.trace, self.held, self.of = trace, held, of
        self.names, self.states = list(members), list(members.values())
        moved = {i: len({s.arrays[i] for s in self.states}) for i in held}
        self.chosen: dict[int, NDArray] = {}
        for i in sorted(held, key=lambda i: (-moved[i], held[i].size)):
            if sum(map(len, self.chosen.values())) < SAMPLE and moved[i] > 1:
                self.chosen[i] = np.linspace(0, held[i].size - 1, min(SAMPLE, held[i].size)).astype(int)
        self.eps = max(float(np.finfo(a.dtype).eps) for a in held.values())

    def found(self) -> Mixture | None:
        if not self.chosen:
            return None
        rows = np.stack([self._sample(lambda i, s=state: self.trace.array(s.arrays[i])) for state in self.states])  # type: ignore[misc]
        wanted = self._sample(lambda i: self.held[i])
        largest = float(np.max(np.abs(rows)))
        allowed = 2 * len(rows) * self.eps * largest
        if float(np.min(np.max(np.abs(rows - wanted), axis=1))) <= 100 * allowed:
            return None
        means = [m for m in self._means(rows, wanted, 2 * self.eps * largest) if self._mean_error(m) is not None]
        if len(means) == 1:
            members = tuple(self.names[i] for i in means[0])
            return Mixture("mean", self.of, members, float(self._mean_error(means[0]) or 0.0))
        return None if means else self._moving(rows, wanted, largest) or self._ramped(rows, wanted, largest)

    def _sample(self, array: Callable[[int], NDArray]) -> NDArray:
        return np.concatenate([array(i).reshape(-1)[some].astype(np.float64) for i, some in self.chosen.items()])

    # ── means ──

    def _means(self, rows: NDArray, wanted: NDArray, unit: float) -> list[tuple[int, ...]]:
        """Which states' mean fits in the sample; the start of a fit is no end of an epoch."""
        first = 1 if self.of == "epochs" and self.names[0] == 0 else 0
        sums = np.cumsum(np.concatenate([np.zeros_like(rows[:1]), rows]), axis=0)
        found = set()
        for a in range(first, len(rows) - 1):
            counts = np.arange(2, len(rows) - a + 1)
            errors = np.max(np.abs((sums[a + 2 :] - sums[a]) / counts[:, None] - wanted), axis=1)
            found |= {tuple(range(a, a + int(n))) for n in counts[errors <= unit * counts]}
        if self.of == "epochs" and not found:
            shares = np.linalg.lstsq(rows[first:].T, wanted, rcond=None)[0]
            order = np.argsort(-shares) + first
            for n in range(2, len(order) + 1):
                if np.max(np.abs(rows[order[:n]].mean(axis=0) - wanted)) <= unit * n:
                    found.add(tuple(sorted(int(i) for i in order[:n])))
        return sorted(found) if len(found) <= MOST_CANDIDATES else []

    def _mean_error(self, members: Sequence[int]) -> float | None:
        """The largest difference of an element from the mean; None where one is larger than rounding."""
        worst = 0.0
        for i, array in self.held.items():
            total, largest = np.zeros(array.shape), 0.0
            # Each content once: however many states hold it, it takes the memory and time of one.
            for digest, count in Counter(self.states[m].arrays[i] for m in members).items():
                content = self.trace.array(digest).astype(np.float64)
                total += content * count
                largest = max(largest, float(np.max(np.abs(content), initial=0)))
            error = float(np.max(np.abs(array - total / len(members))))
            if not error <= 2 * len(members) * self.eps * largest:
                return None
            worst = max(worst, error)
        return worst

    # ── moving averages ──

    def _moving(self, rows: NDArray, wanted: NDArray, largest: float) -> Mixture | None:
        momenta = np.array(MOMENTA)[:, None]
        allowed = 4 * self.eps * largest * np.minimum(len(rows), 1 / (1 - momenta[:, 0]))
        near: list[tuple[float, float, int, int]] = []
        for start in range(len(rows) - 1) if len(rows) <= MOST_STARTS else (0, 1):
            shadow = np.repeat(rows[start : start + 1], len(MOMENTA), axis=0)
            for at in range(start + 1, len(rows)):
                shadow = momenta * shadow + (1 - momenta) * rows[at]
                if at < start + 2 and self.of == "epochs" and at < len(rows) - 1:
                    continue  # of two states it is any point between them
                errors = np.max(np.abs(shadow - wanted), axis=1)
                near += [(float(errors[j]), float(MOMENTA[j]), start, at) for j in np.flatnonzero(errors <= allowed)]
        if len(near) > MOST_CANDIDATES:
            return None
        fitting = [
            (e, momentum, start, at)
            for _, momentum, start, at in near
            if (e := self._moving_error(np.full(at - start, momentum), start)) is not None
        ]
        if not fitting or len({momentum for _, momentum, _, _ in fitting}) > 1:
            return None
        error, momentum, start, at = min(fitting)
        return Mixture("moving", self.of, tuple(self.names[start : at + 1]), error, momentum)

    def _ramped(self, rows: NDArray, wanted: NDArray, largest: float) -> Mixture | None:
        """With a momentum that grows: of all up to some state, from the first or second."""
        near: list[tuple[Ramp, int, int]] = []
        for start in range(min(2, len(rows) - 2)):
            count = len(rows) - 1 - start
            for ramp in ramps(count):
                shadow, momenta = rows[start], ramp.momenta(count)
                for at, momentum in enumerate(momenta, start + 1):
                    shadow = momentum * shadow + (1 - momentum) * rows[at]
                    allowed = 4 * self.eps * largest * min(at - start, 1 / (1 - momentum))
                    # Its cap tells it from others only once it was reached.
                    told = at > start + 1 and (ramp.cap is None or momentum == ramp.cap)
                    if told and float(np.max(np.abs(shadow - wanted))) <= allowed:
                        near.append((ramp, start, at))
        if not near or len(near) > MOST_CANDIDATES:
            return None
        fitting = [
            (e, ramp, start, at)
            for ramp, start, at in near
            if (e := self._moving_error(ramp.momenta(at - start), start)) is not None
        ]
        if not fitting or len({(ramp.text, ramp.cap) for _, ramp, _, _ in fitting}) > 1:
            return None
        error, ramp, start, at = min(fitting, key=lambda each: each[0])
        return Mixture("moving", self.of, tuple(self.names[start : at + 1]), error, ramp.cap, ramp=ramp.text)

    def _moving_error(self, momenta: NDArray, start: int) -> float | None:
        """Of an update with each of these, from a state on."""
        worst, at = 0.0, start + len(momenta)
        for i, array in self.held.items():
            shadow = self.trace.array(self.states[start].arrays[i]).astype(np.float64)
            largest = float(np.max(np.abs(shadow), initial=0))
            for momentum, state in zip(momenta, self.states[start + 1 : at + 1], strict=True):
                content = self.trace.array(state.arrays[i])
                largest = max(largest, float(np.max(np.abs(content), initial=0)))
                shadow = momentum * shadow + (1 - momentum) * content
            error = float(np.max(np.abs(array - shadow)))
            if not error <= 4 * self.eps * largest * min(at + 1 - start, 1 / (1 - float(np.max(momenta)))):
                return None
            worst = max(worst, error)
        return worst


def _best(trace: Trace, found: Mixture) -> tuple[str, Literal["min", "max"]] | None:
    """The logged value by which a mean's epochs are the best ones, where they are not simply the last."""
    last, count = [e.epoch for e in trace.epochs][-len(found.members) :], len(found.members)
    if found.kind != "mean" or found.of != "epochs" or list(found.members) == last:
        return None
    modes: tuple[Literal["min", "max"], ...] = ("min", "max")
    for key in sorted(trace.epochs[-1].logs, key=lambda name: not name.startswith("val_")):
        values = [(float(v), e.epoch) for e in trace.epochs if isinstance(v := e.logs.get(key), (int, float))]
        for mode in modes:
            ranked = sorted(values, reverse=mode == "max")
            told = len(ranked) > count and ranked[count - 1][0] != ranked[count][0]
            if told and sorted(epoch for _, epoch in ranked[:count]) == sorted(found.members):
                return key, mode
    return None

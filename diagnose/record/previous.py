"""What a fit starts from: the optimizer's state before its first step, and which earlier fit of this process had these
weights. Holds digests and a few numbers, never contents, and nothing of a model."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from diagnose.frameworks.keras.optimizers import averages, counter, optimizers_of, parts, rate, updated_in, variables_of
from diagnose.record.handlers import let_through
from diagnose.record.trained_rows import NOTHING, Trained
from diagnose.tracefile.digest import group_digest
from diagnose.tracefile.model import Digest, Json, NDArray

MOST_FITS: Final = 16
"""Earlier fits that are remembered, the last ones."""

MOST_EPOCHS: Final = 2000
"""Epochs that are remembered of each, the last ones."""

MOST_MOMENTS: Final = 4
"""Moments that are remembered with one set of weights: the first, and the last ones."""

Weights = Digest
"""Of all weights in their order: which of them are trained may be another in the next fit."""


# ── on the training thread ──


def roles(model: Any) -> list[dict[str, Json]]:
    """What each variable of the optimizers is, in the order of `variables_of`: `role` "iterations", "learning_rate",
    "average" (of weights, `use_ema`; `of`: its index in `model.variables`) or "slot"; "own" of an optimizer that the
    model has beside the compiled one."""
    places = {id(v): i for i, v in enumerate(model.variables)}
    known: dict[int, dict[str, Json]] = {}
    for optimizer in parts(model.optimizer):
        known.setdefault(id(counter(optimizer)), {"role": "iterations"})
        known.setdefault(id(rate(optimizer)), {"role": "learning_rate"})
        for variable, average in averages(optimizer):
            known[id(average)] = {"role": "average", "of": places.get(id(variable))}
    compiled = {id(v) for v in ([] if model.optimizer is None else model.optimizer.variables)}
    return [known.get(id(v), {"role": "slot"}) if id(v) in compiled else {"role": "own"} for v in variables_of(model)]


_NUMBERS: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_COUNT = itertools.count(1)


def identity(optimizer: Any) -> int:
    """A number that no other optimizer object of this process has."""
    try:
        return _NUMBERS.setdefault(optimizer, next(_COUNT))
    except TypeError as error:
        let_through(error)
        return next(_COUNT)


@dataclass(frozen=True, slots=True)
class StartItem:
    """The optimizers as they are before the first step: copies of their variables, and what they are. `used`: whether
    one has made updates before; `updates`: places of the variables that the compiled one was built for."""

    optimizer: Sequence[NDArray]
    roles: Sequence[Mapping[str, Json]]
    identity: int
    used: bool = False
    updates: Sequence[int] | None = None


def start(model: Any, optimizer: Sequence[NDArray]) -> StartItem:
    """`optimizer`: copies of the optimizers' variables."""
    counters = {id(counter(part)) for each in optimizers_of(model) for part in parts(each)}
    counts = [a for v, a in zip(variables_of(model), optimizer, strict=True) if id(v) in counters]
    return StartItem(
        optimizer,
        roles(model),
        identity(model.optimizer),
        any(bool(np.any(count)) for count in counts),
        updated_in(model),
    )


# ── on the background thread ──


@dataclass(frozen=True, slots=True)
class Kept:
    """An optimizer's state: how far it counted, its rate (None: a schedule), and the digest of the `count` variables it
    keeps beside these."""

    iterations: int | None
    learning_rate: float | None
    slots: Digest
    count: int

    @classmethod
    def of(cls, arrays: Sequence[NDArray], digests: Sequence[Digest], roles: Sequence[Mapping[str, Json]]) -> Kept:
        by_role: dict[str, list[int]] = {}
        for i, entry in enumerate(roles):
            by_role.setdefault("slot" if entry["role"] == "average" else str(entry["role"]), []).append(i)

        def number(role: str) -> float | None:
            places = by_role.get(role)
            return float(arrays[places[0]]) if places and arrays[places[0]].ndim == 0 else None

        slots = by_role.get("slot", [])
        steps = number("iterations")
        return cls(
            None if steps is None else int(steps),
            number("learning_rate"),
            group_digest([digests[i] for i in slots]),
            len(slots),
        )

    def same_slots(self, other: Kept) -> bool:
        """Before its first update an optimizer may not have made its variables yet."""
        return self.slots == other.slots or self.iterations == other.iterations == 0

    def summary(self) -> dict[str, Json]:
        return {"iterations": self.iterations, "learning_rate": self.learning_rate, "slots": self.count}


@dataclass(frozen=True, slots=True)
class Moment:
    """An epoch's end (0: before the first step): the version that updates had made then, and the optimizer's state."""

    epoch: int
    version: int
    optimizer: Kept
    logs: Mapping[str, Json]


@dataclass
class Fit:
    """What is remembered of one fit. `before`, `trained`: the rows that its weights were trained on when it began and
    when it ended."""

    trace: str
    optimizer: int
    settings: Json
    before: Trained = NOTHING
    trained: Trained = NOTHING
    moments: dict[Weights, list[Moment]] = field(default_factory=dict)
    epochs: dict[int, Moment] = field(default_factory=dict)

    def add(self, weights: Weights, moment: Moment) -> None:
        kept = self.moments.setdefault(weights, [])
        kept.append(moment)
        if len(kept) > MOST_MOMENTS:
            del kept[1]  # the first is what a model built anew, with an optimizer of its own, begins as
        self.epochs[moment.epoch] = moment
        if len(self.epochs) > MOST_EPOCHS:
            dropped = self.epochs.pop(next(iter(self.epochs)))
            for known, kept in list(self.moments.items()):
                if dropped in kept:
                    kept.remove(dropped)
                    if not kept:
                        del self.moments[known]
                    break


_FITS: deque[Fit] = deque(maxlen=MOST_FITS)
_LOCK = threading.Lock()


class Start:
    """Looks up what a fit starts from, and remembers this fit for those that follow."""

    def __init__(self, trace: str) -> None:
        self._trace = trace
        self._settings: Json = None
        self._roles: Sequence[Mapping[str, Json]] = ()
        self._fit: Fit | None = None
        self.trained: Trained = NOTHING
        """The rows that the weights this fit began with were trained on, by all fits that they come from."""

    def set_settings(self, compiled: Mapping[str, Json]) -> None:
        """`compiled` is the `info` row "compile"."""
        optimizer = compiled.get("optimizer") or {}
        config = optimizer.get("config") if isinstance(optimizer, dict) else None
        kept = {k: v for k, v in config.items() if k != "name"} if isinstance(config, dict) else config
        self._settings = {"class": optimizer.get("class"), "config": kept}

    def set_roles(self, roles: Sequence[Mapping[str, Json]]) -> None:
        self._roles = roles

    def begin(self, item: StartItem, digests: Sequence[Digest], weights: Weights) -> dict[str, Json]:
        """The `info` row "start"; `digests` are those of the item's arrays."""
        optimizer = Kept.of(item.optimizer, digests, item.roles)
        with _LOCK:
            found = self._earlier(weights, optimizer, item.identity)
            if found is not None:
                self.trained = found[0].trained.until(found[1].epoch) if found[1].epoch else found[0].before
            earlier = None if found is None else self._said(*found, optimizer, item.identity)
            self._fit = Fit(self._trace, item.identity, self._settings, self.trained, self.trained)
            self._fit.add(weights, Moment(0, 0, optimizer, {}))
            _FITS.append(self._fit)
        updates = None if item.updates is None else list(item.updates)
        return {**optimizer.summary(), "updates": updates, "previous": earlier}

    def epoch(self, moment: tuple[int, int], arrays: Sequence[NDArray], digests: Sequence[Digest], weights: Weights,
              logs: Mapping[str, Json]) -> None:  # fmt: skip
        """`moment`: epoch and version. `weights` are those the last update made."""
        if self._fit is None or len(self._roles) != len(arrays):
            return
        numbers = {k: v for k, v in logs.items() if isinstance(v, (int, float))}
        with _LOCK:
            self._fit.add(weights, Moment(*moment, Kept.of(arrays, digests, self._roles), numbers))

    def ended(self, trained: Trained) -> None:
        """What the weights were trained on in all."""
        if self._fit is not None:
            with _LOCK:
                self._fit.trained = trained

    def _earlier(self, weights: Weights, now: Kept, identity: int) -> tuple[Fit, Moment] | None:
        """The remembered moment with these weights: of a fit with this optimizer, if there is one, with this very
        optimizer state; else with an optimizer that was set up alike: the last that updates made, or the first that one
        started from. Weights alone do not tell: models begin with equal ones, and the same script may run twice."""
        found = [(fit, moment) for fit in _FITS for moment in fit.moments.get(weights, ())]
        if not found:
            return None
        near = [pair for pair in found if pair[0].optimizer == identity]
        same = [pair for pair in near or found if _same(pair[1].optimizer, now)]
        alike = [pair for pair in found if pair[0].settings == self._settings]
        group = near or alike or found
        return same[-1] if same else ([pair for pair in group if pair[1].epoch > 0] or group[:1])[-1]

    def _said(self, fit: Fit, then: Moment, now: Kept, identity: int) -> dict[str, Json]:
        end = list(fit.epochs.values())[-1]
        following = fit.epochs.get(then.epoch + 1)
        return {
            "trace": fit.trace,
            "epoch": then.epoch,
            "version": then.version,
            "last_epoch": end.epoch,
            "logs": dict(then.logs),
            "next_logs": None if following is None else dict(following.logs),
            "then": {**then.optimizer.summary(), "same": then.optimizer.same_slots(now)},
            "end": {**end.optimizer.summary(), "same": end.optimizer.same_slots(now)},
            "same_optimizer": fit.optimizer == identity,
            "same_settings": fit.settings == self._settings,
        }


def _same(one: Kept, other: Kept) -> bool:
    counted = (one.iterations, one.learning_rate) == (other.iterations, other.learning_rate)
    return counted and one.same_slots(other)

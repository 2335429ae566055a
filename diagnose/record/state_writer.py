"""Writes the states of the model's variables: which are kept, which are known by digest only, and who changed them.
Runs on the background thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from diagnose.record.budget import Tier
from diagnose.record.items import StateItem
from diagnose.record.room import Room
from diagnose.tracefile.digest import array_digest, group_digest
from diagnose.tracefile.model import Digest, NDArray
from diagnose.tracefile.writer import TraceWriter

INSIDE_EPOCHS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end", "between steps")
"""Hooks that come with every step: what they change goes first as a trace fills up."""

Digests = tuple[Digest, ...]
Fresh = Mapping[Digest, NDArray]
"""Contents that the trace does not have yet."""


@dataclass(frozen=True, slots=True)
class _Change:
    """Who changed the weights, and what they became."""

    callback: str | None
    hook: str
    epoch: int | None
    step: int | None
    digests: Digests
    groups: list[str]


@dataclass(slots=True)
class _Current:
    """The weights now: those of `version`, as updates made them, and what was changed since. `state` is the last
    record of them, None where there is none yet; `unsaid` are the changes since that record."""

    version: int
    made: Digests
    digests: Digests
    state: int | None
    unsaid: list[_Change] = field(default_factory=list)


class StateWriter:
    """Keeps what the weights are now, whether or not the trace holds a record of it."""

    def __init__(self, writer: TraceWriter, room: Room, *, every_update: bool) -> None:
        self._writer = writer
        self._room = room
        self.every_update = every_update
        """Whether the weights that each update makes are kept."""
        self._groups: tuple[list[int], list[int], list[int]] = ([], [], [])
        self._current: _Current | None = None
        self._left_out = False
        self.slots: Digests = ()
        """Of the optimizer's variables, as they were written last."""

    def set_groups(self, variables: Sequence[dict[str, object]]) -> None:
        """`variables` is the `info` row of that name."""

        def indices(group: str) -> list[int]:
            return [i for i, v in enumerate(variables) if v["group"] == group]

        self._groups = (indices("trainable"), indices("non_trainable"), indices("seed"))

    @property
    def weights(self) -> Digest | None:
        """Digest of the weights now; None where they were not seen yet."""
        return None if self._current is None else self._weights(self._current.digests)

    @property
    def made(self) -> Digest | None:
        """Digest of the weights that the last update made; None before the first."""
        current = self._current
        return None if current is None or not current.version else self._weights(current.made)

    def step(self, version: int, arrays: Sequence[NDArray], *, recorded: bool) -> None:
        """What an update made. Without a record it gets one when something refers to it, or none."""
        digests = digests_of(arrays)
        unsaid = [] if self._current is None else self._current.unsaid
        if unsaid and not self._left_out:
            self._left_out = True
            first = unsaid[0]
            detail = {"callback": first.callback, "hook": first.hook}
            self._writer.event("changes-left-out", detail, epoch=first.epoch, step=first.step)
        self._current = _Current(version, digests, digests, None)
        if recorded:
            fresh = self._fresh(digests, arrays) if self.every_update else None
            if fresh is not None and not self._room.open(Tier.UPDATES, self._cost(digests, fresh)):
                fresh = None
            self._current.state = self._write(digests, fresh, version=version, label="version")

    def seen(self, item: StateItem) -> None:
        """What is seen outside a step: the first weights, or a change."""
        arrays = item.snapshot.arrays
        digests = digests_of(arrays)
        current = self._current
        if current is None:
            fresh = self._fresh(digests, arrays)
            kept = self._room.open(Tier.EPOCH_ENDS, self._cost(digests, fresh))
            state = self._write(digests, fresh if kept else None, version=0, label="version")
            self._current = _Current(0, digests, digests, state)
        elif digests != current.digests:
            groups = self._changed_groups(current.digests, digests)
            change = _Change(item.callback, item.hook, item.epoch, item.step, digests, groups)
            self._changed(current, change, arrays)
        item.snapshot.release()

    def _changed(self, current: _Current, change: _Change, arrays: Sequence[NDArray]) -> None:
        inside = change.hook in INSIDE_EPOCHS
        current.digests = change.digests
        current.unsaid.append(change)
        if inside and not self._room.open(Tier.STEPS, self._record(change.digests) + 512):
            return
        # Kept as long as there is room: no update can make these weights again.
        tier = Tier.CHANGED if inside else Tier.EPOCH_ENDS
        fresh = self._fresh(change.digests, arrays)
        self.now(fresh if self._room.open(tier, self._cost(change.digests, fresh)) else None)

    def now(self, fresh: Fresh | None = None) -> int | None:
        """The record of the weights now, made here where there is none; None where they were not seen yet. `fresh`:
        what their contents add, to be kept."""
        current = self._current
        if current is None:
            return None
        if current.state is None:
            current.state = self._write(current.made, None, version=current.version, label="version")
        unsaid, current.unsaid = current.unsaid, []
        for place, change in enumerate(unsaid, start=1):
            contents = fresh if place == len(unsaid) else None
            after = self._write(change.digests, contents, version=current.version, label="changed")
            detail = {
                "callback": change.callback,
                "hook": change.hook,
                "before": current.state,
                "after": after,
                "groups": change.groups,
            }
            self._writer.event("weights-changed", detail, epoch=change.epoch, step=change.step)
            current.state = after
        return current.state

    def start(self, optimizer: Sequence[NDArray]) -> None:
        """The optimizers' state before the first step, where it is not that of new ones."""
        self.now()
        current, slots = self._current, digests_of(optimizer)
        fresh = self._fresh(slots, optimizer)
        if current is not None and self._room.open(Tier.EPOCH_ENDS, self._cost(slots, fresh)):
            self._store(fresh)
            self._write(current.digests, None, version=0, label="start", slots=slots)

    def end(self, arrays: Sequence[NDArray], optimizer: Sequence[NDArray], *, version: int | None, label: str) -> int:
        """The state at the end of an epoch or of the fit, with the optimizer's."""
        self.now()
        digests, slots = digests_of(arrays), digests_of(optimizer)
        fresh, slots_fresh = self._fresh(digests, arrays), self._fresh(slots, optimizer)
        kept = self._room.open(Tier.EPOCH_ENDS, self._cost(digests, fresh) + self._cost(slots, slots_fresh))
        if kept:
            self._store(slots_fresh)
        self.slots = slots
        return self._write(digests, fresh if kept else None, version=version, label=label, slots=slots)

    def _weights(self, digests: Digests) -> Digest:
        """Whichever of them are trained."""
        return group_digest([digests[i] for i in sorted((*self._groups[0], *self._groups[1]))])

    def _changed_groups(self, old: Digests, new: Digests) -> list[str]:
        names = ("trainable", "non_trainable", "seed")
        return [n for n, group in zip(names, self._groups, strict=True) if any(old[i] != new[i] for i in group)]

    def _fresh(self, digests: Digests, arrays: Sequence[NDArray]) -> Fresh:
        """Those that the trace does not have yet."""
        has = self._writer.has_array
        return {digest: array for digest, array in zip(digests, arrays, strict=True) if not has(digest)}

    def _cost(self, digests: Digests, fresh: Fresh) -> int:
        """Most bytes that a record with these contents adds."""
        return self._record(digests) + sum([256 + self._room.content(array.nbytes) for array in fresh.values()])

    def _record(self, digests: Digests) -> int:
        return 512 + 32 * len(digests)

    def _store(self, fresh: Fresh) -> None:
        for digest, array in fresh.items():
            self._writer.array(array, digest)

    def _write(
        self,
        digests: Digests,
        fresh: Fresh | None,
        *,
        version: int | None,
        label: str,
        slots: Digests | None = None,
    ) -> int:
        """`fresh`: what the contents add that are kept, None for the digests alone."""
        self._room.need(self._record((*digests, *(slots or ()))))
        if fresh is not None:
            self._store(fresh)
        trainable, non_trainable, seeds = (group_digest([digests[i] for i in group]) for group in self._groups)
        return self._writer.state(
            version=version,
            label=label,
            trainable=trainable,
            non_trainable=non_trainable,
            seeds=seeds,
            optimizer=None if slots is None else group_digest(slots),
            arrays=digests,
            optimizer_arrays=slots,
            kept=fresh is not None,
        )


def digests_of(arrays: Sequence[NDArray]) -> Digests:
    """The digest of each array."""
    return tuple(array_digest(array) for array in arrays)

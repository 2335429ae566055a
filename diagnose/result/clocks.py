"""When a logged value was computed, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from diagnose.result.kinds import Count

Source = Literal["train-steps", "validation", "end-of-epoch", "own", "learning-rate"]


@dataclass(frozen=True, slots=True)
class Span:
    first: Count
    last: Count


@dataclass(frozen=True, slots=True)
class Clock:
    """When a logged value was computed, decided by what was computed when. `source`: by what; "end-of-epoch" is an
    evaluation by a callback of `diagnose.callbacks`, "own" code of the user's. `span`: the versions it was computed at
    (None: not known). `owned`: whether the weights of all of these are the same, so that each of them has the value.
    `written_by`: who wrote the weights where they are no version of training. `batches`: how many steps the value is
    of, and `different`: with how many different trainable weights, by content, these were computed (None: not
    known)."""

    source: Source
    span: Span | None = None
    owned: bool = False
    written_by: str | None = None
    batches: Count | None = None
    different: Count | None = None

    @property
    def same_weights(self) -> bool:
        """Whether all of the value was computed with the same trainable weights."""
        return self.owned or self.different == 1

    @property
    def owners(self) -> tuple[int, ...]:
        """The versions that have the value; empty where it belongs to no single set of weights."""
        return tuple(range(self.span.first, self.span.last + 1)) if self.owned and self.span is not None else ()

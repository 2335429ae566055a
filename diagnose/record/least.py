"""What a recording may be asked for: its size on disk, how much it looks at, and whether it keeps rows. Imports nothing
that is heavy: `run` asks before the user's script has imported anything."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from diagnose.errors import DiagnoseError, UsageError

Level: TypeAlias = Literal["auto", 0, 1, 2, 3]
Weights: TypeAlias = Literal["auto", "epochs"]
Rows: TypeAlias = Literal["keep", "digests"]

OVERHEAD: Final = 0.02
"""The share of a fit's own time that recording its steps may take by default."""

LEAST_BYTES: Final = 1 << 20
"""A trace of less could hold little more than its own tables and journal."""


def check_bytes(nbytes: int) -> None:
    """Raises UsageError where a limit on the size of traces is too small."""
    if nbytes < LEAST_BYTES:
        raise UsageError(f"max_bytes must be at least {size(LEAST_BYTES)}; a trace cannot do with {nbytes} bytes.")


def size(nbytes: int) -> str:
    """In binary units where it is a round number of them, else in bytes."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if nbytes >= 1 << power and nbytes % (1 << power) == 0:
            return f"{nbytes >> power} {unit}"
    return f"{nbytes} bytes"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be recorded of a fit; see `Tracer`. Raises DiagnoseError for what is none of the choices."""

    weights: Weights = "auto"
    rows: Rows = "keep"
    level: Level = "auto"
    overhead: float = OVERHEAD

    def __post_init__(self) -> None:
        if self.weights not in ("auto", "epochs"):
            raise DiagnoseError(f"weights must be 'auto' or 'epochs', not {self.weights!r}.")
        if self.rows not in ("keep", "digests"):
            raise DiagnoseError(f"rows must be 'keep' or 'digests', not {self.rows!r}.")
        if self.level not in ("auto", 0, 1, 2, 3) or isinstance(self.level, bool):
            raise DiagnoseError(f"level must be 'auto', 0, 1, 2 or 3, not {self.level!r}.")
        if self.weights == "epochs" and self.level not in ("auto", 0, 1, 2):
            raise DiagnoseError("level=3 keeps the weights of every update, weights='epochs' does not: leave one out.")
        if isinstance(self.overhead, bool) or not 0 <= self.overhead < math.inf:
            raise DiagnoseError(
                f"overhead is a share of the fit's time, 0 or more, such as {OVERHEAD}; not {self.overhead!r}."
            )

    @property
    def chosen(self) -> bool:
        """Whether the level is chosen while the fit runs."""
        return self.level == "auto" and self.weights == "auto"

    def of_model(self, parameters: int, most: int) -> int:
        """The level for a model of so many parameters, of which every update is kept by default up to `most`."""
        if self.level != "auto":
            return self.level
        return 3 if self.weights == "auto" and parameters <= most else 2


DEFAULT: Final = Asked()

"""What a recording may be asked for: its size on disk, and whether it keeps rows. Imports nothing that is heavy: `run`
asks before the user's script has imported anything."""

from __future__ import annotations

from typing import Final

from diagnose.errors import DiagnoseError, UsageError

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


def check_rows(rows: str) -> None:
    """Raises DiagnoseError unless it is one of the choices."""
    if rows not in ("keep", "digests"):
        raise DiagnoseError(f"rows must be 'keep' or 'digests', not {rows!r}.")

"""What saved files hold, as finished texts. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

from diagnose.result.diagnosis import SavedModel
from diagnose.result.text import ABSENT, exact, printable, span, spell


@dataclass(frozen=True, slots=True)
class SavedLine:
    file: str
    epoch: str
    version: str
    metric: str
    logged: str
    logged_exact: str
    value: str
    value_exact: str
    computed_at: str
    verdict: str


def saved_line(saved: SavedModel) -> SavedLine:
    """One row of the table."""
    logged, value = spell([saved.logged, saved.value])
    shift = ""
    if saved.verdict == "shifted" and saved.shift_updates:
        shift = f", {abs(saved.shift_updates)} update{'s' * (abs(saved.shift_updates) != 1)}"
    at = saved.computed_at
    return SavedLine(
        file=printable(saved.file),
        epoch=ABSENT if saved.epoch is None else str(saved.epoch),
        version="no version of training" if saved.version is None else str(saved.version),
        metric=ABSENT if saved.metric is None else printable(saved.metric),
        logged=logged,
        logged_exact=exact(saved.logged),
        value=value,
        value_exact=exact(saved.value),
        computed_at=ABSENT if at is None else f"version {span(at.first, at.last)}",
        verdict=ABSENT if saved.verdict is None else f"{saved.verdict}{shift}",
    )

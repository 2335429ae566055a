"""What saved files hold, as finished texts. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

from diagnose.report.restoration_view import verdict_word
from diagnose.result.diagnosis import SavedModel
from diagnose.result.text import ABSENT, exact, printable, spell
from diagnose.result.texts import Text

NO_VERSION = Text("saved.no-version", "no version of training")
AT_VERSION = Text("saved.at-version", "version {versions:span}")


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
    shift = saved.shift_updates if saved.verdict == "shifted" else None
    at = saved.computed_at
    return SavedLine(
        file=printable(saved.file),
        epoch=ABSENT if saved.epoch is None else str(saved.epoch),
        version=NO_VERSION.say() if saved.version is None else str(saved.version),
        metric=ABSENT if saved.metric is None else printable(saved.metric),
        logged=logged,
        logged_exact=exact(saved.logged),
        value=value,
        value_exact=exact(saved.value),
        computed_at=ABSENT if at is None else AT_VERSION.say(versions=[at.first, at.last]),
        verdict=ABSENT if saved.verdict is None else verdict_word(saved.verdict, shift),
    )

"""The restoration verdict as a small table, with its plain meaning. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from diagnose.report.prose import Piece, inline
from diagnose.result.diagnosis import Restoration
from diagnose.result.text import ABSENT, exact, plural, printable, span, spell

Tone = Literal["good", "bad", "neutral"]

VERDICTS: Mapping[str, tuple[Tone, str]] = {
    "aligned": ("good", "The weights the model holds are the very weights the best logged value was computed with."),
    "shifted": (
        "bad",
        "The best logged value belongs to one weights version, but the model holds another: the number and the weights "
        "were filed under the same epoch, yet are updates apart.",
    ),
    "no-owner": (
        "bad",
        "The best logged value is an average over steps with different weights. No single weights version has it, so "
        "no restore can bring it back.",
    ),
    "not-restored": ("neutral", "Nothing was put back: the model simply holds the weights of its last update."),
    "replaced": (
        "bad",
        "The weights compared are not versions that training made: something else wrote them (a moving average, "
        "another callback, or code unknown).",
    ),
}


@dataclass(frozen=True, slots=True)
class RestorationRow:
    what: str
    epoch: str
    value: str
    exact: str
    where: str


@dataclass(frozen=True, slots=True)
class RestorationView:
    callback: str
    monitor: str
    verdict: str
    tone: Tone
    meaning: str
    sentence: tuple[Piece, ...]
    rows: tuple[RestorationRow, ...]
    notes: tuple[str, ...]


def build_restoration(r: Restoration) -> RestorationView:
    best = r.best_by_reevaluation
    texts = spell([r.best_logged, r.restored_value, None if best is None else best.value])
    at = "unknown" if r.computed_at is None else f"computed at {_versions(r.computed_at.first, r.computed_at.last)}"
    where = "weights of no recorded version" if r.restored_version is None else f"version {r.restored_version}"
    if r.written_by:
        where += f", written by {printable(r.written_by)}"
    held = "restored" if r.put_back else "held after fit"
    rows = [
        RestorationRow("best logged", _epoch(r.best_epoch), texts[0], exact(r.best_logged), at),
        RestorationRow(held, _epoch(r.restored_epoch), texts[1], exact(r.restored_value), where),
    ]
    if best is not None:
        rows.append(
            RestorationRow(
                "best by re-evaluation", _epoch(best.epoch), texts[2], exact(best.value), f"version {best.version}"
            )
        )
    tone, meaning = VERDICTS[r.verdict]
    return RestorationView(
        callback=printable(r.callback),
        monitor=printable(r.monitor),
        verdict=r.verdict,
        tone=tone,
        meaning=meaning,
        sentence=inline(printable(r.sentence)),
        rows=tuple(rows),
        notes=tuple(_restoration_notes(r)),
    )


def _restoration_notes(r: Restoration) -> list[str]:
    notes = []
    if r.owner_versions:
        owners = ", ".join(map(str, r.owner_versions[:8])) + (", …" if len(r.owner_versions) > 8 else "")
        notes.append(f"The logged best belongs to version {owners}.")
    if r.shift_updates:
        side = "later" if r.shift_updates > 0 else "earlier"
        notes.append(f"The version held is {plural(abs(r.shift_updates), 'update')} {side} than that.")
    if r.confirmed is not None:
        notes.append(
            "Confirmed: re-evaluating that version gives the logged best."
            if r.confirmed
            else "Not confirmed: re-evaluating that version does not give the logged best; the ledger says why."
        )
    if r.mode is not None:
        notes.append(f"Better means {'smaller' if r.mode == 'min' else 'larger'} (mode {r.mode}).")
    return notes + [printable(note) for note in r.notes]


def _versions(first: int, last: int) -> str:
    return f"version {first}" if first == last else f"versions {span(first, last)}"


def _epoch(epoch: int | None) -> str:
    return ABSENT if epoch is None else f"epoch {epoch}"

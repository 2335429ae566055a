"""The restoration verdict as a small table, with its plain meaning. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from diagnose.report.prose import Piece, inline
from diagnose.result.diagnosis import Restoration
from diagnose.result.text import ABSENT, exact, printable, spell
from diagnose.result.texts import Text, say

Tone = Literal["good", "bad", "neutral"]

TONES: Mapping[str, Tone] = {
    "aligned": "good",
    "shifted": "bad",
    "no-owner": "bad",
    "not-restored": "neutral",
    "replaced": "bad",
    "put-back": "neutral",
}
VERDICT = Text(
    "verdict",
    "{verdict:select(aligned=aligned|shifted=shifted|no-owner=no-owner|not-restored=not-restored|replaced=replaced|"
    "put-back=put-back)}"
    "{updates:given(, {updates:plural(# update|# updates)})}",
)
MEANING = Text(
    "verdict.meaning",
    "{verdict:select(aligned=The weights the model holds are the very weights the best logged value was computed with.|"
    "shifted=The best logged value belongs to one weights version, but the model holds another: the number and the "
    "weights were filed under the same epoch, yet are updates apart.|no-owner=The best logged value is an average over "
    "steps with different weights. No single weights version has it, so no restore can bring it back.|"
    "not-known=When the best logged value was computed is not known, so no weights version is named its owner.|"
    "not-reproduced=Replaying the only weights in use did not give the best logged value, so no weights version is "
    "named its owner.|"
    "not-restored=Nothing was put back: the model simply holds the weights of its last update.|replaced=The weights "
    "compared are not versions that training made: something else wrote them (a moving average, another callback, or "
    "code unknown).|put-back=Earlier weights were put back by code of the script. What they were chosen by is not one "
    "logged value that these weights have.)}",
)
BEST_LOGGED = Text("marks.best-logged", "best logged")
HELD = Text("marks.held", "{restored:given(restored|held after fit)}")
BEST_BY_REEVALUATION = Text("restoration.best-by-reevaluation", "best by re-evaluation")
EPOCH = Text("epoch", "epoch {epoch}")
COMPUTED_AT = Text("restoration.computed-at", "{at:given(computed at {at}|unknown)}")
VERSIONS = Text("versions", "{several:given(versions|version)} {versions:span}")
VERSION_HELD = Text(
    "restoration.version-held",
    "{version:given(version {version}|weights of no recorded version)}{writer:given(, written by {writer})}",
)
OWNED_BY = Text("restoration.owned-by", "The logged best belongs to version {owners:list}.")
APART = Text(
    "restoration.apart",
    "The version held is {updates:plural(## update|## updates)} {later:given(later|earlier)} than that.",
)
CONFIRMED = Text(
    "restoration.confirmed",
    "{confirmed:given(Confirmed: re-evaluating that version gives the logged best.|Not confirmed: re-evaluating that "
    "version does not give the logged best; the ledger or a finding says why.)}",
)
BETTER = Text("restoration.better", "Better means {mode:select(min=smaller|max=larger)} (mode {mode}).")


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
    word: str
    tone: Tone
    meaning: str
    sentence: tuple[Piece, ...]
    rows: tuple[RestorationRow, ...]
    notes: tuple[str, ...]


def build_restoration(r: Restoration) -> RestorationView:
    best = r.best_by_reevaluation
    texts = spell([r.best_logged, r.restored_value, None if best is None else best.value])
    at = COMPUTED_AT.say(at=None if r.computed_at is None else versions(r.computed_at.first, r.computed_at.last))
    where = printable(VERSION_HELD.say(version=r.restored_version, writer=r.written_by))
    held = HELD.say(restored=r.put_back)
    rows = [
        RestorationRow(BEST_LOGGED.say(), _epoch(r.best_epoch), texts[0], exact(r.best_logged), at),
        RestorationRow(held, _epoch(r.restored_epoch), texts[1], exact(r.restored_value), where),
    ]
    if best is not None:
        rows.append(
            RestorationRow(
                BEST_BY_REEVALUATION.say(),
                _epoch(best.epoch),
                texts[2],
                exact(best.value),
                versions(best.version, best.version),
            )
        )
    return RestorationView(
        callback=printable(r.callback),
        monitor=printable(r.monitor),
        verdict=r.verdict,
        word=verdict_word(r.verdict),
        tone=TONES[r.verdict],
        meaning=MEANING.say(verdict=_meant(r)),
        sentence=inline(printable(say(r.sentence))),
        rows=tuple(rows),
        notes=tuple(_restoration_notes(r)),
    )


def verdict_word(verdict: str, shift: int | None = None) -> str:
    """The verdict as a word, with the updates of a shift."""
    return VERDICT.say(verdict=verdict, updates=abs(shift) if shift else None)


def _meant(r: Restoration) -> str:
    """The verdict, and of one without an owner, why there is none."""
    if r.verdict != "no-owner" or (r.computed_at is not None and r.confirmed is not False):
        return r.verdict
    return "not-reproduced" if r.confirmed is False else "not-known"


def _restoration_notes(r: Restoration) -> list[str]:
    notes = []
    if r.owner_versions:
        owners = [*r.owner_versions[:8], *(["…"] if len(r.owner_versions) > 8 else [])]
        notes.append(OWNED_BY.say(owners=owners))
    if r.shift_updates:
        notes.append(APART.say(updates=abs(r.shift_updates), later=r.shift_updates > 0))
    if r.confirmed is not None:
        notes.append(CONFIRMED.say(confirmed=r.confirmed))
    if r.mode is not None:
        notes.append(BETTER.say(mode=r.mode))
    return notes + [printable(say(note)) for note in r.notes]


def versions(first: int, last: int) -> str:
    """`version 5`, `versions 80–95`."""
    return VERSIONS.say(several=first != last, versions=[first, last])


def _epoch(epoch: int | None) -> str:
    return ABSENT if epoch is None else EPOCH.say(epoch=epoch)

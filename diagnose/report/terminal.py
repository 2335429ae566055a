"""The summary of one fit for a terminal: at most 15 lines of at most 100 columns, plain characters only in what is
ours."""

from __future__ import annotations

from collections.abc import Sequence

from diagnose.report.prose import Piece
from diagnose.report.restoration_view import RestorationRow
from diagnose.report.view import FindingView, FitView, build
from diagnose.result.diagnosis import Diagnosis
from diagnose.result.text import ABSENT, clip, width

LINES = 15
COLUMNS = 100
_PLAIN = str.maketrans({"–": "-", "·": "|", "…": "..."})


def summary(diagnosis: Diagnosis) -> str:
    """The summary, without a newline at its end."""
    view = build(diagnosis)
    lines = _wrap(f"{view.name} | {view.meta}", 1)
    if view.notice is not None:
        lines += _wrap(f"! {view.notice}", 2, "  ")
    lines += _wrap(_text(view.headline), 3)
    lines += _restoration(view)
    tail = _wrap(f"replay: {view.evidence.replay}{_error(view)}", 2, "  ")
    room = LINES - len(lines) - len(tail)
    # The ledger has the room that one line for each status leaves.
    ledger = _ledger(view)
    if ledger is not None:
        lines += _wrap(ledger, 2 if room >= 6 else 1, "  ")
        room = LINES - len(lines) - len(tail)
    return "\n".join(lines + _findings(view, room) + tail)


def one_line(diagnosis: Diagnosis) -> str:
    """One of many fits: its number, its verdict and its headline, in at most 100 columns."""
    view = build(diagnosis)
    failed = f", {len(view.failed)} failed" if view.failed else ""
    notice = "! " if view.notice is not None else ""
    return _plain_clip(f"fit {diagnosis.fit} | {view.verdict or 'no verdict'}{failed} | {notice}{_text(view.headline)}")


def _restoration(view: FitView) -> list[str]:
    r = view.restoration
    if r is None:
        return []
    wide = max(width(row.what) for row in r.rows)
    value = max(width(row.value) for row in r.rows)
    lines = [f"{r.verdict}: {r.callback} on {r.monitor}"]
    lines += [f"  {row.what:<{wide}}  {row.value:>{value}}  {_place(row)}" for row in r.rows]
    return [_plain_clip(line) for line in lines]


def _place(row: RestorationRow) -> str:
    return row.where if row.epoch == ABSENT else f"{row.epoch}, {row.where}"


def _ledger(view: FitView) -> str | None:
    """The waterfall of the best logged epoch, else of the last one drawn."""
    best = None if view.timeline is None or view.timeline.best is None else view.timeline.best.epoch
    ledger = next((one for one in view.ledgers if one.epoch == best), view.ledgers[-1] if view.ledgers else None)
    if ledger is None:
        return None
    amounts = ", ".join(f"{row.label} {row.text}" for row in ledger.rows if row.kind in ("factor", "residual"))
    return f"ledger {ledger.title}: {amounts}"


def _findings(view: FitView, room: int) -> list[str]:
    """One line each while there is room, the failed ones first; a last line counts those without one."""
    quiet = [_plain_clip(line) for line in _quiet(view)]
    failed = [_wrap(_finding(f), 1) for f in view.failed]
    if failed and len(quiet) >= room:
        quiet = [_plain_clip(f"findings: {view.counts}")][: max(0, room - 1)]
    if len(failed) + len(quiet) > room:
        kept = max(0, room - len(quiet) - 1)
        more = f"[failed] {len(failed) - kept} more, see the report"
        return [line for lines in failed[:kept] for line in lines] + ([more] if failed else []) + quiet
    spare = room - len(failed) - len(quiet)
    for index, f in enumerate(view.failed):
        longer = _wrap(_finding(f), 2, "  ")
        if len(longer) - 1 <= spare:
            spare -= len(longer) - 1
            failed[index] = longer
    return [line for lines in failed for line in lines] + quiet


def _quiet(view: FitView) -> list[str]:
    lines = []
    for word, findings in (("passed", view.passed), ("not applicable", view.not_applicable)):
        if findings:
            lines.append(f"[{word}] " + ", ".join(dict.fromkeys(f.rule for f in findings)))
    return lines


def _finding(f: FindingView) -> str:
    return f"[failed] {f.rule}: {_text(f.title)}"


def _error(view: FitView) -> str:
    if not view.evidence.errors:
        return ""
    return " Largest error: " + ", ".join(f"{e.metric} {e.error.text}" for e in view.evidence.errors)


def _text(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def _plain_clip(line: str) -> str:
    return _clip(line.translate(_PLAIN), COLUMNS)


def _clip(line: str, columns: int) -> str:
    return line if width(line) <= columns else clip(line, columns - 2).rstrip("…") + "..."


def _wrap(text: str, most: int, indent: str = "") -> list[str]:
    """At most `most` lines, broken at spaces; what does not fit is cut with an ellipsis."""
    text = text.translate(_PLAIN)
    lines: list[str] = []
    line = ""
    words = text.split()
    for index, word in enumerate(words):
        longer = f"{line} {word}" if line else (indent if lines else "") + word
        if line and width(longer) > COLUMNS:
            if len(lines) == most - 1:
                return [*lines, _clip(" ".join([line, *words[index:]]), COLUMNS)]
            lines.append(line)
            line = indent + word
        else:
            line = longer
    return [*lines, _clip(line, COLUMNS)] if line else lines

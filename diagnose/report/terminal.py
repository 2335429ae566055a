"""The summary of one fit for a terminal: at most 15 lines of at most 100 columns, and four for each of the last few of
the script's own calls; plain characters only in what is ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from diagnose.report.prose import Piece
from diagnose.report.restoration_view import RestorationRow
from diagnose.report.view import FindingView, FitView, build
from diagnose.result.diagnosis import Diagnosis
from diagnose.result.text import ABSENT, clip, width
from diagnose.result.texts import Text, Texts, speaking

REPLAY = Text("terminal.replay", "replay: {replay}{errors:given( Largest error: {errors:list})}")
ERROR = Text("terminal.error", "{metric} {error}")
NO_VERDICT = Text("terminal.no-verdict", "no verdict")
ONE_LINE = Text("terminal.one-line", "fit {fit} | {verdict}{found:given(, {found})} | {headline}")
WATCHES = Text("terminal.watches", "{verdict}: {callback} on {monitor}")
LEDGER = Text("terminal.ledger", "ledger {title}{amounts:given(: {amounts:list})}")
AMOUNT = Text("terminal.amount", "{factor} {amount}")
FINDINGS = Text("terminal.findings", "findings: {counts}")
MORE_FAILED = Text(
    "terminal.more-failed",
    "[{severity:select(wrong=wrong|notable=notable|none=failed)}] {count} more, see the report",
)
MORE_CALLS = Text("terminal.more-calls", "{count:plural(# earlier call|# earlier calls)} of the script, see the report")
SAME_LINE = Text(
    "terminal.same-line", "{site}: {count:plural(# more call|# more calls)} in earlier epochs, see the report"
)
FAILED = Text("terminal.failed", "[{severity:select(wrong=wrong|notable=notable|none=failed)}] {rule}: {title}")
QUIET = Text("terminal.quiet", "[{status:select(passed=passed|not-applicable=not applicable)}] {rules:list}")

LINES = 15
CALLS = 6
"""Of the script's own calls, those that are shown: the last."""
COLUMNS = 100
_PLAIN = str.maketrans({"–": "-", "·": "|", "…": "..."})


def summary(diagnosis: Diagnosis, texts: Texts | None = None) -> str:
    """The summary, without a newline at its end."""
    with speaking(texts):
        return _summary(diagnosis)


def _summary(diagnosis: Diagnosis) -> str:
    view = build(diagnosis)
    lines = _wrap(f"{view.name} | {view.meta}", 1)
    if view.notice is not None:
        lines += _wrap(f"! {view.notice}", 2, "  ")
    lines += _wrap(_text(view.headline), 3)
    lines += _restoration(view)
    errors = [ERROR.say(metric=e.metric, error=e.error.text) for e in view.evidence.errors]
    tail = _wrap(REPLAY.say(replay=view.evidence.replay, errors=errors), 2, "  ")
    room = LINES - len(lines) - len(tail)
    # The ledger has the room that one line for each status leaves.
    ledger = _ledger(view)
    if ledger is not None:
        lines += _wrap(ledger, 2 if room >= 6 else 1, "  ")
        room = LINES - len(lines) - len(tail)
    lines += _calls(view)
    return "\n".join(lines + _findings(view, room) + tail)


def _calls(view: FitView) -> list[str]:
    """The last ones. Of those that a line of a callback makes epoch by epoch, the last stands for all."""
    times = Counter(call.site for call in view.calls)
    last = {call.site: i for i, call in enumerate(view.calls) if call.site is not None}
    kept = [call for i, call in enumerate(view.calls) if call.site is None or last[call.site] == i]
    more = sum(1 if call.site is None else times[call.site] for call in kept[:-CALLS])
    lines = [MORE_CALLS.say(count=more)] if more > 0 else []
    for call in kept[-CALLS:]:
        others = 0 if call.site is None else times[call.site] - 1
        lines += _wrap(call.text, 3 if others else 4, "  ")
        lines += _wrap("  " + SAME_LINE.say(site=call.site or "", count=others), 1) if others else []
    return lines


def one_line(diagnosis: Diagnosis, texts: Texts | None = None) -> str:
    """One of many fits: its number, its verdict and its headline, in at most 100 columns."""
    with speaking(texts):
        view = build(diagnosis)
        verdict = NO_VERDICT.say() if view.restoration is None else view.restoration.word
        headline = ("! " if view.notice is not None else "") + _text(view.headline)
        return _plain_clip(ONE_LINE.say(fit=diagnosis.fit, verdict=verdict, found=view.found, headline=headline))


def _restoration(view: FitView) -> list[str]:
    r = view.restoration
    if r is None:
        return []
    wide = max(width(row.what) for row in r.rows)
    value = max(width(row.value) for row in r.rows)
    lines = [WATCHES.say(verdict=r.word, callback=r.callback, monitor=r.monitor)]
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
    rows = [row for row in ledger.rows if row.kind in ("factor", "residual")]
    return LEDGER.say(title=ledger.title, amounts=[AMOUNT.say(factor=row.label, amount=row.text) for row in rows])


def _findings(view: FitView, room: int) -> list[str]:
    """One line each while there is room, the failed ones first; a last line counts those without one."""
    quiet = [_plain_clip(line) for line in _quiet(view)]
    failed = [_wrap(_finding(f), 1) for f in view.failed]
    if failed and len(quiet) >= room:
        quiet = [_plain_clip(FINDINGS.say(counts=view.counts))][: max(0, room - 1)]
    if len(failed) + len(quiet) > room:
        kept = max(0, room - len(quiet) - 1)
        severity = view.failed[kept].severity if failed else None
        more = MORE_FAILED.say(count=len(failed) - kept, severity=severity or "none")
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
    for status, findings in (("passed", view.passed), ("not-applicable", view.not_applicable)):
        if findings:
            lines.append(QUIET.say(status=status, rules=list(dict.fromkeys(f.rule for f in findings))))
    return lines


def _finding(f: FindingView) -> str:
    return FAILED.say(severity=f.severity or "none", rule=f.rule, title=_text(f.title))


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

"""Everything a report of one fit shows, as finished texts and numbers. The renderers only place what is here; nothing
here draws."""

from __future__ import annotations

import math
from dataclasses import dataclass

from diagnose.report.calls_view import CallLine, call_line
from diagnose.report.epoch_table import EpochTable, build_epochs
from diagnose.report.evidence_view import EvidenceView, build_evidence
from diagnose.report.ledger_view import LedgerView, build_ledgers
from diagnose.report.policies_view import PoliciesView, build_policies
from diagnose.report.prose import Block, Fact, Piece, blocks, facts, inline
from diagnose.report.restoration_view import RestorationView, Tone, build_restoration
from diagnose.report.saved_view import SavedLine, saved_line
from diagnose.report.thin import thinned
from diagnose.report.timeline import TimelineView, build_timeline
from diagnose.result.diagnosis import Diagnosis, Finding
from diagnose.result.text import exact, number, printable
from diagnose.result.texts import Text, say

MOST_ADVICE = 20_000
"""Characters of one finding's advice that are shown."""
STATUS = Text("status", "{status:select(failed=Failed|not-applicable=Not applicable|passed=Passed)}")
COUNT = Text("count", "{count} {status:select(failed=failed|not-applicable=not applicable|passed=passed)}")
EFFECT = Text("effect", "effect")
META = Text(
    "meta",
    "fit {fit} · {epochs:plural(## epoch|## epochs)} · {updates:plural(## update|## updates)} · Keras {keras} on "
    "{backend}{model:given( · model {model})}",
)


@dataclass(frozen=True, slots=True)
class FindingView:
    rule: str
    status: str
    word: str
    title: tuple[Piece, ...]
    effect: Fact | None
    evidence: tuple[Fact, ...]
    advice: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class FitView:
    fit: int
    name: str
    headline: tuple[Piece, ...]
    notice: str | None
    left_out: tuple[str, ...]
    meta: str
    verdict: str | None
    tone: Tone
    timeline: TimelineView | None
    ledgers: tuple[LedgerView, ...]
    other_ledgers: tuple[LedgerView, ...]
    epochs: EpochTable
    restoration: RestorationView | None
    saved: tuple[SavedLine, ...]
    policies: PoliciesView | None
    failed: tuple[FindingView, ...]
    not_applicable: tuple[FindingView, ...]
    passed: tuple[FindingView, ...]
    evidence: EvidenceView
    calls: tuple[CallLine, ...]

    @property
    def counts(self) -> str:
        """`2 failed, 1 not applicable, 4 passed`."""
        groups = (("failed", self.failed), ("not-applicable", self.not_applicable), ("passed", self.passed))
        return ", ".join(COUNT.say(count=len(findings), status=status) for status, findings in groups if findings)


def build(diagnosis: Diagnosis) -> FitView:
    """The view of one fit; of very many things of one kind, the first."""
    diagnosis, left_out = thinned(diagnosis)
    drawn, others = build_ledgers(diagnosis)
    findings = [_finding(finding) for finding in sorted(diagnosis.findings, key=_weight)]
    restoration = None if diagnosis.restoration is None else build_restoration(diagnosis.restoration)
    failed = tuple(f for f in findings if f.status == "failed")
    return FitView(
        fit=diagnosis.fit,
        name=printable(diagnosis.name),
        headline=inline(printable(say(diagnosis.headline))),
        notice=None if diagnosis.notice is None else printable(say(diagnosis.notice)),
        left_out=left_out,
        meta=_meta(diagnosis),
        verdict=None if restoration is None else restoration.verdict,
        tone=_tone(restoration, bool(failed)),
        timeline=build_timeline(diagnosis),
        ledgers=drawn,
        other_ledgers=others,
        epochs=build_epochs(diagnosis),
        restoration=restoration,
        saved=tuple(map(saved_line, diagnosis.saved)),
        policies=None if diagnosis.policies is None else build_policies(diagnosis.policies),
        failed=failed,
        not_applicable=tuple(f for f in findings if f.status == "not-applicable"),
        passed=tuple(f for f in findings if f.status == "passed"),
        evidence=build_evidence(diagnosis),
        calls=tuple(map(call_line, diagnosis.calls)),
    )


def _tone(restoration: RestorationView | None, failed: bool) -> Tone:
    if restoration is not None:
        return restoration.tone
    return "bad" if failed else "neutral"


def _meta(d: Diagnosis) -> str:
    model, epochs = d.model.get("name"), len(d.epoch_rows)
    return printable(
        META.say(fit=d.fit, epochs=epochs, updates=d.steps_total, keras=d.keras, backend=d.backend, model=model)
    )


def _weight(finding: Finding) -> tuple[int, float, str]:
    """Failed first, larger effects first; a finding without an effect after those with one."""
    order = ("failed", "not-applicable", "passed").index(finding.status)
    size = -1.0 if finding.effect is None else abs(finding.effect)
    return (order, -math.inf if math.isnan(size) else -size, finding.rule)


def _finding(f: Finding) -> FindingView:
    effect = None
    if f.effect is not None:
        effect = Fact(printable(f.metric or EFFECT.say()), number(f.effect), exact(f.effect))
    return FindingView(
        rule=printable(f.rule),
        status=f.status,
        word=STATUS.say(status=f.status),
        title=inline(printable(say(f.title))),
        effect=effect,
        evidence=facts(f.evidence),
        advice=blocks("\n".join(printable(line) for line in say(f.advice)[:MOST_ADVICE].expandtabs(4).splitlines())),
    )

"""Of very many things of one kind the first are drawn, and the page says so."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from diagnose.report import html, terminal
from diagnose.report.thin import MOST_ENTRIES, MOST_FINDINGS, MOST_METRICS, thinned
from diagnose.report.timeline import MOST_TIES, build_timeline
from diagnose.report.view import build
from diagnose.result.diagnosis import Diagnosis, Finding, LedgerEntry
from tests.report import examples

PASSED = Finding("a-rule", "passed", "nothing", {}, "")


@pytest.mark.parametrize("name", examples.ALL)
def test_an_ordinary_diagnosis_is_shown_whole(name: str) -> None:
    diagnosis = examples.ALL[name]()
    thin, said = thinned(diagnosis)
    assert said == () and replace(thin, findings=()) == replace(diagnosis, findings=())
    assert sorted(thin.findings, key=repr) == sorted(diagnosis.findings, key=repr)


def many_findings() -> Diagnosis:
    base = examples.many_batches()
    failed = Finding("b-rule", "failed", "the one that failed", {}, "")
    return replace(base, findings=(*[PASSED] * 999, failed))


def test_failed_findings_are_not_among_those_left_out() -> None:
    view = build(many_findings())
    assert [f.rule for f in view.failed] == ["b-rule"] and len(view.passed) == MOST_FINDINGS - 1
    assert view.left_out == ("Of 1,000 findings, 150 are shown here; diagnosis.json has them all.",)


def test_the_page_says_what_is_left_out() -> None:
    page = html.render([many_findings()])
    assert "Of 1,000 findings, 150 are shown here; diagnosis.json has them all." in page
    assert "the one that failed" in terminal.summary(many_findings())


def test_amounts_of_factors_left_out_stand_in_one_row() -> None:
    base = examples.many_batches()
    entries = tuple(LedgerEntry(f"f{i}", i / 7, i / 9, i / 5) for i in range(5000))
    (ledger,), _ = thinned(replace(base, ledgers=(replace(base.ledgers[0], entries=entries),)))[0].ledgers, None
    assert len(ledger.entries) == MOST_ENTRIES + 1 and ledger.entries[-1].factor == "4,960 more factors"
    for part in ("amount", "low", "high"):
        whole = math.fsum(getattr(e, part) for e in entries)
        assert math.isclose(math.fsum(getattr(e, part) for e in ledger.entries), whole, rel_tol=1e-12)


def test_of_many_metrics_the_watched_one_is_shown() -> None:
    base = examples.single_batch()
    more = {f"m{i}": 0.5 for i in range(300)}
    rows = tuple(replace(row, logged={**more, **row.logged}) for row in base.epoch_rows)
    thin, said = thinned(replace(base, epoch_rows=rows))
    assert base.restoration is not None
    assert all(len(row.logged) == MOST_METRICS and base.restoration.monitor in row.logged for row in thin.epoch_rows)
    assert said[0].startswith("Of 30")


def test_the_curve_of_a_very_long_fit_is_thinned_and_keeps_its_best() -> None:
    diagnosis = examples.many_batches(9000, 1)
    timeline = build_timeline(diagnosis)
    assert timeline is not None and timeline.best is not None
    assert MOST_TIES / 2 < len(timeline.ties) <= MOST_TIES + 2 and timeline.best in timeline.ties
    assert timeline.ties[-1].epoch == 9000

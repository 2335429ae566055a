from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from diagnose import rules
from diagnose.result.diagnosis import Finding, Ledger
from diagnose.rules.facts import Facts


def test_a_crashing_rule_is_reported_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(facts: Any) -> Finding:
        raise ZeroDivisionError("oh")

    def fine(facts: Any) -> Finding:
        return Finding("fine", "passed", "", {}, "")

    monkeypatch.setattr(rules, "RULES", {"crash": crash, "fine": fine})
    found = rules.run_rules(Facts(SimpleNamespace(epochs=()), (), None))  # type: ignore[arg-type]
    assert [(f.rule, f.status) for f in found] == [("crash", "not-applicable"), ("fine", "passed")]
    assert "ZeroDivisionError: oh" in found[0].title


def test_what_is_wrong_comes_first_then_the_largest_share_of_its_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """An accuracy that moved by most of its gap before a loss that moved by more, but by little of its own."""

    def rule(name: str, status: Any, effect: float | None, metric: str = "loss", **more: Any) -> Any:
        return lambda facts: Finding(name, status, "", {}, "", metric, effect, **more)

    made = {
        "passed": rule("passed", "passed", 9.0),
        "loss": rule("loss", "failed", 3.0),
        "none": rule("none", "not-applicable", None),
        "calm": rule("calm", "failed", 0.5, "accuracy", severity="notable"),
        "accuracy": rule("accuracy", "failed", 0.4, "accuracy"),
        "unsized": rule("unsized", "failed", None),
    }
    monkeypatch.setattr(rules, "RULES", made)
    ledgers = (Ledger(2, "loss", 20.0, 10.0, -10.0, (), 0.0), Ledger(2, "accuracy", 0.9, 0.4, -0.5, (), 0.0))
    facts = Facts(SimpleNamespace(epochs=()), (), None, ledgers)  # type: ignore[arg-type]
    found = rules.run_rules(facts)
    assert [f.rule for f in found] == ["accuracy", "loss", "unsized", "calm", "none", "passed"]
    assert [f.severity for f in found] == ["wrong", "wrong", "wrong", "notable", None, None]

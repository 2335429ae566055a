from __future__ import annotations

from typing import Any

import pytest

from diagnose import rules
from diagnose.result.diagnosis import Finding
from diagnose.rules.facts import Facts

NOTHING = Facts(None, (), None)  # type: ignore[arg-type]


def test_a_crashing_rule_is_reported_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(facts: Any) -> Finding:
        raise ZeroDivisionError("oh")

    def fine(facts: Any) -> Finding:
        return Finding("fine", "passed", "", {}, "")

    monkeypatch.setattr(rules, "RULES", {"crash": crash, "fine": fine})
    found = rules.run_rules(NOTHING)
    assert [(f.rule, f.status) for f in found] == [("crash", "not-applicable"), ("fine", "passed")]
    assert "ZeroDivisionError: oh" in found[0].title


def test_failed_findings_come_first_by_size_of_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    def rule(name: str, status: Any, effect: float | None) -> Any:
        return lambda facts: Finding(name, status, "", {}, "", "loss", effect)

    made = {
        "a": rule("a", "passed", 9.0),
        "b": rule("b", "failed", 0.1),
        "c": rule("c", "not-applicable", None),
        "d": rule("d", "failed", 3.0),
    }
    monkeypatch.setattr(rules, "RULES", made)
    assert [f.rule for f in rules.run_rules(NOTHING)] == ["d", "b", "c", "a"]

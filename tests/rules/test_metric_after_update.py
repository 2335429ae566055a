from __future__ import annotations

import ast
from typing import Any

import keras

from diagnose.rules.metric_after_update import CODE
from tests.replay.own_models import Late, Own, traced
from tests.rules.runs import fit

RULE = "metric-after-update"


def finding(diagnosis: Any) -> Any:
    return next(f for f in diagnosis.findings if f.rule == RULE)


def test_fails_where_metrics_are_scored_after_the_update() -> None:
    diagnosis, history, _, _ = traced(Late)
    found = finding(diagnosis)
    assert found.status == "failed"
    assert found.evidence["logged"] == history[found.metric][found.evidence["epoch"] - 1]
    assert found.effect == abs(found.evidence["logged"] - found.evidence["before_the_updates"]) > 0
    assert found.evidence["scored_before"] == ["loss"]


def test_control_one_forward_pass() -> None:
    found = finding(traced(Own)[0])
    assert found.status == "passed"
    assert {"loss", "mae"} <= set(found.evidence["before"])


def test_dropout_hides_when_it_was_scored() -> None:
    """Drawn values are neither those before nor those after the update, so nothing is claimed."""
    found = finding(traced(Late, keras.layers.Dropout(0.5))[0])
    assert found.status == "not-applicable"
    assert "cannot be told" in found.title


def test_does_not_apply_to_keras_own_step() -> None:
    assert fit().finding(RULE).status == "not-applicable"


def test_advice_is_python() -> None:
    ast.parse(CODE)

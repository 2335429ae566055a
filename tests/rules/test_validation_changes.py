from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diagnose.rules import validation_changes
from tests.rules import test_reshuffled_split as split
from tests.rules.advice import blocks
from tests.rules.test_reshuffled_split import Passes, rows

RULE = validation_changes.NAME


def fit(monkeypatch: Any, validation: Any, epochs: int = 4) -> Any:
    x, y = rows()
    monkeypatch.setattr(split, "RULE", RULE)
    return split.fit(Passes([np.arange(20)] * epochs, x, y), validation, epochs)


def test_fails_for_a_sample_drawn_in_each_epoch(monkeypatch: Any) -> None:
    x, y = rows()
    rng = np.random.default_rng(1)
    held = [20 + rng.permutation(40)[:10] for _ in range(4)]
    finding = fit(monkeypatch, Passes(held, x, y))
    assert finding.status == "failed"
    assert finding.evidence["different_rows"] == len(set(np.concatenate(held).tolist()))
    assert finding.evidence["rows_in_every_pass"] == len(set(held[0]).intersection(*held[1:]))
    scope: dict[str, Any] = {"np": np, "validation": [(x[:5], y[:5]), (x[5:9], y[5:9])]}
    exec(blocks(finding.advice)[0].split("model.fit")[0], scope)
    assert np.array_equal(scope["x_val"], x[:9]) and np.array_equal(scope["y_val"], y[:9])


@pytest.mark.recorded
def test_fails_for_noise_in_the_validation_rows(monkeypatch: Any) -> None:
    """Every row is another in each pass, as augmentation makes it."""
    x, y = rows()
    finding = fit(monkeypatch, Passes([np.arange(20 + 10 * i, 30 + 10 * i) for i in range(4)], x, y))
    assert finding.status == "failed" and finding.evidence["rows_in_every_pass"] == 0
    assert "none of them in every pass" in finding.title


@pytest.mark.recorded
def test_passes_for_the_same_rows_in_another_order(monkeypatch: Any) -> None:
    x, y = rows()
    rng = np.random.default_rng(1)
    assert fit(monkeypatch, Passes([20 + rng.permutation(30) for _ in range(4)], x, y)).status == "passed"
    assert fit(monkeypatch, (x[30:], y[30:])).status == "passed"


@pytest.mark.recorded
def test_does_not_apply_without_two_passes(monkeypatch: Any) -> None:
    x, y = rows()
    assert fit(monkeypatch, None).status == "not-applicable"
    assert fit(monkeypatch, (x[30:], y[30:]), 1).status == "not-applicable"


@pytest.mark.recorded
def test_does_not_apply_where_the_split_is_drawn_anew(monkeypatch: Any) -> None:
    x, y = rows()
    training, validation = split.drawn(8, 60, 15)
    monkeypatch.setattr(split, "RULE", RULE)
    finding = split.fit(Passes(training, x, y), Passes(validation, x, y))
    assert finding.status == "not-applicable" and "reshuffled-split" in finding.title

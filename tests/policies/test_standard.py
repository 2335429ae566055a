"""Which policies a table has, and policies given as text."""

from __future__ import annotations

import pytest

from diagnose.decide.watched import Watcher
from diagnose.errors import UsageError
from diagnose.policies.log import Log
from diagnose.policies.standard import parse, standard
from diagnose.policies.stopping import EarlyStopping, Threshold, Weighted, code

LOG = Log(
    (1, 2, 3),
    {
        "loss": (3.0, 2.0, 1.0),
        "accuracy": (0.1, 0.2, 0.3),
        "val_loss": (3.0, 2.0, 2.5),
        "val_accuracy": (0.1, 0.2, 0.2),
    },
    planned=3,
    modes={"loss": "min", "accuracy": "max"},
)


def test_own_policies_come_first_and_nothing_twice() -> None:
    settings = {"patience": 2, "restore_best_weights": True, "monitor_op": "less", "min_delta": -0.1}
    decisions = (
        Watcher("EarlyStopping", "early-stopping", "val_loss", settings),
        Watcher("Stop", "threshold", "accuracy", {}, ">=", 0.9),
        Watcher("MyStopping", "early-stopping", "loss", {"patience": 1}),
    )
    found = standard(LOG, decisions)
    # A subclass may do anything: its settings are not taken for Keras's.
    assert found[:2] == (
        EarlyStopping("val_loss", min_delta=0.1, patience=2, mode="min", restore_best_weights=True),
        Threshold("accuracy", 0.9, ">="),
    )
    assert len(set(found)) == len(found)
    assert {p.monitor for p in found} >= {"loss", "val_loss", "accuracy", "val_accuracy"}
    assert Weighted((("val_accuracy", 0.5), ("val_loss", -0.5)), patience=2) in found


def test_every_standard_policy_reads_back_from_its_text() -> None:
    for policy in standard(LOG, ()):
        assert parse(code(policy)) == policy


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "EarlyStopping",
        "EarlyStopping('loss')",
        "EarlyStopping(monitor=open('x'))",
        "EarlyStopping(patience='3')",
        "EarlyStopping(monitor=3)",
        "EarlyStopping(patient=3)",
        "Threshold('loss', 1)",
        "Threshold(monitor='loss', value=1, op='=')",
        "Stop(monitor='loss')",
        "Weighted(weights=3)",
        "",
    ],
)
def test_anything_else_is_one_clear_error(text: str) -> None:
    with pytest.raises(UsageError, match="--policy"):
        parse(text)

"""The factors a ledger may hold, which of them can differ in a run, and the replay setting that each set of them
stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from diagnose.replay.replayer import Replayer, Schedule, Setting
from diagnose.tracefile.model import Epoch, Step

LAG: Final = "weights-lag"
DRIFT: Final = "weights-drift"
RESTORED: Final = "restored-weights"
CLASS_WEIGHTS: Final = "class-weights"
DATA: Final = "data-coverage"
AGGREGATION: Final = "aggregation"
MODES: Final = ("dropout", "batch-norm", "augmentation", "other-training-mode")

FACTORS: Final = (LAG, DRIFT, RESTORED, *MODES, CLASS_WEIGHTS, DATA, AGGREGATION)

AFTER: Final = {
    DRIFT: frozenset({LAG}),
    RESTORED: frozenset({LAG, DRIFT}),
    # Rows that fit did not see in a step have no update of their own to take weights from.
    DATA: frozenset({LAG, DRIFT}),
    AGGREGATION: frozenset({LAG, DRIFT}),
}
"""Which factors must have been walked before a factor (those that are present in the run)."""


def present(replayer: Replayer, epoch: Epoch, steps: Sequence[Step]) -> tuple[str, ...]:
    """The factors that can differ between what this epoch logged and what `evaluate` returns after fit."""
    found = []
    states = replayer.states
    before = [states.before(s) for s in steps]
    after = [states.after(s) for s in steps]
    end = states.end_of(epoch.epoch)

    weights = states.weights
    if any(weights(a) != weights(b) for a, b in zip(before, after, strict=True)):
        found.append(LAG)
    if any(weights(a) != weights(end) for a in after):
        found.append(DRIFT)
    if weights(states.final()) != weights(end):
        found.append(RESTORED)
    found.extend(kind for kind in MODES if kind in replayer.kinds)
    weighted = any(s.batch.sample_weight is not None for s in steps)
    if weighted or any(b.sample_weight is not None for b in replayer.evaluation):
        found.append(CLASS_WEIGHTS)
    seen = [int(row) for s in steps for row in s.batch.row_ids]
    evaluated = [int(row) for b in replayer.evaluation for row in b.rows]
    if sorted(seen) != sorted(evaluated):
        found.append(DATA)
    elif (
        seen != evaluated
        or [len(s.batch.row_ids) for s in steps] != [b.size for b in replayer.evaluation]
        or not replayer.split_as_evaluate(steps)
    ):
        found.append(AGGREGATION)
    return tuple(found)


def setting(walked: frozenset[str], kinds: frozenset[str]) -> Setting:
    """The replay setting in which exactly the factors in `walked` are as in `evaluate`, all others as in fit."""
    chain: list[tuple[str, Schedule]] = [(RESTORED, "final"), (DRIFT, "epoch-end"), (LAG, "after")]
    schedule: Schedule = "before"
    for factor, level in chain:
        if factor in walked:
            schedule = level
            break
    on_data = bool({DATA, AGGREGATION} & walked)
    if on_data and schedule in ("before", "after"):
        schedule = "epoch-end"  # no factor between here and there differs in this run
    return Setting(
        schedule=schedule,
        inference=frozenset(walked & kinds),
        weighted=CLASS_WEIGHTS not in walked,
        data="evaluate" if on_data else "fit",
    )

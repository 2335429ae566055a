"""Finished diagnoses written by hand, as analysis would return them. The numbers are invented but fit together."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from diagnose.result.diagnosis import (
    Best,
    Clock,
    Diagnosis,
    EpochRow,
    Finding,
    Ledger,
    LedgerEntry,
    ReplayCheck,
    Restoration,
    Span,
    StepRow,
)

ENVIRONMENT = {"keras": "3.15.1", "tensorflow": "2.21.0", "numpy": "2.4.6", "python": "3.11.9", "diagnose": "0.1.0"}
MODEL = {
    "name": "sequential",
    "parameters": 2,
    "layers": [{"name": "dense", "class": "Dense", "kind": None}],
}

ONE_STEP_LOSSES = (141.80412, 98.53311, 71.90526, 52.44018, 38.97120, 33.21640, 38.88181, 52.01777)
"""Loss of versions 0 … 7: what is logged for epochs 1 … 8."""
LAST_LOSS = 71.30252


def clocked(row: EpochRow) -> EpochRow:
    """With the clocks that analysis gives: train steps before each update, validation at the end of the epoch."""
    steps = Span(row.first_version, row.last_version - 1)
    training = Clock("train-steps", steps, owned=steps.first == steps.last)
    validation = Clock("validation", Span(row.last_version, row.last_version), owned=True)
    return replace(row, clocks={name: validation if name.startswith("val_") else training for name in row.logged})


def single_batch() -> Diagnosis:
    """keras#20323: one batch per epoch, restore on `loss`; the logged best of epoch 6 is version 5's, version 6 is
    restored."""
    after = (*ONE_STEP_LOSSES[1:], LAST_LOSS)
    rows = tuple(
        EpochRow(
            epoch=e,
            first_version=e - 1,
            last_version=e,
            logged={"loss": ONE_STEP_LOSSES[e - 1], "mae": ONE_STEP_LOSSES[e - 1] / 9},
            reevaluated={"loss": after[e - 1], "mae": after[e - 1] / 9},
            learning_rate=0.1,
            analysed=e in (6, 8),
        )
        for e in range(1, 9)
    )
    lag = 38.88181 - 33.21640
    ledgers = (
        Ledger(
            6,
            "loss",
            33.21640,
            38.88181,
            lag,
            (LedgerEntry("weights-lag", lag + 2.1e-7, lag + 2.1e-7, lag + 2.1e-7),),
            -2.1e-7,
        ),
        Ledger(
            8,
            "loss",
            52.01777,
            38.88181,
            38.88181 - 52.01777,
            (
                LedgerEntry("weights-lag", 71.30252 - 52.01777, 71.30252 - 52.01777, 71.30252 - 52.01777),
                LedgerEntry("restored-weights", 38.88181 - 71.30252, 38.88181 - 71.30252, 38.88181 - 71.30252),
            ),
            0.0,
        ),
        Ledger(
            6, "mae", 33.21640 / 9, 38.88181 / 9, lag / 9, (LedgerEntry("weights-lag", lag / 9, lag / 9, lag / 9),), 0.0
        ),
    )
    return Diagnosis(
        fit=1,
        keras="3.15.1",
        backend="tensorflow",
        steps_total=8,
        headline="EarlyStopping restored version 6, whose loss is 38.882, not the 33.216 logged for epoch 6: "
        "that value belongs to version 5, one update earlier.",
        epoch_rows=tuple(map(clocked, rows)),
        step_rows=tuple(
            StepRow(s, s + 1, 0, s, s + 1, {"loss": ONE_STEP_LOSSES[s]}, {"loss": ONE_STEP_LOSSES[s]}, True)
            for s in range(8)
        ),
        replay=ReplayCheck(8, 8, {"loss": 2.1e-7, "mae": 0.0}, {"loss": 3.3e-5, "mae": 4e-6}, tuple(range(1, 9))),
        ledgers=ledgers,
        restoration=Restoration(
            callback="EarlyStopping",
            monitor="loss",
            best_epoch=6,
            best_logged=33.21640,
            restored_epoch=6,
            restored_version=6,
            restored_value=38.88181,
            computed_at=Span(5, 5),
            owner_versions=(5,),
            shift_updates=1,
            verdict="shifted",
            best_by_reevaluation=Best(5, 5, 33.21640),
            mode="min",
            confirmed=True,
            sentence="EarlyStopping kept the weights at the end of epoch 6 (version 6), but the loss logged for it was "
            "computed before that epoch's only update, at version 5.",
            notes=("Choosing by re-evaluated value would have kept epoch 5, with a loss of 33.216.",),
        ),
        findings=(
            Finding(
                "moving-average-of-weights",
                "not-applicable",
                "Every epoch has one step, so nothing is averaged.",
                {"steps_per_epoch": 1},
                "",
            ),
            Finding(
                "one-step-epoch",
                "failed",
                "Each epoch is one update, so the `loss` logged for an epoch is that of the end of the epoch before.",
                {"epochs": 8, "epochs_matched": 7, "logged_at_epoch_7": 38.88181, "reevaluated_at_epoch_6": 38.88181},
                "Monitor a value that is computed after the update. Give the training rows as validation data, and "
                "restore on `val_loss`:\n\n```python\nmodel.fit(\n    x, y,\n    validation_data=(x, y),\n"
                "    callbacks=[keras.callbacks."
                'EarlyStopping(\n        monitor="val_loss", patience=2, restore_best_weights=True)],\n)\n```\n\n'
                "It costs one forward pass per epoch.",
                metric="loss",
                effect=lag,
                severity="wrong",
            ),
            Finding(
                "threshold-on-training-metric",
                "not-applicable",
                "No callback stops at a threshold of a logged value.",
                {},
                "",
            ),
            Finding(
                "no-restore",
                "passed",
                "EarlyStopping put the weights of epoch 6 back when training stopped.",
                {"callback": "EarlyStopping", "restore_best_weights": True},
                "",
            ),
        ),
        name="single_batch",
        versions={"total": 9, "kept": 9, "policy": "the weights of every update"},
        evaluation_data={"source": "the rows fit used", "rows": 3, "batch_size": 3},
        environment=ENVIRONMENT,
        model=MODEL,
        trace={"path": "reports/single_batch/fit-1.diag", "bytes": 196608, "format": 1, "status": "complete"},
    )


def _curve(version: float, start: float, floor: float, tau: float, wiggle: float = 0.0) -> float:
    return floor + (start - floor) * math.exp(-version / tau) + wiggle * math.sin(version * 0.61)


def many_batches(epochs: int = 10, steps: int = 16) -> Diagnosis:
    """Restore on `loss` with many batches: no single version owns the logged best."""
    tau = epochs * steps / 4
    rows = []
    for e in range(1, epochs + 1):
        first, last = (e - 1) * steps, e * steps
        losses = [_curve(v, 2.31, 0.27, tau, 0.02) + 0.11 for v in range(first, last)]
        again = _curve(last, 2.31, 0.27, tau, 0.02)
        rows.append(
            EpochRow(
                e,
                first,
                last,
                {"accuracy": 1 - sum(losses) / steps / 2.6, "loss": sum(losses) / steps},
                {"accuracy": 1 - again / 2.6, "loss": again},
                0.001,
                None,
                e in (1, epochs),
            )
        )
    best = min(rows, key=lambda row: row.logged["loss"])
    logged, held = best.logged["loss"], best.reevaluated["loss"]
    gap = held - logged
    ledgers = tuple(
        Ledger(
            row.epoch,
            metric,
            row.logged[metric],
            row.reevaluated[metric],
            row.reevaluated[metric] - row.logged[metric],
            (
                LedgerEntry("weights-lag", 0.1 * g, *sorted((0.08 * g, 0.13 * g))),
                LedgerEntry("weights-drift", 0.55 * g, *sorted((0.3 * g, 0.7 * g))),
                LedgerEntry("restored-weights", -0.15 * g, *sorted((-0.25 * g, -0.1 * g))),
                LedgerEntry("dropout", 0.5 * g, *sorted((0.42 * g, 0.66 * g))),
            ),
            -3e-8,
        )
        for metric in ("accuracy", "loss")
        for row in (rows[0], rows[-1])
        for g in [row.reevaluated[metric] - row.logged[metric] + 3e-8]
    )
    return replace(
        single_batch(),
        steps_total=epochs * steps,
        headline=f"EarlyStopping restored version {best.last_version}, whose loss is {held:.5g}; the {logged:.5g} "
        f"logged for epoch {best.epoch} averages {steps} versions, and no single one owns it.",
        epoch_rows=tuple(map(clocked, rows)),
        step_rows=(),
        replay=ReplayCheck(
            2 * steps,
            2 * steps,
            {"loss": 4.1e-7, "accuracy": 0.0},
            {"loss": 1e-6, "accuracy": 1e-12},
            (1, epochs),
            "Other epochs were not analysed.",
        ),
        ledgers=ledgers,
        restoration=Restoration(
            "EarlyStopping",
            "loss",
            best.epoch,
            logged,
            best.epoch,
            best.last_version,
            held,
            Span(best.first_version, best.last_version - 1),
            (),
            None,
            "no-owner",
            Best(best.epoch, best.last_version, held),
            "min",
            None,
            f"The loss logged for epoch {best.epoch} averages steps at versions "
            f"{best.first_version} to {best.last_version - 1}.",
        ),
        findings=(
            Finding(
                "moving-average-of-weights",
                "failed",
                f"The logged loss averages {steps} versions of the weights; re-evaluated it is lower by {-gap:.4g}.",
                {"steps_per_epoch": steps, "logged": logged, "reevaluated": held},
                "Compare with `evaluate` on the training rows:\n```python\nmodel.evaluate(x, y)\n```",
                metric="loss",
                effect=gap,
                severity="wrong",
            ),
            Finding("one-step-epoch", "passed", f"Every epoch has {steps} updates.", {"steps_per_epoch": steps}, ""),
            Finding("no-restore", "passed", "EarlyStopping put weights back.", {}, ""),
        ),
        name="many_batches_loss",
        versions={"total": epochs * steps + 1, "kept": epochs * steps + 1, "policy": "the weights of every update"},
        model={
            "name": "functional",
            "parameters": 101770,
            "layers": [
                {"name": "dense", "class": "Dense", "kind": None},
                {"name": "dropout", "class": "Dropout", "kind": "dropout"},
            ],
        },
    )


def aligned() -> Diagnosis:
    """Restore on `val_loss`: the version restored owns the logged best."""
    base = many_batches(12, 5)
    rows = tuple(
        replace(row, logged={**row.logged, "val_loss": value}, validation_version=row.last_version)
        for row in base.epoch_rows
        for value in [0.41 + 0.011 * (row.epoch - 8) ** 2 + 0.004 * math.sin(row.epoch)]
    )
    best = min(rows, key=lambda row: row.logged["val_loss"])
    value = best.logged["val_loss"]
    return replace(
        base,
        headline=f"EarlyStopping restored version {best.last_version}, the very weights whose val_loss of {value:.5g} "
        f"was logged as the best, in epoch {best.epoch}.",
        epoch_rows=tuple(map(clocked, rows)),
        restoration=Restoration(
            "EarlyStopping",
            "val_loss",
            best.epoch,
            value,
            best.epoch,
            best.last_version,
            value,
            Span(best.last_version, best.last_version),
            (best.last_version,),
            0,
            "aligned",
            Best(best.epoch, best.last_version, value),
            "min",
            True,
        ),
        findings=(
            Finding("one-step-epoch", "passed", "Every epoch has 5 updates.", {"steps_per_epoch": 5}, ""),
            Finding("moving-average-of-weights", "not-applicable", "Nothing was chosen by a training value.", {}, ""),
            Finding("no-restore", "passed", "EarlyStopping put weights back.", {}, ""),
        ),
        name="full_batch_healthy_val",
    )


def threshold(epochs: int = 300, steps: int = 4) -> Diagnosis:
    """A callback that stops at accuracy 1.0: evaluate reached it long before the log did."""
    rows = []
    for e in range(1, epochs + 1):
        accuracy = min(1.0, 1 - 0.4 * math.exp(-e / 40) + 0.004 * math.sin(e * 1.7))
        again = 1.0 if e >= 214 else min(0.998, accuracy + 0.012)
        logged = {"accuracy": accuracy if e < epochs else 1.0, "loss": 0.7 * math.exp(-e / 60)}
        rows.append(
            EpochRow(e, (e - 1) * steps, e * steps, logged, {"accuracy": again, "loss": 0.69 * math.exp(-e / 59)}, 0.1)
        )
    rows[-1] = replace(rows[-1], analysed=True)
    last = rows[-1]
    gap = last.reevaluated["loss"] - last.logged["loss"]
    return replace(
        single_batch(),
        steps_total=epochs * steps,
        headline=f"The callback stopped at epoch {epochs} on a logged accuracy of 1.0; the model it stopped with "
        "evaluates to 1.0, as it did from epoch 214 on.",
        epoch_rows=tuple(map(clocked, rows)),
        step_rows=(),
        replay=ReplayCheck(steps, steps, {"accuracy": 0.0, "loss": 6e-8}, {"accuracy": 1e-9}, (epochs,)),
        ledgers=(
            Ledger(
                epochs,
                "loss",
                last.logged["loss"],
                last.reevaluated["loss"],
                gap,
                (LedgerEntry("weights-drift", gap, gap, gap),),
                0.0,
            ),
            Ledger(epochs, "accuracy", 1.0, 1.0, 0.0, (LedgerEntry("weights-drift", 0.0, 0.0, 0.0),), 0.0),
        ),
        restoration=None,
        findings=(
            Finding(
                "threshold-on-training-metric",
                "failed",
                "`StopAtAccuracy` stops on the accuracy averaged over the epoch, not on that of any weights.",
                {"callback": "StopAtAccuracy", "threshold": 1.0, "first_epoch_reevaluated": 214, "stopped_at": epochs},
                "Watch `val_accuracy` instead.",
                metric="accuracy",
                effect=0.0,
                role="explains-stop",
                severity="wrong",
            ),
        ),
        name="threshold",
        versions={"total": epochs * steps + 1, "kept": epochs + 1, "policy": "the ends of epochs"},
    )


def interrupted() -> Diagnosis:
    """A recording cut off in epoch 4: no replay, nothing restored."""
    base = many_batches(10, 16)
    return replace(
        base,
        steps_total=54,
        headline="Training was interrupted in epoch 4; nothing was restored.",
        notice="The recording was interrupted: it ends after update 54, in the middle of epoch 4. "
        "What follows covers epochs 1 to 3.",
        epoch_rows=base.epoch_rows[:3],
        replay=None,
        ledgers=(),
        restoration=Restoration(
            "EarlyStopping",
            "loss",
            3,
            base.epoch_rows[2].logged["loss"],
            None,
            48,
            None,
            Span(32, 47),
            (),
            None,
            "not-restored",
            None,
        ),
        findings=(),
        trace={"path": "fit-1.diag", "bytes": 4_812_800, "format": 1, "status": "interrupted"},
    )


def not_finite() -> Diagnosis:
    """The loss becomes NaN in epoch 4; the model is left with weights that are NaN."""
    values = (2.5, 9.125e4, 3.1e33, math.nan, math.nan, math.nan)
    again = (91250.0, 3.1e33, math.inf, math.nan, math.nan, math.nan)
    rows = tuple(
        EpochRow(e, e - 1, e, {"loss": values[e - 1]}, {"loss": again[e - 1]}, 10.0, None, e == 6) for e in range(1, 7)
    )
    nan = math.nan
    return replace(
        single_batch(),
        steps_total=6,
        headline="The loss is NaN from epoch 4 on; EarlyStopping held version 6, whose loss is NaN.",
        epoch_rows=tuple(map(clocked, rows)),
        step_rows=(),
        replay=ReplayCheck(6, 3, {"loss": nan}, {"loss": 1e-6}, (1, 2, 3, 4, 5, 6), "Versions 4 to 6 are not finite."),
        ledgers=(Ledger(6, "loss", nan, nan, nan, (LedgerEntry("weights-lag", nan, nan, nan),), nan),),
        restoration=Restoration(
            "EarlyStopping", "loss", 1, 2.5, 6, 6, nan, Span(0, 0), (0,), 6, "not-restored", Best(1, 1, 91250.0), "min"
        ),
        findings=(
            Finding(
                "no-restore", "failed", "Nothing was put back.", {"value": nan, "largest": math.inf}, "", "loss", nan
            ),
        ),
    )


HOSTILE = "<script>alert(1)</script>\"'&$\\frac{1}{0}$ \x1b[31mé漢字\u202e"


def hostile() -> Diagnosis:
    """Every text a user can choose is an attack, and long."""
    name = HOSTILE
    long = HOSTILE + "x" * 300
    base = single_batch()
    assert base.restoration is not None and base.replay is not None

    def renamed(values: Any) -> dict[str, Any]:
        return {name: values["loss"], long: values["mae"]}

    return replace(
        base,
        headline=long,
        notice=long,
        keras=name,
        backend=name,
        epoch_rows=tuple(
            clocked(replace(r, logged=renamed(r.logged), reevaluated=renamed(r.reevaluated))) for r in base.epoch_rows
        ),
        replay=replace(base.replay, max_abs_error={name: 0.5, long: 1.0}, tolerance={name: 1.0}, reason=long),
        ledgers=tuple(
            replace(x, metric=name, entries=tuple(replace(e, factor=long) for e in x.entries)) for x in base.ledgers
        ),
        restoration=replace(
            base.restoration, callback=long, monitor=name, sentence=long, written_by=name, notes=(long,)
        ),
        findings=tuple(
            replace(
                f,
                rule=name,
                title=long,
                evidence={name: long, "nested": {name: [name]}},
                metric=name,
                advice=f"{long}\n```\n{name}\n```",
            )
            for f in base.findings
        ),
        name=long,
        versions={"total": name, "kept": name, "policy": long},
        evaluation_data={"source": name, "rows": name, "batch_size": name},
        environment={name: long},
        model={"name": name, "parameters": name, "layers": [{"name": name, "class": name, "kind": name}]},
        trace={"path": long, "bytes": 5, "format": name, "status": name},
    )


def empty() -> Diagnosis:
    """A fit that ended before its first epoch did."""
    return Diagnosis(1, "3.15.1", "jax", 0, "The fit raised before its first epoch ended.", (), (), None, (), None, ())


ALL = {
    "single_batch": single_batch,
    "many_batches": many_batches,
    "sixty_epochs": lambda: many_batches(60, 16),
    "aligned": aligned,
    "threshold": threshold,
    "interrupted": interrupted,
    "not_finite": not_finite,
    "hostile": hostile,
    "empty": empty,
}

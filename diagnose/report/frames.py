"""Tables of a Diagnosis as pandas DataFrames. Full precision; rounds and computes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from diagnose.errors import MissingLedgerError
from diagnose.result.diagnosis import Diagnosis, Ledger

if TYPE_CHECKING:
    import pandas as pd


def ledger_frame(diagnosis: Diagnosis, metric: str, epoch: int | None) -> pd.DataFrame:
    """See `Diagnosis.ledger`."""
    import pandas as pd

    ledger = _find(diagnosis.ledgers, metric, epoch)
    rows = [(e.factor, e.amount, e.low, e.high) for e in ledger.entries]
    rows.append(("residual", ledger.residual, ledger.residual, ledger.residual))
    frame = pd.DataFrame(rows, columns=["factor", "amount", "low", "high"])
    frame.attrs.update(
        metric=ledger.metric, epoch=ledger.epoch, logged=ledger.logged, evaluated=ledger.evaluated, gap=ledger.gap
    )
    return frame


def epochs_frame(diagnosis: Diagnosis) -> pd.DataFrame:
    """See `Diagnosis.epochs`."""
    import pandas as pd

    rows = diagnosis.epoch_rows
    data: dict[str, Any] = {
        "epoch": [row.epoch for row in rows],
        "first_version": [row.first_version for row in rows],
        "last_version": [row.last_version for row in rows],
    }
    data |= _columns("logged", (row.logged for row in rows))
    data |= _columns("reevaluated", (row.reevaluated for row in rows))
    data["learning_rate"] = _floats(row.learning_rate for row in rows)
    data["validation_version"] = pd.array([row.validation_version for row in rows], dtype="Int64")
    data["analysed"] = pd.array([row.analysed for row in rows], dtype="bool")
    return pd.DataFrame(data)


def steps_frame(diagnosis: Diagnosis) -> pd.DataFrame:
    """See `Diagnosis.steps`."""
    import pandas as pd

    rows = diagnosis.step_rows
    data: dict[str, Any] = {
        "step": [row.step for row in rows],
        "epoch": [row.epoch for row in rows],
        "batch_index": [row.batch_index for row in rows],
        "computed_at": [row.computed_at for row in rows],
        "produced": [row.produced for row in rows],
    }
    data |= _columns("value", (row.values for row in rows))
    data |= _columns("replayed", (row.replayed or {} for row in rows))
    data["reproduced"] = pd.array([row.reproduced for row in rows], dtype="boolean")
    return pd.DataFrame(data)


def _find(ledgers: tuple[Ledger, ...], metric: str, epoch: int | None) -> Ledger:
    of_metric = [ledger for ledger in ledgers if ledger.metric == metric]
    if not of_metric:
        names = ", ".join(repr(name) for name in dict.fromkeys(ledger.metric for ledger in ledgers))
        raise MissingLedgerError(
            f"There is no ledger of {metric!r}; there are ledgers of {names}."
            if names
            else f"There is no ledger of {metric!r}: this diagnosis has no ledgers."
        )
    if epoch is None:
        return max(of_metric, key=lambda ledger: ledger.epoch)
    found = next((ledger for ledger in of_metric if ledger.epoch == epoch), None)
    if found is None:
        epochs = ", ".join(str(ledger.epoch) for ledger in of_metric)
        raise MissingLedgerError(f"There is no ledger of {metric!r} for epoch {epoch}; analysed epochs are {epochs}.")
    return found


def _columns(prefix: str, rows: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    """One column per metric, named `prefix_metric`; NaN where an epoch or a step has no value."""
    listed = list(rows)
    names = dict.fromkeys(name for row in listed for name in row)
    return {f"{prefix}_{name}": _floats(row.get(name) for row in listed) for name in names}


def _floats(values: Iterable[float | None]) -> list[float]:
    return [float("nan") if value is None else float(value) for value in values]

"""What the diagnosis rests on: steps computed again, errors against tolerances, versions kept, data, libraries, the
trace file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diagnose.report.prose import Fact
from diagnose.result.diagnosis import Diagnosis
from diagnose.result.text import exact, number, plural, printable, span

_MOST_RUNS = 20


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One metric of the replay check; `within` is None where no tolerance is known."""

    metric: str
    error: Fact
    tolerance: Fact | None
    residual: Fact | None
    within: bool | None


@dataclass(frozen=True, slots=True)
class EvidenceView:
    replay: str
    errors: tuple[ErrorRow, ...]
    facts: tuple[Fact, ...]
    environment: tuple[Fact, ...]


def build_evidence(d: Diagnosis) -> EvidenceView:
    replay = "No step was computed again."
    errors: tuple[ErrorRow, ...] = ()
    if d.replay is not None:
        r = d.replay
        which = f"{'All' if r.reproduced == r.steps else f'{r.reproduced:,} of the'} {plural(r.steps, 'step')}"
        replay = f"{'The one step' if r.reproduced == r.steps == 1 else which} computed again"
        replay += f" (epoch{'s' if len(set(r.epochs)) > 1 else ''} {_ranges(r.epochs)})" if r.epochs else ""
        replay += " came out as recorded"
        replay += f"; the fit has {d.steps_total:,}." if r.steps < d.steps_total else "."
        if r.reason:
            reason = printable(r.reason)
            replay += f" {reason[:1].upper()}{reason[1:]}{'' if reason.endswith(('.', '…')) else '.'}"
        errors = tuple(
            _error(name, value, r.tolerance.get(name), _largest_residual(d, name))
            for name, value in r.max_abs_error.items()
        )
    return EvidenceView(
        replay=replay,
        errors=errors,
        facts=tuple(_about_run(d)),
        environment=tuple(Fact(printable(name), printable(value)) for name, value in d.environment.items()),
    )


def _largest_residual(d: Diagnosis, metric: str) -> float | None:
    """The largest in size; NaN counts as larger than any number."""
    sizes = [abs(ledger.residual) for ledger in d.ledgers if ledger.metric == metric]
    return max(sizes, key=lambda size: math.inf if math.isnan(size) else size, default=None)


def _error(name: str, value: float, tolerance: float | None, residual: float | None) -> ErrorRow:
    def fact(x: float | None) -> Fact | None:
        return None if x is None else Fact("", number(x, 3), exact(x))

    within = None if tolerance is None else value <= tolerance
    return ErrorRow(printable(name), Fact("", number(value, 3), exact(value)), fact(tolerance), fact(residual), within)


def _ranges(epochs: Sequence[int]) -> str:
    """`1, 3–6, 9`."""
    runs: list[list[int]] = []
    for epoch in sorted(set(epochs)):
        if runs and epoch == runs[-1][1] + 1:
            runs[-1][1] = epoch
        else:
            runs.append([epoch, epoch])
    shown = ", ".join(span(first, last) for first, last in runs[:_MOST_RUNS])
    return shown + (f", … ({len(set(epochs)):,} in all)" if len(runs) > _MOST_RUNS else "")


def _about_run(d: Diagnosis) -> list[Fact]:
    rows: list[tuple[str, Any]] = []
    v, data, model, trace = d.versions, d.evaluation_data, d.model, d.trace
    if v:
        kept = f"{v.get('kept', '?')} of {v.get('total', '?')} kept"
        rows.append(("weights versions", kept + (f": {v['policy']}" if v.get("policy") else "")))
    if data:
        detail = [f"{data['rows']} rows"] if data.get("rows") is not None else []
        detail += [f"batch size {data['batch_size']}"] if data.get("batch_size") is not None else []
        source = str(data.get("source", "unknown"))
        rows.append(("data evaluated", source + (f" ({', '.join(detail)})" if detail else "")))
    if model:
        size = model.get("parameters")
        rows.append(("model", f"{model.get('name', '?')}" + ("" if size is None else f", {size} parameters")))
        layers = [x for x in model.get("layers", ()) if isinstance(x, Mapping) and x.get("kind")]
        named = ", ".join(f"{x.get('name')} ({x.get('class')}: {x.get('kind')})" for x in layers[:12])
        named += f", … ({len(layers)} in all)" if len(layers) > 12 else ""
        rows.append(("layers that behave differently in training", named or "none"))
    if trace:
        parts = [str(trace[key]) for key in ("path",) if trace.get(key)]
        parts += [size_text(trace["bytes"])] if isinstance(trace.get("bytes"), int) else []
        parts += [f"format {trace['format']}"] if trace.get("format") is not None else []
        parts += [str(trace["status"])] if trace.get("status") else []
        rows.append(("trace", ", ".join(parts)))
    return [Fact(name, printable(text)) for name, text in rows]


def size_text(count: int) -> str:
    """`812 bytes`, `1.4 MB` (powers of 1000)."""
    if count < 1000:
        return f"{count} bytes"
    power = min(4, (len(str(count)) - 1) // 3)
    return f"{count / 1000**power:.3g} {('kB', 'MB', 'GB', 'TB')[power - 1]}"

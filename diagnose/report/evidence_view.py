"""What the diagnosis rests on: steps computed again, errors against tolerances, versions kept, data, libraries, the
trace file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diagnose.report.prose import Fact
from diagnose.result.diagnosis import Diagnosis
from diagnose.result.text import exact, number, printable, short, span
from diagnose.result.texts import Text, say

_MOST_RUNS = 20

NONE_REPLAYED = Text("evidence.none-replayed", "No step was computed again.{reason:given( {reason})}")
REPLAYED = Text(
    "evidence.replayed",
    "{which:select(one=The one step|all=All {steps:plural(## step|## steps)}|some={reproduced:,} of the "
    "{steps:plural(## step|## steps)})} computed again{epochs:given( ({several:given(epochs|epoch)} {epochs}))} came "
    "out as recorded{total:given(; the fit has {total:,})}.{reason:given( {reason})}",
)
IN_ALL = Text("in-all", "{shown}, … ({count:,} in all)")
KEPT = Text("evidence.kept", "{kept} of {total} kept{policy:given(: {policy})}")
DATA = Text(
    "evidence.data",
    "{source:given({source}|unknown)}{both:given( ({rows} rows, batch size {size})|{rows:given( ({rows} rows))}"
    "{size:given( (batch size {size}))})}{other:given(; in batches of {other}, which evaluate takes by itself: "
    "{values:and})}",
)
MODEL = Text("evidence.model", "{model}{parameters:given(, {parameters} parameters)}")
LAYER = Text(
    "evidence.layer",
    "{name} ({class}: {kind:select(dropout=dropout|batch-norm=batch-norm|augmentation=augmentation|{kind})})",
)
NO_LAYER = Text("evidence.no-layer", "none")
FORMAT = Text("evidence.format", "format {format}")
STATUS = Text("evidence.status", "{status:select(complete=complete|failed=failed|interrupted=interrupted|{status})}")
BYTES = Text("bytes", "{count} bytes")
HOW = Text(
    "evidence.how",
    "{recorded:given({recorded} recorded; )}{again:given({again} made again from their start, and ended in the "
    "recorded weights bit for bit; )}{ends:given(of {ends} only the end is known: {why:clauses})}",
)
NAMES = Text(
    "evidence.names",
    "{name:select(versions=weights versions|inside=weights inside epochs|levels=recorded at|data=data evaluated|"
    "model=model|layers=layers that behave differently in training|trace=trace)}",
)


HOWS = ("recorded", "made-again", "epoch-ends")
_MOST_WHYS = 3


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
    replay = NONE_REPLAYED.say(reason=None)
    errors: tuple[ErrorRow, ...] = ()
    if d.replay is not None:
        r = d.replay
        reason = printable(r.reason or "")
        said = f"{reason[:1].upper()}{reason[1:]}{'' if reason.endswith(('.', '…')) else '.'}" if reason else None
        replay = (REPLAYED if r.steps else NONE_REPLAYED).say(
            which="one" if r.reproduced == r.steps == 1 else "all" if r.reproduced == r.steps else "some",
            reproduced=r.reproduced,
            steps=r.steps,
            several=len(set(r.epochs)) > 1,
            epochs=_ranges(r.epochs),
            total=d.steps_total if r.steps < d.steps_total else None,
            reason=said,
        )
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
    return IN_ALL.say(shown=shown, count=len(set(epochs))) if len(runs) > _MOST_RUNS else shown


def _about_run(d: Diagnosis) -> list[Fact]:
    rows: list[tuple[str, Any]] = []
    v, data, model, trace = d.versions, d.evaluation_data, d.model, d.trace
    if v:
        rows.append(("versions", KEPT.say(kept=v.get("kept", "?"), total=v.get("total", "?"), policy=v.get("policy"))))
    if any(row.how in ("made-again", "epoch-ends") for row in d.epoch_rows):
        rows.append(("inside", _inside_epochs(d)))
    if v.get("levels"):
        rows.append(("levels", say(v["levels"])))
    if data:
        count, size = data.get("rows"), data.get("batch_size")
        both = count is not None and size is not None
        default = data.get("by_default")
        other = dict(default) if isinstance(default, Mapping) else {}
        size_of_others = other.pop("batch_size", None)
        values = [f"{key} {short(v)}" for key, v in other.items() if isinstance(v, (int, float))]
        said = {"source": data.get("source"), "both": both, "rows": count, "size": size}
        rows.append(("data", DATA.say(**said, other=size_of_others if values else None, values=values)))
    if model:
        rows.append(("model", MODEL.say(model=str(model.get("name", "?")), parameters=model.get("parameters"))))
        layers = [x for x in model.get("layers", ()) if isinstance(x, Mapping) and x.get("kind")]
        named = ", ".join(LAYER.say(**{key: str(x.get(key)) for key in ("name", "class", "kind")}) for x in layers[:12])
        named = IN_ALL.say(shown=named, count=len(layers)) if len(layers) > 12 else named
        rows.append(("layers", named or NO_LAYER.say()))
    if trace:
        parts = [str(trace[key]) for key in ("path",) if trace.get(key)]
        parts += [size_text(trace["bytes"])] if isinstance(trace.get("bytes"), int) else []
        parts += [FORMAT.say(format=trace["format"])] if trace.get("format") is not None else []
        parts += [STATUS.say(status=trace["status"])] if trace.get("status") else []
        rows.append(("trace", ", ".join(parts)))
    return [Fact(NAMES.say(name=name), printable(text)) for name, text in rows]


def _inside_epochs(d: Diagnosis) -> str:
    """Of which epochs the weights of all versions are known, and how."""
    by_how = {how: [row.epoch for row in d.epoch_rows if row.how == how] for how in HOWS}
    shown = {how: _ranges(epochs) if epochs else None for how, epochs in by_how.items()}
    why = list(dict.fromkeys(row.why for row in d.epoch_rows if row.how == "epoch-ends" and row.why))
    recorded, again, ends = (shown[how] for how in HOWS)
    return HOW.say(recorded=recorded, again=again, ends=ends, why=why[:_MOST_WHYS]).removesuffix("; ")


def size_text(count: int) -> str:
    """`812 bytes`, `1.4 MB` (powers of 1000)."""
    if count < 1000:
        return BYTES.say(count=count)
    power = min(4, (len(str(count)) - 1) // 3)
    return f"{count / 1000**power:.3g} {('kB', 'MB', 'GB', 'TB')[power - 1]}"

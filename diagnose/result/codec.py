"""A Diagnosis as JSON values, by the contract of `diagnosis.json` (schema 1), and back. Writes no files, draws nothing.

Numbers keep full precision; NaN and the infinities are the strings "NaN", "Infinity" and "-Infinity". The table of
steps is not part of it (`steps` is their number), so a Diagnosis that was read back has no `step_rows`. In
`evidence`, whose values have no fixed type, those three strings read back as numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from diagnose.result.diagnosis import (
    Best,
    Clock,
    Diagnosis,
    EpochRow,
    Finding,
    Ledger,
    LedgerEntry,
    LossPart,
    LossSplit,
    Policies,
    PolicyRow,
    ReplayCheck,
    Restoration,
    SavedModel,
    Span,
)
from diagnose.result.json_reader import NON_FINITE, JsonReader

SCHEMA = 1

_STATUSES = ("failed", "passed", "not-applicable")
_VERDICTS = ("aligned", "shifted", "no-owner", "not-restored", "replaced")
_SOURCES = ("train-steps", "validation", "end-of-epoch", "own", "learning-rate")
_ROLES = ("explains-gap", "explains-restoration", "explains-stop")
_DEEPEST = 32


def to_dict(diagnosis: Diagnosis) -> dict[str, Any]:
    """One element of `fits` in `diagnosis.json`. The result holds JSON values only and no float that is not finite."""
    d = diagnosis
    value: dict[str, Any] = {
        "fit": d.fit,
        "keras": d.keras,
        "backend": d.backend,
        "steps": d.steps_total,
        "epochs": [
            {
                "epoch": row.epoch,
                "first_version": row.first_version,
                "last_version": row.last_version,
                "logged": row.logged,
                "reevaluated": row.reevaluated,
                "learning_rate": row.learning_rate,
                "validation_version": row.validation_version,
                "analysed": row.analysed,
                "clocks": {name: _clock(clock) for name, clock in row.clocks.items()},
            }
            for row in d.epoch_rows
        ],
        "replay": None if d.replay is None else _fields(d.replay),
        "ledgers": [_ledger(ledger) for ledger in d.ledgers],
        "restoration": None if d.restoration is None else _restoration(d.restoration),
        "findings": [_fields(finding) for finding in d.findings],
        "name": d.name,
        "headline": d.headline,
        "notice": d.notice,
        "problems": list(d.problems),
        "versions": d.versions,
        "evaluation_data": d.evaluation_data,
        "environment": d.environment,
        "model": d.model,
        "trace": d.trace,
        "saved": [
            {**_fields(s), "computed_at": None if s.computed_at is None else _fields(s.computed_at)} for s in d.saved
        ],
        "policies": None
        if d.policies is None
        else {**_fields(d.policies), "rows": [_fields(r) for r in d.policies.rows]},
        "texts": d.texts,
    }
    plain: dict[str, Any] = _plain(value)
    return plain


def policies_dict(policies: Policies) -> dict[str, Any]:
    """The table of policies, as `policies` of one fit."""
    plain: dict[str, Any] = _plain({**_fields(policies), "rows": [_fields(row) for row in policies.rows]})
    return plain


def from_dict(value: Mapping[str, Any]) -> Diagnosis:
    """The Diagnosis that `to_dict` wrote, with `step_rows` empty. Keys it does not know are ignored.

    Raises:
        DiagnoseError: a key is missing or a value has the wrong type; the message names it.
    """
    top = JsonReader(value, "the fit")
    return Diagnosis(
        fit=top.count("fit"),
        keras=top.text("keras"),
        backend=top.text("backend"),
        steps_total=top.count("steps"),
        headline=top.text("headline", ""),
        epoch_rows=top.many("epochs", _read_epoch),
        step_rows=(),
        replay=top.one("replay", _read_replay),
        ledgers=top.many("ledgers", _read_ledger),
        restoration=top.one("restoration", _read_restoration),
        findings=top.many("findings", _read_finding),
        name=top.text("name", "fit"),
        notice=top.optional("notice", top.text),
        problems=top.texts("problems", ()),
        versions=top.mapping("versions"),
        evaluation_data=top.mapping("evaluation_data"),
        environment={key: str(item) for key, item in top.mapping("environment").items()},
        model=top.mapping("model"),
        trace=top.mapping("trace"),
        saved=top.many("saved", _read_saved) if top.get("saved", None) is not None else (),
        policies=None if top.get("policies", None) is None else top.one("policies", _read_policies),
        texts=top.mapping("texts"),
    )


def _fields(item: Any) -> dict[str, Any]:
    return {name: getattr(item, name) for name in item.__dataclass_fields__}


def _clock(clock: Clock) -> dict[str, Any]:
    """Without what is not so: there is one for every value of every epoch."""
    value: dict[str, Any] = {"source": clock.source, "span": None if clock.span is None else _fields(clock.span)}
    if clock.owned:
        value["owned"] = True
    return value if clock.written_by is None else {**value, "written_by": clock.written_by}


def _ledger(ledger: Ledger) -> dict[str, Any]:
    """`split` is there for a loss with penalties only."""
    value = _with_entries(ledger)
    split = value.pop("split")
    if split is not None:
        value["split"] = {"data": _with_entries(split.data), "penalties": _with_entries(split.penalties)}
    return value


def _with_entries(item: Ledger | LossPart) -> dict[str, Any]:
    return {**_fields(item), "entries": [_fields(e) for e in item.entries]}


def _restoration(restoration: Restoration) -> dict[str, Any]:
    value = _fields(restoration)
    for key in ("computed_at", "best_by_reevaluation"):
        if value[key] is not None:
            value[key] = _fields(value[key])
    return value


def _plain(value: Any, depth: int = 0) -> Any:
    """JSON values only. Array scalars become Python numbers; what JSON cannot hold becomes its text."""
    if depth > _DEEPEST:
        return "…"
    if value is None or isinstance(value, (bool, str)):
        # A lone surrogate cannot be written as UTF-8.
        return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item, depth + 1) for item in value), key=str)
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, without importing NumPy
        return _plain(value.tolist(), depth + 1)
    return str(value)


def _restore_non_finite(value: Any) -> Any:
    if isinstance(value, str):
        return NON_FINITE.get(value, value)
    if isinstance(value, dict):
        return {key: _restore_non_finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_restore_non_finite(item) for item in value]
    return value


def _read_epoch(r: JsonReader) -> EpochRow:
    return EpochRow(
        epoch=r.count("epoch"),
        first_version=r.count("first_version"),
        last_version=r.count("last_version"),
        logged=r.numbers("logged"),
        reevaluated=r.numbers("reevaluated"),
        learning_rate=r.optional("learning_rate", r.number),
        validation_version=r.optional("validation_version", r.count),
        analysed=r.flag("analysed", False),
        clocks=_read_clocks(r),
    )


def _read_clocks(r: JsonReader) -> dict[str, Clock]:
    """Files of older releases have none."""
    if r.get("clocks", None) is None:
        return {}
    return {
        name: Clock(
            source=c.choice("source", _SOURCES),
            span=c.one("span", _read_span),
            owned=c.flag("owned", False),
            written_by=c.optional("written_by", c.text),
        )
        for name, item in r.mapping("clocks").items()
        for c in (JsonReader(item, f"the clock of {name:.40}"),)
    }


def _read_replay(r: JsonReader) -> ReplayCheck:
    return ReplayCheck(
        steps=r.count("steps"),
        reproduced=r.count("reproduced"),
        max_abs_error=r.numbers("max_abs_error"),
        tolerance=r.numbers("tolerance"),
        epochs=r.counts("epochs", ()),
        reason=r.optional("reason", r.text),
    )


def _read_entry(r: JsonReader) -> LedgerEntry:
    return LedgerEntry(factor=r.text("factor"), amount=r.number("amount"), low=r.number("low"), high=r.number("high"))


def _read_ledger(r: JsonReader) -> Ledger:
    return Ledger(
        epoch=r.count("epoch"),
        metric=r.text("metric"),
        logged=r.number("logged"),
        evaluated=r.number("evaluated"),
        gap=r.number("gap"),
        entries=r.many("entries", _read_entry),
        residual=r.number("residual"),
        split=None if r.get("split", None) is None else r.one("split", _read_split),
    )


def _read_split(r: JsonReader) -> LossSplit:
    data, penalties = r.one("data", _read_part), r.one("penalties", _read_part)
    if data is None or penalties is None:
        raise r.wrong("data" if data is None else "penalties", "a part of the loss")
    return LossSplit(data, penalties)


def _read_part(r: JsonReader) -> LossPart:
    return LossPart(r.number("logged"), r.number("evaluated"), r.many("entries", _read_entry))


def _read_restoration(r: JsonReader) -> Restoration:
    return Restoration(
        callback=r.text("callback"),
        monitor=r.text("monitor"),
        best_epoch=r.optional("best_epoch", r.count),
        best_logged=r.optional("best_logged", r.number),
        restored_epoch=r.optional("restored_epoch", r.count),
        restored_version=r.optional("restored_version", r.count),
        restored_value=r.optional("restored_value", r.number),
        computed_at=r.one("computed_at", _read_span),
        owner_versions=r.counts("owner_versions"),
        shift_updates=r.optional("shift_updates", r.signed),
        verdict=r.choice("verdict", _VERDICTS),
        best_by_reevaluation=r.one(
            "best_by_reevaluation",
            lambda s: Best(epoch=s.count("epoch"), version=s.count("version"), value=s.number("value")),
        ),
        mode=r.optional("mode", lambda key: r.choice(key, ("min", "max"))),
        confirmed=r.optional("confirmed", r.flag),
        sentence=r.text("sentence", ""),
        written_by=r.optional("written_by", r.text),
        notes=r.texts("notes", ()),
        chosen_epoch=r.optional("chosen_epoch", r.count),
        texts=r.mapping("texts"),
    )


def _read_finding(r: JsonReader) -> Finding:
    return Finding(
        rule=r.text("rule"),
        status=r.choice("status", _STATUSES),
        title=r.text("title"),
        evidence=_restore_non_finite(r.mapping("evidence")),
        advice=r.text("advice"),
        metric=r.optional("metric", r.text),
        effect=r.optional("effect", r.number),
        role=r.optional("role", lambda key: r.choice(key, _ROLES)),
        texts=r.mapping("texts"),
    )


def _read_saved(r: JsonReader) -> SavedModel:
    return SavedModel(
        callback=r.text("callback"),
        file=r.text("file"),
        epoch=r.optional("epoch", r.count),
        version=r.optional("version", r.count),
        version_epoch=r.optional("version_epoch", r.count),
        event=r.count("event"),
        metric=r.optional("metric", r.text),
        logged=r.optional("logged", r.number),
        value=r.optional("value", r.number),
        computed_at=r.one("computed_at", _read_span),
        owner_versions=r.counts("owner_versions"),
        shift_updates=r.optional("shift_updates", r.signed),
        verdict=r.optional("verdict", lambda key: r.choice(key, _VERDICTS)),
    )


def _read_span(r: JsonReader) -> Span:
    return Span(first=r.count("first"), last=r.count("last"))


def _read_policies(r: JsonReader) -> Policies:
    return Policies(
        metric=r.text("metric"),
        mode=r.optional("mode", lambda key: r.choice(key, ("min", "max"))),
        rows=r.many("rows", _read_policy),
        best_epoch=r.optional("best_epoch", r.count),
        best_value=r.optional("best_value", r.number),
        notes=r.texts("notes", ()),
        texts=r.mapping("texts"),
    )


def _read_policy(r: JsonReader) -> PolicyRow:
    return PolicyRow(
        policy=r.text("policy"),
        label=r.text("label"),
        monitor=r.text("monitor"),
        own=r.flag("own", False),
        reason=r.optional("reason", r.text),
        stopped_epoch=r.optional("stopped_epoch", r.count),
        best_epoch=r.optional("best_epoch", r.count),
        best_number=r.optional("best_number", r.number),
        held_epoch=r.optional("held_epoch", r.count),
        held_value=r.optional("held_value", r.number),
        optimism=r.optional("optimism", r.number),
        epochs=r.optional("epochs", r.count),
        time_saved=r.optional("time_saved", r.number),
        texts=r.mapping("texts"),
    )

"""A Diagnosis as JSON values, by the contract of `diagnosis.json` (schema 1), and back. Writes no files, draws nothing.

Numbers keep full precision; NaN and the infinities are the strings "NaN", "Infinity" and "-Infinity". The table of
steps is not part of it (`steps` is their number), so a Diagnosis that was read back has no `step_rows`. In
`evidence`, whose values have no fixed type, those three strings read back as numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from typing import Any, get_type_hints

import msgspec

from diagnose.errors import DiagnoseError, placed
from diagnose.result.diagnosis import Clock, Diagnosis, Ledger, Policies, Real

SCHEMA = 1
NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""How numbers that JSON lacks are spelled, as strings."""

_DEEPEST = 32
_LEFT_OUT = ("step_rows",)
_KEYS = {"steps_total": "steps", "epoch_rows": "epochs"}
_DEFAULTS = {"headline": ""}
"""For what diagnoses of older releases lack, beside the defaults of the data classes."""


def _wire() -> type[msgspec.Struct]:
    """The type of one element of `fits`: the fields of a Diagnosis that are written, by their keys."""
    hints = get_type_hints(Diagnosis)

    def entry(item: Field[Any]) -> Any:
        key = _KEYS.get(item.name, item.name)
        if item.default_factory is not MISSING:
            return key, hints[item.name], msgspec.field(default_factory=item.default_factory)
        default = _DEFAULTS.get(item.name, item.default)
        return (key, hints[item.name]) if default is MISSING else (key, hints[item.name], default)

    written = [item for item in fields(Diagnosis) if item.name not in _LEFT_OUT]
    return msgspec.defstruct("Fit", [entry(item) for item in written], kw_only=True)


Fit = _wire()


def to_dict(diagnosis: Diagnosis) -> dict[str, Any]:
    """One element of `fits` in `diagnosis.json`. The result holds JSON values only and no float that is not finite."""
    written = {_KEYS.get(item.name, item.name): getattr(diagnosis, item.name) for item in fields(diagnosis)}
    return {key: _plain(value) for key, value in written.items() if key not in _LEFT_OUT}


def policies_dict(policies: Policies) -> dict[str, Any]:
    """The table of policies, as `policies` of one fit."""
    plain: dict[str, Any] = _plain(policies)
    return plain


def from_dict(value: Mapping[str, Any]) -> Diagnosis:
    """The Diagnosis that `to_dict` wrote, with `step_rows` empty. Keys it does not know are ignored.

    Raises:
        DiagnoseError: a key is missing or a value has the wrong type; the message names it.
    """
    try:
        fit = msgspec.convert(value, Fit, dec_hook=_number)
        findings = [replace(found, evidence=_with_numbers(found.evidence)) for found in fit.findings]  # type: ignore[attr-defined]
    except (msgspec.ValidationError, RecursionError) as error:
        raise DiagnoseError(
            f"This diagnosis cannot be read: {placed(error, 'the fit')}. Analyse the trace again."
        ) from None
    names = {key: name for name, key in _KEYS.items()}
    found = {names.get(key, key): item for key, item in msgspec.structs.asdict(fit).items()}
    return Diagnosis(**{**found, "findings": tuple(findings), "step_rows": ()})


def schema() -> dict[str, Any]:
    """The JSON Schema of `diagnosis.json`, as it lies in `docs/diagnosis.schema.json`."""
    document = msgspec.defstruct("diagnosis.json", [("schema", int), ("fits", list[Fit])])  # type: ignore[valid-type]
    return msgspec.json.schema(document, schema_hook=_number_schema)


def _number(kind: type, value: Any) -> float:
    """A `Real`: a JSON number, or one of the three words."""
    if isinstance(value, str) and value in NON_FINITE:
        return NON_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"Expected a number, got `{type(value).__name__}`")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("Expected a number that float64 can hold") from None


def _number_schema(kind: type) -> dict[str, Any]:
    assert kind is Real
    return {"anyOf": [{"type": "number"}, {"enum": list(NON_FINITE)}]}


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
    if is_dataclass(value):
        found = {f.name: getattr(value, f.name) for f in fields(value)}
        # There is a clock for every value of every epoch, and `split` for a loss with penalties only.
        often = ("split",) if isinstance(value, Ledger) else ("owned", "written_by") if isinstance(value, Clock) else ()
        return {
            name: _plain(item, depth + 1)
            for name, item in found.items()
            if name not in often or item not in (None, False)
        }
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item, depth + 1) for item in value), key=str)
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, without importing NumPy
        return _plain(value.tolist(), depth + 1)
    return str(value)


def _with_numbers(value: Any) -> Any:
    if isinstance(value, str):
        return NON_FINITE.get(value, value)
    if isinstance(value, dict):
        return {key: _with_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_numbers(item) for item in value]
    return value

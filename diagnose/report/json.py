"""`diagnosis.json`: strict JSON text of one or several diagnoses, and back. The shape of one fit is in
`diagnose.result.codec`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from diagnose.errors import DiagnoseError
from diagnose.result.codec import SCHEMA, from_dict, to_dict
from diagnose.result.diagnosis import Diagnosis
from diagnose.result.text import visible_json


def dumps(diagnoses: Sequence[Diagnosis]) -> str:
    """The text of `diagnosis.json` (schema 1), ending in a newline."""
    return spelled({"schema": SCHEMA, "fits": [to_dict(diagnosis) for diagnosis in diagnoses]}) + "\n"


def spelled(document: Any) -> str:
    """A document as JSON text to read and to print: characters of any script as they are, but for those that a
    terminal would act on."""
    try:
        text = msgspec.json.format(msgspec.json.encode(document), indent=1).decode("utf-8")
    except (OverflowError, ValueError):  # a whole number of more than 64 bits, or a float that is not finite
        text = json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1)
    return visible_json(text)


def loads(text: str) -> list[Diagnosis]:
    """The diagnoses of a `diagnosis.json`, without their tables of steps.

    Raises:
        DiagnoseError: the text is not JSON, has another schema, or lacks something.
    """
    try:
        document = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise DiagnoseError(f"This is no diagnosis.json: {error}.") from None
    if not isinstance(document, dict) or not isinstance(document.get("fits"), list):
        raise DiagnoseError("This is no diagnosis.json: it has no list of fits.")
    if document.get("schema") != SCHEMA:
        raise DiagnoseError(
            f"This diagnosis.json has schema {document.get('schema')!r}; this version reads schema {SCHEMA}. "
            "Upgrade keras-diagnose, or analyse the trace again."
        )
    return [from_dict(fit) for fit in document["fits"]]


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")

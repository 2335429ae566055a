"""The JSON Schemas in `docs/` are those of the types, and real files are valid by them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from diagnose.report.json import dumps
from diagnose.tracefile.jsontext import to_json
from diagnose.tracefile.reader import read_trace
from tests.report import examples
from tools.schemas import DOCS, schemas

FORMAT1 = Path(__file__).parents[1] / "tracefile" / "format1"


def valid(name: str, document: Any) -> bool:
    schema = json.loads((DOCS / name).read_text("utf-8"))
    return bool(jsonschema.Draft202012Validator(schema).is_valid(document))


def test_they_are_up_to_date() -> None:
    for path, text in schemas():
        assert path.read_text("utf-8") == text, f"{path.name}: run python tools/schemas.py"


@pytest.mark.parametrize("name", ["validation", "early-stopping", "unusual"])
def test_a_header_and_a_diagnosis_of_a_fit_are_valid(name: str) -> None:
    with read_trace(FORMAT1 / f"{name}.diag") as trace:
        header, stored = json.loads(to_json(dict(trace.info))), trace.diagnosis()
    assert valid("trace-header.schema.json", header)
    assert valid("diagnosis.schema.json", {"schema": 1, "fits": [stored]})
    header["callbacks"][0]["builtin"] = "yes"
    del stored["epochs"]
    assert not valid("trace-header.schema.json", header)
    assert not valid("diagnosis.schema.json", {"schema": 1, "fits": [stored]})


@pytest.mark.parametrize("name", list(examples.ALL))
def test_what_is_written_is_valid(name: str) -> None:
    document = json.loads(dumps([examples.ALL[name]()]))
    assert valid("diagnosis.schema.json", document)
    document["fits"][0]["steps"] = math.pi
    assert not valid("diagnosis.schema.json", document)

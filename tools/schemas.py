"""Writes the JSON Schemas of the header of a trace and of `diagnosis.json` into `docs/`, from the types: python
tools/schemas.py. A test holds that they are up to date."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from diagnose.result import codec
from diagnose.tracefile import about

DOCS = Path(__file__).parents[1] / "docs"


def schemas() -> Iterator[tuple[Path, str]]:
    """Each file and what belongs in it."""
    for name, schema in (("trace-header", about.schema()), ("diagnosis", codec.schema())):
        found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        yield DOCS / f"{name}.schema.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path, text in schemas():
        path.write_text(text, encoding="utf-8")

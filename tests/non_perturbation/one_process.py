"""Runs cases in a process of its own and writes what they left behind: `one_process.py MODE FOLDER CASE…`."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from tests.non_perturbation.fits import CASES, run_case


def main(mode: str, folder: Path, names: list[str]) -> None:
    found = {}
    for name in names:
        add = None
        if mode == "traced":
            from diagnose import Tracer

            def add(callbacks: list[Any], name: str = name) -> list[Any]:
                return [*callbacks, Tracer(folder / f"{name}.diag")]

        comparison = run_case(CASES[name], folder, *([add] if add else []))
        found[name] = plain(comparison)
    assert mode == "traced" or not [m for m in sys.modules if m.split(".")[0] == "diagnose"]
    (folder / "outcome.json").write_text(json.dumps(found, sort_keys=True, indent=1))


def plain(value: Any) -> Any:
    """JSON in which equal means equal bit for bit."""
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return plain(vars(value)) if hasattr(value, "__dataclass_fields__") else value


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])

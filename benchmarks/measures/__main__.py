"""One process of measurements, started by `benchmarks/run.py`. Writes one JSON line per measure."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

from benchmarks.machine import load, versions
from benchmarks.measures import MEASURES, Ask, tell


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measures", description=__doc__)
    parser.add_argument("names", nargs="+", choices=MEASURES)
    parser.add_argument("--package", type=Path, required=True, help="the folder that holds diagnose/")
    parser.add_argument("--levels")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    sys.path.insert(0, str(options.package))
    backend = os.environ.get("KERAS_BACKEND")
    with options.out.open("a", encoding="utf-8") as out:

        def write(**found: object) -> None:
            out.write(json.dumps({"backend": backend, **found}) + "\n")
            out.flush()

        try:
            if backend is not None:
                importlib.import_module(backend)
                importlib.import_module("keras")
        except ImportError as error:
            write(missing=str(error))
            return
        for name in options.names:
            before, began, rows, error = load(), time.perf_counter(), [], None
            try:
                with tempfile.TemporaryDirectory(prefix="diagnose-benchmark-") as folder:
                    levels = tuple(options.levels.split(",")) if options.levels else None
                    for row in MEASURES[name].load().measure(Ask(options.quick, Path(folder), levels)):
                        rows.append(row)
            except Exception as raised:  # the other measures go on
                tell(traceback.format_exc())
                error = f"{type(raised).__name__}: {raised}"
            write(
                measure=name,
                rows=rows,
                error=error,
                seconds=round(time.perf_counter() - began, 1),
                load={"before": before, "after": load()},
                versions=versions(),
            )


if __name__ == "__main__":
    main()

"""All benchmarks: what tracing, diagnosing, reporting and starting cost, with every backend that is installed.

    python benchmarks/run.py --json costs.json                  # everything: an hour or two
    python benchmarks/run.py --quick --json costs.json          # shorter fits, fewer levels: some ten minutes
    python benchmarks/run.py --only fits,memory --backend jax
    python benchmarks/run.py --python jax=~/jax/bin/python --python torch=~/torch/bin/python
    python benchmarks/run.py --table costs.json                 # draws what was measured, measures nothing
    python benchmarks/run.py --table costs.json --only fits --levels auto

Each backend is measured in processes of its own, by the interpreter that `--python` names for it; one that is not
installed is told and passed over. Figures are ratios of processor time and of wall time, of pairs in turns. Run it on a
machine that does nothing else: the load average is noted beside them. Asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import load, machine
from benchmarks.measures import MEASURES
from benchmarks.table import draw

ROOT = Path(__file__).resolve().parents[1]
BACKENDS = ("tensorflow", "jax", "torch")
LEVELS = ("auto", "0", "1", "2", "3")


class Runner:
    """Starts the processes, and keeps what they found."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._pythons = dict(options.python)
        self.found: list[dict[str, Any]] = []

    def python(self, backend: str | None) -> str:
        """The interpreter that has it."""
        return str(self._pythons.get(backend, sys.executable))

    def here(self, backend: str) -> bool:
        """Whether it was not missing."""
        return not any(run["backend"] == backend and run.get("missing") for run in self.found)

    def run(self, names: Sequence[str], backend: str | None) -> None:
        """Measures in a process of its own."""
        with tempfile.TemporaryDirectory(prefix="diagnose-benchmark-") as folder:
            out = Path(folder) / "found.jsonl"
            out.touch()
            words = [self.python(backend), "-m", "benchmarks.measures", *names, "--out", str(out)]
            words += ["--package", str(self._options.package)]
            words += ["--quick"] if self._options.quick else []
            words += ["--levels", ",".join(self._options.levels)] if self._options.levels else []
            print(f"{backend or 'no backend'}: {', '.join(names)}", file=sys.stderr, flush=True)
            code = subprocess.run(words, cwd=folder, env=_environment(backend), stdout=subprocess.DEVNULL).returncode
            found = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
        done = {run.get("measure") for run in found}
        if not any(run.get("missing") for run in found):
            for name in [name for name in names if name not in done]:
                lost = f"its process ended with {code}"
                found.append({"backend": backend, "measure": name, "rows": [], "error": lost})
        self.found += found


def _environment(backend: str | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    found = {**kept, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "TF_CPP_MIN_LOG_LEVEL": "2"}
    return found if backend is None else {**found, "KERAS_BACKEND": backend}


def measured(options: argparse.Namespace, words: Sequence[str]) -> dict[str, Any]:
    """Runs what was asked for, and writes the document of `--json` each time a process has ended: an hour of measuring
    is not lost where it is interrupted. Returns it."""
    began, before = time.perf_counter(), load()
    runner = Runner(options)

    def document() -> dict[str, Any]:
        return {
            "schema": 1,
            "made": {
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "command": shlex.join(["benchmarks/run.py", *_shown(words)]),
                "commit": _commit(options.package),
                "quick": options.quick,
                "seconds": round(time.perf_counter() - began),
            },
            "machine": machine(),
            "load": {"before": before, "after": load()},
            "runs": runner.found,
        }

    def run(names: Sequence[str], backend: str | None) -> None:
        runner.run(names, backend)
        if options.json:
            options.json.write_text(json.dumps(document(), indent=1) + "\n", "utf-8")

    for backend in options.backend:
        names = [name for name in options.only if MEASURES[name].backends == "each"]
        groups = [[name] for name in names if MEASURES[name].alone]
        together = [name for name in names if not MEASURES[name].alone]
        for group in [*groups, together]:
            if group and runner.here(backend):
                run(group, backend)
    for name in [name for name in options.only if MEASURES[name].backends == "one"]:
        for backend in options.backend:
            if runner.here(backend):
                run([name], backend)
                if runner.here(backend):
                    break
    for name in [name for name in options.only if MEASURES[name].backends == "none"]:
        run([name], None)
    return document()


def _shown(words: Sequence[str]) -> list[str]:
    """The command without the paths of this machine."""
    return [word if "/" not in word else word.partition("=")[0] + "=…" if "=" in word else "…" for word in words]


def _commit(package: Path) -> str | None:
    words = ["git", "-C", str(package), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _names(known: Sequence[str]) -> Any:
    def read(text: str) -> list[str]:
        found = text.split(",")
        wrong = [name for name in found if name not in known]
        if wrong:
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: not one of {', '.join(known)}")
        return found

    return read


def backend_python(text: str) -> tuple[str, str]:
    """BACKEND=PATH of an interpreter. The path is not resolved: a virtual environment's interpreter is a link."""
    backend, _, path = text.partition("=")
    if backend not in BACKENDS or not path:
        raise argparse.ArgumentTypeError(f"{text}: not BACKEND=PATH")
    return backend, os.path.abspath(os.path.expanduser(path))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=_names(list(MEASURES)), default=list(MEASURES), metavar="NAME,…")
    parser.add_argument("--backend", type=_names(BACKENDS), default=list(BACKENDS), metavar="NAME,…")
    parser.add_argument("--python", type=backend_python, action="append", default=[], metavar="BACKEND=PATH")
    parser.add_argument("--quick", action="store_true", help="shorter fits, fewer levels")
    parser.add_argument("--levels", type=_names(LEVELS), metavar="LEVEL,…", help="of auto, 0, 1, 2, 3; else the usual")
    parser.add_argument("--package", type=Path, default=ROOT, metavar="DIR", help="measures the diagnose/ in there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes all readings")
    parser.add_argument("--table", type=Path, metavar="FILE", help="draws a file that --json wrote, and ends")
    options = parser.parse_args(argv)
    options.package = options.package.resolve()
    if options.table:
        print(draw(json.loads(options.table.read_text("utf-8")), options.only, options.levels), end="")
        return 0
    document = measured(options, sys.argv[1:] if argv is None else argv)
    print(draw(document), end="")
    print(f"\n{document['made']['seconds']} s", file=sys.stderr)
    return 1 if any(run.get("error") for run in document["runs"]) else 0


if __name__ == "__main__":
    sys.exit(main())

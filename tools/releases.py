"""Runs the tests that lean on Keras over several Keras releases and backends, each in an environment of its own.

    python tools/releases.py                                       # all releases, TensorFlow
    python tools/releases.py --releases 3.8 newest --backends jax torch
    python tools/releases.py --pairs 3.8:tensorflow newest:jax
    python tools/releases.py --keep ~/environments --tests tests/record -- -k internals
    python tools/releases.py --keep ~/environments --only-make     # and later, without asking pip again:
    python tools/releases.py --keep ~/environments --as-made

Prints a Markdown table. Exit code 1: a test failed, or an environment could not be made. Needs only the standard
library and pip.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
NEWEST = "newest"
RELEASES = ("3.8", "3.10", "3.12", "3.14", NEWEST)
PACKAGES = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}
TESTS = ("tests/frameworks", "tests/non_perturbation", "tests/record", "tests/replay", "tests/scenarios")
ATTEMPTS = 8
"""How many minor releases of a backend or of NumPy are tried, newest first, before giving up."""

_LIMIT = 3600  # seconds for one test process: something hangs

_CHECK = """
import keras, numpy as np
layers = keras.layers.Dense(1), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)
model = keras.Sequential([keras.Input((2,)), *layers])
model.compile("adam", "mse", metrics=["mae", keras.metrics.F1Score(threshold=0.5)])
x, y = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
model.fit(x, y, epochs=2, batch_size=2)
model.evaluate(x, y, verbose=0)
"""
"""Whether Keras alone can train on the backend it was put together with."""

_VERSIONS = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"


@dataclass(frozen=True)
class Result:
    """One row of the table."""

    release: str
    backend: str
    versions: dict[str, str]
    passed: int = 0
    skipped: int = 0
    failed: tuple[str, ...] = ()
    setup_seconds: float = 0.0
    test_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    trouble: str | None = None
    """Why there are no test results, or not all of them."""

    @property
    def good(self) -> bool:
        return not self.failed and self.trouble is None and self.passed > 0


class NoEnvironment(Exception):
    """This release and this backend could not be brought together; the message says why."""


def requirements(release: str, backend: str) -> list[str]:
    """What pip is asked for, besides the project: this Keras, this backend, and the test tools of `pyproject.toml`."""
    keras = "keras" if release == NEWEST else f"keras=={release}.*"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    tools = [one for one in extras["test"] if not one.startswith(project["name"])]
    return [keras, *extras[backend], *tools]


def below(version: str) -> str:
    """The specifier for releases before this one's minor: "2.19.1" gives "<2.19"."""
    return "<" + ".".join(version.split(".")[:2])


def make_environment(folder: Path, release: str, backend: str) -> tuple[Path, dict[str, str], tuple[str, ...]]:
    """An environment with the newest release of the backend that this Keras can train on.

    pip picks the newest whose metadata allows this Keras (TensorFlow's names the oldest Keras it takes). Metadata says
    nothing of a backend, or of a NumPy, that changed under an older Keras, so a fit is tried, and where it fails the
    next older minor release: of NumPy where the error names it, else of the backend.

    Returns:
        the environment's Python, the versions in it, and a note for each release passed over.

    Raises:
        NoEnvironment: none of the backend's releases tried works.
    """
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    package = PACKAGES[backend]
    notes: list[str] = []
    limits: dict[str, str] = {}
    for _ in range(ATTEMPTS):
        wanted = [*requirements(release, backend), *limits.values()]
        done = run([python, "-m", "pip", "install", "--quiet", "--upgrade", "--editable", ROOT, *wanted])
        if done.returncode:
            raise NoEnvironment("; ".join([*notes, f"pip: {last_line(done.stderr)}"]))
        shown = run([python, "-c", _VERSIONS, "keras", package, "numpy"])
        versions: dict[str, str] = json.loads(shown.stdout)
        check = run([python, "-c", _CHECK], backend)
        if check.returncode == 0:
            return python, versions, tuple(notes)
        reason = last_line(check.stderr)
        blamed = "numpy" if "numpy" in reason else package
        notes.append(f"{blamed} {versions[blamed]} with Keras {versions['keras']} cannot train: {reason}")
        limits[blamed] = f"{blamed}{below(versions[blamed])}"
    raise NoEnvironment("; ".join(notes))


def run_tests(python: Path, backend: str, arguments: Sequence[str], report: Path) -> str | None:
    """One pytest process. Returns what went wrong beside failing tests, or None."""
    options = ("-q", "--tb=short", "-p", "no:cacheprovider", f"--junit-xml={report}")
    variables = environment(backend)
    if backend == "jax":
        # The tests compile the same small programs again and again; from this cache they take a third of the time.
        variables |= {
            "JAX_COMPILATION_CACHE_DIR": str(report.parent / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
    command = [python, "-m", "pytest", *options, *arguments]
    try:
        done = subprocess.run(list(map(str, command)), cwd=ROOT, env=variables, timeout=_LIMIT)
    except subprocess.TimeoutExpired:
        return f"the tests took more than {_LIMIT} s"
    return None if done.returncode in (0, 1) else f"pytest ended with code {done.returncode}"


def read_report(report: Path) -> tuple[int, int, tuple[str, ...]]:
    """Counts of passed and skipped tests and the names of those that failed, from pytest's JUnit XML."""
    passed, skipped, failed = 0, 0, []
    for case in ElementTree.parse(report).iter("testcase"):
        outcomes = {child.tag for child in case}
        if outcomes & {"failure", "error"}:
            failed.append(f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}")
        elif "skipped" in outcomes:
            skipped += 1
        else:
            passed += 1
    return passed, skipped, tuple(dict.fromkeys(failed))


def one(release: str, backend: str, folder: Path, arguments: Sequence[str] | None, as_made: bool = False) -> Result:
    """Makes an environment, or takes it as it was made, and runs the tests in it; without `arguments`, none."""
    started = time.monotonic()
    made = folder / "made.json"
    try:
        if as_made and made.exists():
            python, versions, notes = json.loads(made.read_text("utf-8"))
        else:
            python, versions, notes = make_environment(folder, release, backend)
            made.write_text(json.dumps([str(python), versions, notes]), "utf-8")
    except NoEnvironment as error:
        return Result(release, backend, {}, setup_seconds=time.monotonic() - started, trouble=str(error))
    ready = time.monotonic()
    if arguments is None:
        return Result(release, backend, versions, setup_seconds=ready - started, notes=tuple(notes))
    print(f"\n== {', '.join(f'{name} {version}' for name, version in versions.items())}", flush=True)
    report = folder / "report.xml"
    trouble = run_tests(Path(python), backend, arguments, report)
    passed, skipped, failed = read_report(report) if report.exists() else (0, 0, ())
    seconds = time.monotonic() - ready
    return Result(release, backend, versions, passed, skipped, failed, ready - started, seconds, tuple(notes), trouble)


def table(results: Sequence[Result]) -> str:
    """The results as a Markdown table, with the failing tests and what was passed over below."""
    lines = [
        "| Keras | backend | with | passed | failed | skipped | environment | tests |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    below: list[str] = []
    for r in results:
        keras = r.versions.get("keras", r.release) + (" (newest)" if r.release == NEWEST else "")
        others = ", ".join(f"{name} {version}" for name, version in r.versions.items() if name != "keras")
        failed = str(len(r.failed)) if r.trouble is None else "**stopped**"
        counts = f"{r.passed} | {failed} | {r.skipped} | {r.setup_seconds:.0f} s | {r.test_seconds:.0f} s"
        lines.append(f"| {keras} | {r.backend} | {others or '–'} | {counts} |")
        said = [*r.notes, *([r.trouble] if r.trouble else []), *(f"`{name}` failed" for name in r.failed)]
        below += [f"- Keras {keras}, {r.backend}: {text}" for text in said]
    return "\n".join([*lines, *(["", *below] if below else [])])


def run(command: Sequence[object], backend: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), cwd=ROOT, env=environment(backend), capture_output=True, text=True)


def environment(backend: str | None) -> dict[str, str]:
    """The caller's variables without those that would reach into an environment of its own."""
    kept = dict(os.environ)
    for name in ("PYTHONPATH", "PYTHONHOME", "KERAS_BACKEND"):
        kept.pop(name, None)
    kept.setdefault("PIP_CONSTRAINT", str(ROOT / ".ci" / "constraints.txt"))
    kept |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "TF_CPP_MIN_LOG_LEVEL": "2", "MPLBACKEND": "Agg"}
    if "PYTHONPYCACHEPREFIX" not in kept:
        kept["PYTHONDONTWRITEBYTECODE"] = "1"
    return kept if backend is None else {**kept, "KERAS_BACKEND": backend}


def last_line(text: str) -> str:
    """The last line that says something, where Python and pip put the reason."""
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"\w*(Error|ERROR|Exception)\b", line)]
    return (errors or lines or ["it said nothing"])[-1].strip()[:300]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--releases", nargs="+", default=RELEASES, metavar="3.8", help="minor releases, or 'newest'")
    parser.add_argument("--backends", nargs="+", default=["tensorflow"], choices=sorted(PACKAGES))
    parser.add_argument(
        "--pairs", nargs="+", metavar="3.8:jax", help="these only, not every release with every backend"
    )
    parser.add_argument("--tests", nargs="+", default=TESTS, metavar="PATH", help="what pytest runs in each of them")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the environments here, and use them again")
    parser.add_argument("--only-make", action="store_true", help="make the environments, and run no tests")
    parser.add_argument("--as-made", action="store_true", help="take those in DIR as they were made: pip is not asked")
    parser.add_argument("pytest", nargs="*", metavar="-- ARGUMENTS", help="further arguments for pytest, after --")
    options = parser.parse_args(words)
    pairs = [tuple(pair.partition(":")[::2]) for pair in options.pairs or ()]
    pairs = pairs or [(release, backend) for release in options.releases for backend in options.backends]
    for release, backend in pairs:
        if release != NEWEST and not re.fullmatch(r"\d+\.\d+", release):
            parser.error(f"{release!r} is no minor release such as 3.8, and not '{NEWEST}'")
        if backend not in PACKAGES:
            parser.error(f"{backend!r} is none of {', '.join(PACKAGES)}")
    # Also takes down the pip or pytest that runs at that moment, and the environments.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="releases-") as temporary:
        home = (options.keep or Path(temporary)).resolve()
        results = []
        for release, backend in pairs:
            folder = home / f"keras-{release}-{backend}"
            arguments = None if options.only_make else [*options.tests, *options.pytest]
            results.append(one(release, backend, folder, arguments, options.as_made))
    print("\n" + table(results))
    return 0 if all(result.trouble is None if options.only_make else result.good for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())

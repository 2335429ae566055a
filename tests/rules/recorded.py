"""Fits of rule tests, made once by `tools/rule_facts.py` and read back here: a rule looks at *Facts*, not at Keras.

A test marked `recorded` runs as it stands, but its fits do not: `fit` gives the history that it gave when it was made,
a `Witness` the logs that it noted then, and `Tracer.diagnose` what today's rules find in the trace and the measurements
that were kept of it. Nothing else of a diagnosis is there, and a model says no when it is asked for weights or values:
what compares with those stays live, and so does one failing fit of every rule at least.

Files: `tests/data/facts/NAME.tar.xz` for `test_NAME.py`, with traces (`TEST/0.diag`, each with its measurements) and
`TEST/seen.json`: what plain Keras returned (`history`) and the callback of the test saw (`logs`), by fit, and the
digest of what the test was then. Where that is not what it is now, on another backend, and with `FACTS=live`, all is
live.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import lzma
import os
import re
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import pytest

from diagnose import Tracer
from diagnose.analysis import analyze
from diagnose.analysis.again import found_again
from diagnose.api.session import Session
from diagnose.result.codec import to_dict
from diagnose.result.diagnosis import Finding
from diagnose.tracefile import format as fmt
from diagnose.tracefile.reader import store_diagnosis
from tests.hostile import forge
from tests.rules.runs import Witness

FACTS = Path(__file__).resolve().parents[1] / "data" / "facts"
SHARED = tuple(Path(__file__).with_name(name) for name in ("runs.py", "traced.py"))
BACKEND = "tensorflow"
MODE = os.environ.get("FACTS", "recorded" if keras.backend.backend() == BACKEND else "live")
"""recorded, live or make."""
NOT_FACTS: dict[str, Any] = {"findings": (), "epoch_rows": (), "problems": (), "headline": ""}
"""What rules do not look at in a diagnosis."""
LOOKS = ("evaluate", "predict", "get_weights", "load_weights", "save", "save_weights", "__call__")


class StaleFactsError(AssertionError):
    """The test does not do what it did when its facts were kept."""

    def __init__(self, what: str) -> None:
        super().__init__(f"The test {what} than were kept of it: python tools/rule_facts.py makes them anew")


@dataclass
class Seen:
    """What a test's fits and diagnoses gave, in their order."""

    digest: str
    fits: list[dict[str, Any]] = field(default_factory=list)
    asked: list[list[bytes]] = field(default_factory=list)
    """The traces of each `diagnose()`: one of a tracer's, all of a session's."""


MADE: dict[Path, dict[str, Seen]] = {}
"""What was seen in this process, by archive and test, where facts are made."""


# ── what a test is ──


def digest(test: Path, function: str) -> str:
    """Of all that decides what a test fits: its file without its other tests, and the helpers; not what it asserts."""
    own = _lines(test, but=function)
    kept = [own, *(path.read_text("utf-8") for path in SHARED if f"tests.rules.{path.stem} import" in own)]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:16]


def _lines(file: Path, but: str) -> str:
    text = file.read_text("utf-8")
    left_out: set[int] = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if node.name != but:
                left_out |= set(range(first, (node.end_lineno or 0) + 1))
            else:
                checks = [n for n in ast.walk(node) if isinstance(n, ast.Assert)]
                left_out |= {i for n in checks for i in range(n.lineno, (n.end_lineno or 0) + 1)}
                left_out |= {i for d in node.decorator_list if "recorded" in ast.unparse(d) for i in (d.lineno,)}
    return "\n".join(x for i, x in enumerate(text.splitlines(), start=1) if i not in left_out and x.strip())


# ── files ──


def archive(test: Path) -> Path:
    return FACTS / f"{test.stem.removeprefix('test_')}.tar.xz"


@cache
def stored(path: Path) -> dict[str, Seen]:
    """All of an archive, by the name of the test."""
    found: dict[str, Seen] = {}
    if not path.exists():
        return found
    with tarfile.open(path) as file:
        parts = {item.name: file.extractfile(item) for item in file}
        contents = {name: part.read() for name, part in parts.items() if part is not None}
    for name, content in contents.items():
        test, _, part = name.rpartition("/")
        if part == "seen.json":
            seen = json.loads(content)
            traces = (contents[f"{test}/{i}.diag"] for i in range(sum(seen["asked"])))
            asked = [[next(traces) for _ in range(count)] for count in seen["asked"]]
            found[test] = Seen(seen["digest"], seen["fits"], asked)
    return found


def store(path: Path, found: dict[str, Seen]) -> None:
    """Writes an archive: the same bytes for the same contents, tests in the order of their names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as file:
        for test, seen in sorted(found.items()):
            counts, traces = [len(one) for one in seen.asked], [trace for one in seen.asked for trace in one]
            about = json.dumps({"digest": seen.digest, "fits": seen.fits, "asked": counts}).encode()
            for name, content in [("seen.json", about), *((f"{i}.diag", t) for i, t in enumerate(traces))]:
                item = tarfile.TarInfo(f"{test}/{name}")
                item.size = len(content)
                file.addfile(item, io.BytesIO(content))
    path.write_bytes(lzma.compress(packed.getvalue(), preset=9 | lzma.PRESET_EXTREME))


# ── a test with its fits recorded ──


def _listed(callbacks: Any) -> list[Any]:
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


@contextmanager
def played(seen: Seen, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fits and diagnoses come from what was seen."""
    fits, asked, trained = iter(seen.fits), iter(seen.asked), False

    def fit(model: Any, *arguments: Any, callbacks: Any = None, **named: Any) -> Any:
        nonlocal trained
        made, trained = next(fits, None), True
        if made is None:
            raise StaleFactsError("makes more fits")
        witnesses = [c for c in _listed(callbacks) if isinstance(c, Witness)]
        for witness, logs in zip(witnesses, made["logs"], strict=True):
            witness.logs, witness.weights = logs, []
        return SimpleNamespace(history=made["history"])

    def findings() -> list[Any]:
        traces = next(asked, None)
        if traces is None:
            raise StaleFactsError("asks for more diagnoses")
        return [SimpleNamespace(findings=_found(trace)) for trace in traces]

    def looked(name: str) -> Callable[..., Any]:
        as_it_is = getattr(keras.Model, name)

        def look(*arguments: Any, **named: Any) -> Any:
            if trained:
                raise AssertionError("The fit is recorded, the model was not trained: take the mark off this test")
            return as_it_is(*arguments, **named)

        return look

    for name in LOOKS:
        patch.setattr(keras.Model, name, looked(name))
    patch.setattr(keras.Model, "fit", fit)
    patch.setattr(Tracer, "diagnose", lambda *_, **__: findings()[0])
    patch.setattr(Session, "diagnose", lambda *_, **__: findings())
    yield
    if next(fits, None) is not None or next(asked, None) is not None:
        raise StaleFactsError("makes fewer fits, or asks for fewer diagnoses,")


def _found(trace: bytes) -> tuple[Finding, ...]:
    """What today's rules find in a trace and its measurements; without those that look at what is not kept of it."""
    with tempfile.TemporaryDirectory(prefix="facts-") as folder:
        path = Path(folder, "fit.diag")
        path.write_bytes(trace)
        return tuple(f for f in found_again(path) if f.evidence.get("error") != "TraceError")


def _lean_or_whole(whole: bytes, rule: str) -> bytes:
    """The lean trace where this rule finds the same in it."""
    with tempfile.TemporaryDirectory(prefix="facts-") as folder:
        path = Path(folder, "fit.diag")
        path.write_bytes(whole)
        make_lean(path)
        lean = path.read_bytes()
    return lean if _of(rule, lean) == _of(rule, whole) else whole


def _of(rule: str, trace: bytes) -> list[tuple[Any, ...]]:
    """What a rule finds, but for the digests in it."""
    return [(f.status, f.severity, str(f.title), f.effect, f.metric) for f in _found(trace) if f.rule == rule]


def make_lean(path: Path) -> None:
    """Numbers take the place of the digests of arrays and zeros that of their contents: rules compare the ones and
    seldom read the others, and neither can be compressed. Rows stay: those of one test are those of the next."""
    found = forge.records(path)
    numbers: dict[bytes, bytes] = {}
    columns = {table.name: table.columns for table in fmt.CHAINED}
    for table, values in found:
        for (_, kind), value in zip(columns[table], values, strict=True):
            if kind.startswith("digest") and value is not None and table not in ("chain", "row_blocks", "batch_lists"):
                for at in range(0, len(value), 16):
                    numbers.setdefault(value[at : at + 16], len(numbers).to_bytes(16, "big"))
    both = [*numbers.items(), *((old.hex().encode(), new.hex().encode()) for old, new in numbers.items())]
    pattern = re.compile(b"|".join(re.escape(old) for old, _ in both))
    by_old = dict(both)

    def numbered(value: Any) -> Any:
        if not isinstance(value, (bytes, str)):
            return value
        raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
        new = pattern.sub(lambda match: by_old[match[0]], raw)
        return new if isinstance(value, bytes) else new.decode("utf-8", "surrogatepass")

    db = sqlite3.connect(path, isolation_level=None)
    for array, old in db.execute("SELECT array, digest FROM arrays").fetchall():
        db.execute("UPDATE arrays SET digest = ? WHERE array = ?", (numbered(old), array))
    db.execute("UPDATE blobs SET data = zeroblob(length(data)) WHERE blob IN (SELECT blob FROM arrays)")
    db.execute(f"PRAGMA page_size = {fmt.SMALL_PAGE_BYTES}")
    db.execute("VACUUM")
    db.close()
    forge.rewrite(path, [(table, [numbered(value) for value in values]) for table, values in found])


@contextmanager
def noted(seen: Seen, patch: pytest.MonkeyPatch, rule: str) -> Iterator[None]:
    """All is live; what fits and diagnoses give is kept in `seen`. `rule`: what the test is about."""
    fit, diagnose = keras.Model.fit, analyze.diagnose_run

    def noting_fit(model: Any, *arguments: Any, **named: Any) -> Any:
        history = fit(model, *arguments, **named)
        witnesses = [c for c in _listed(named.get("callbacks")) if isinstance(c, Witness)]
        series = {name: [float(v) for v in values] for name, values in history.history.items()}
        seen.fits.append({"history": series, "logs": [witness.logs for witness in witnesses]})
        return history

    def noting_diagnose(run: Any, **named: Any) -> Any:
        diagnosis = diagnose(run, **named)
        with tempfile.TemporaryDirectory(prefix="facts-") as folder:
            path = Path(folder, "fit.diag")
            path.write_bytes(run.path.read_bytes())
            store_diagnosis(path, to_dict(replace(diagnosis, **NOT_FACTS)))
            whole = path.read_bytes()
            assert _found(whole) == diagnosis.findings, "the rules looked at more than the trace holds"
            seen.asked[-1].append(_lean_or_whole(whole, rule))
        return diagnosis

    def asking(kind: Any) -> Callable[..., Any]:
        as_it_is = kind.diagnose

        def ask(*arguments: Any, **named: Any) -> Any:
            seen.asked.append([])
            return as_it_is(*arguments, **named)

        return ask

    patch.setattr(keras.Model, "fit", noting_fit)
    patch.setattr(analyze, "diagnose_run", noting_diagnose)
    patch.setattr(Tracer, "diagnose", asking(Tracer))
    patch.setattr(Session, "diagnose", asking(Session))
    yield

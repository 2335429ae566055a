"""Every n-th operation on the disk fails while a trace is written: training is not touched, and the file is readable
or says what is wrong."""

from __future__ import annotations

import random
import sqlite3
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnose.errors import DiagnoseError, TraceError
from diagnose.tracefile.reader import read_trace
from tools.attacks import bases
from tools.attacks.failing import ERRORS, Injection, failing
from tools.attacks.runner import Attack, Failed, Finished

KINDS = [(error, stays) for error in ERRORS for stays in (False, True)]
TABLES = ("states", "steps", "epochs", "evaluations", "signatures")


# ── the writer alone ──


def _prepare(folder: Path) -> None:
    bases.samples(folder)


def _load(folder: Path) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """What an undisturbed writer's trace holds, and all (operation, kind of error), shuffled: a short run meets
    a bit of everything."""
    with read_trace(folder / "sealed.diag") as trace:
        honest = bases.contents(trace)
    counting = Injection("disk full", 0, stays=False)
    with failing(counting):
        bases.write_sample(folder / "counted.diag")
    pairs = [(operation, kind) for operation in range(1, counting.count + 1) for kind in range(len(KINDS))]
    random.Random(5).shuffle(pairs)
    return honest, pairs


def _writer(
    loaded: tuple[dict[str, Any], list[tuple[int, int]]], number: int, chance: random.Random, folder: Path
) -> str:
    honest, pairs = loaded
    if number >= len(pairs):
        raise Finished
    operation, kind = pairs[number]
    injection = Injection(KINDS[kind][0], operation, stays=KINDS[kind][1])
    path = folder / "a.diag"
    escaped = "no error"
    with failing(injection):
        try:
            bases.write_sample(path)
        except DiagnoseError:
            escaped = "said"
        except (OSError, sqlite3.Error, MemoryError) as error:
            # What the guard of a fit catches; the writer alone need not give it a name of its own.
            escaped = type(error).__name__
    if not injection.struck:
        return "no such operation in this run"
    where = f"{injection.struck}, {'and all later ones' if injection.stays else 'once'}"
    return f"{escaped}, {_file(path, honest, where)}"


def _file(path: Path, honest: dict[str, Any], where: str) -> str:
    """What can be read is what an undisturbed writer wrote, as far as it goes."""
    if not path.exists():
        return "no file"
    try:
        with read_trace(path) as trace:
            read = bases.contents(trace)
    except TraceError:
        return "the file says it is damaged"
    for name in TABLES:
        if not _begins(honest[name], read[name]):
            raise Failed(f"after {where}: {name} are not a prefix of what was written")
    for name, value in read.items():
        if name.startswith(("arrays", "slot", "batch", "generator")) and honest.get(name) != value:
            raise Failed(f"after {where}: {name.rstrip('0123456789')} is another")
    return "readable"


def _begins(whole: Any, part: Any) -> bool:
    return part == whole[: len(part)]


WRITER = Attack(
    "errors", "the writer, each of its operations failing in turn, in eight ways", _prepare, _load, _writer, 10_000,
    megabytes=None,
)  # fmt: skip


# ── a fit ──


@dataclass(frozen=True)
class _Fit:
    case: Any
    untraced: Any
    operations: int


def _load_fit(folder: Path) -> _Fit:
    from tests.non_perturbation.fits import CASES, run_case

    case = CASES["dropout_and_batch_norm"]
    for name in ("untraced", "counted"):
        (folder / name).mkdir()
    untraced = run_case(case, folder / "untraced")
    counting = Injection("disk full", 0, stays=False)
    _traced(case, folder / "counted", counting)
    return _Fit(case, untraced, counting.count)


def _traced(case: Any, folder: Path, injection: Injection) -> Any:
    """The traced fit, while operations fail; None where the tracer refused before the fit began."""
    from diagnose import Tracer
    from tests.non_perturbation.fits import run_case

    with failing(injection):
        try:
            tracer = Tracer(folder / "fit.diag")
        except DiagnoseError:
            return None
        return run_case(case, folder, lambda callbacks: [tracer, *callbacks])


def _fit(loaded: _Fit, number: int, chance: random.Random, folder: Path) -> str:
    from tests.non_perturbation.fits import differences

    error, stays = KINDS[number % len(KINDS)]
    injection = Injection(error, chance.randrange(1, loaded.operations + 1), stays=stays)
    with warnings.catch_warnings(record=True) as elsewhere:
        warnings.simplefilter("always")
        traced = _traced(loaded.case, folder, injection)
    if not injection.struck:
        return "no such operation in this run"
    where = f"{injection.struck}, {'and all later ones' if stays else 'once'}"
    if traced is None:
        return "refused before training"
    ours = [w for w in traced.first.warnings if w not in loaded.untraced.first.warnings]
    ours += [(w.category.__name__, str(w.message)) for w in elsewhere if "diagnose" in str(w.filename)]
    if len(ours) > 1:
        raise Failed(f"after {where}: {len(ours)} warnings: {ours}")
    traced.first.warnings = loaded.untraced.first.warnings
    if found := differences(loaded.untraced, traced):
        raise Failed(f"after {where}: the fit is another: {found[0][:300]}")
    path = folder / "fit.diag"
    if not path.exists():
        said = "no file"
    else:
        try:
            with read_trace(path) as trace:
                bases.contents(trace)
                said = f"{trace.status}"
        except TraceError:
            said = "the file says it is damaged"
    if not ours and said != "complete":
        raise Failed(f"after {where}: nothing was said, and the file: {said}")
    return f"same fit, {len(ours)} warnings, {said}"


FITS = Attack(
    "fit-errors", "fits, one of the tracer's operations failing, or all from there on", lambda folder: None, _load_fit,
    _fit, 8, seconds=None, megabytes=None, hang=300,
)  # fmt: skip

"""Forged traces with fitting digests: the reader and each verb must answer, or refuse in one line."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from diagnose.cli import COMMANDS, main
from diagnose.errors import TraceError
from diagnose.tracefile.reader import read_trace
from tools.attacks import bases, grammar
from tools.attacks.runner import Attack, Failed

VERBS = tuple(verb for verb in ("report", "identify", "policies", "redact") if verb in COMMANDS)

UNSEEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal obeys, or that turn or end lines, apart from the line feed and the tabulator."""


def _prepare(folder: Path) -> None:
    bases.samples(folder)
    bases.real_fit(folder)


def _honest(folder: Path) -> list[grammar.Tables]:
    return [grammar.take_apart(folder / name) for name in ("fit.diag", "sealed.diag")]


def _read(honest: list[grammar.Tables], number: int, chance: random.Random, folder: Path) -> str:
    content, how = grammar.forge(honest[number % 2], chance)
    path = folder / "forged.diag"
    path.write_bytes(content)
    try:
        with read_trace(path) as trace:
            if number % 3:
                return "opened"
            bases.contents(trace, bases.touched)
            return "read to the last byte"
    except TraceError as error:
        if not str(error).strip():
            raise Failed(f"refused without a word ({how})") from error
        return "refused"


FORGED = Attack(
    "forged",
    "forged traces with fitting digests, opened, every third read to its last byte",
    _prepare,
    _honest,
    _read,
    2_000,
)


@dataclass(frozen=True)
class _Verbs:
    honest: list[grammar.Tables]
    weights: Path


def _load_verbs(folder: Path) -> _Verbs:
    return _Verbs(_honest(folder), folder / "end.weights.h5")


def _verb(loaded: _Verbs, number: int, chance: random.Random, folder: Path) -> str:
    content, _ = grammar.forge(loaded.honest[number % 8 == 7], chance, grammar.ACCEPTED)
    name = "forged.diag" if chance.random() < 0.9 else "a\x1b[31mb\u202ec.diag"
    (folder / name).write_bytes(content)
    verb = VERBS[number % len(VERBS)]
    words = [verb, str(folder / name)]
    if verb == "report":
        words += ["--out", str(folder / "out")]
    elif verb == "identify":
        words += [str(loaded.weights)]
    elif verb == "redact":
        words += ["--out", str(folder / "redacted.diag")]
    if verb != "redact" and chance.random() < 0.4:
        words += ["--json"]
    code = ask(words)
    written = folder / "out" / "diagnosis.json"
    if written.exists() and (found := UNSEEN.search(written.read_text("utf-8"))):
        raise Failed(f"diagnosis.json holds {found.group()!r} raw")
    shutil.rmtree(folder / "out", ignore_errors=True)
    return f"{verb} {'answered' if code == 0 else 'refused'}"


def ask(words: list[str]) -> int:
    """Runs a command in this process and holds what it says and its exit code against the promise. Returns the code.

    Raises Failed, or whatever escaped from the command.
    """
    with _captured() as said:
        try:
            code = main(words)
        except SystemExit as end:
            code = int(end.code or 0)
    out, err = said
    for stream, text in (("stdout", out), ("stderr", err)):
        if found := UNSEEN.search(text):
            raise Failed(f"{words[0]} prints {found.group()!r} raw on {stream}")
    if "Traceback (most recent" in err:
        raise Failed(f"{words[0]} prints a traceback: {err.strip().splitlines()[-1]}")
    if code not in (0, 1, 2):
        raise Failed(f"{words[0]} ends with {code}")
    if code and len(err.strip().splitlines()) != 1:
        raise Failed(f"{words[0]} says {len(err.strip().splitlines())} lines where it refuses:\n{err}")
    return code


@contextlib.contextmanager
def _captured() -> Iterator[list[str]]:
    """Both streams, at the level of descriptors and of Python, as they are once the block has ended."""
    said: list[str] = []
    streams, kept = (sys.stdout, sys.stderr), (os.dup(1), os.dup(2))
    files = [os.memfd_create("out"), os.memfd_create("err")]
    for number, file in enumerate(files, 1):
        os.dup2(file, number)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(os.fdopen(os.dup(n), "wb"), encoding="utf-8", errors=e)
        for n, e in ((1, "strict"), (2, "backslashreplace"))
    )
    try:
        yield said
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.close()
        sys.stdout, sys.stderr = streams
        for number, (file, old) in enumerate(zip(files, kept, strict=True), 1):
            os.dup2(old, number)
            os.close(old)
            os.lseek(file, 0, os.SEEK_SET)
            with os.fdopen(file, "rb") as stream:
                said.append(stream.read().decode("utf-8", "surrogateescape"))


VERB = Attack(
    "verbs", f"forged traces given to {', '.join(VERBS)}, in turn", _prepare, _load_verbs, _verb, 120
)  # fmt: skip

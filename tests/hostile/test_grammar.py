"""Traces forged by a grammar, with digests that fit: read, analysed, identified and reported, or refused in one
sentence. `DIAGNOSE_FORGED=100000` makes so many of them; `DIAGNOSE_FORGED_FROM` is the first seed."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from diagnose.analysis.analyze import analyse
from diagnose.cli import main
from diagnose.errors import DiagnoseError, TraceError
from diagnose.report import html, json, terminal
from diagnose.result.codec import from_dict
from diagnose.tracefile.reader import Trace, read_trace
from tests.hostile import whole
from tests.hostile.grammar import Forge

NUMBER = int(os.environ.get("DIAGNOSE_FORGED", "180"))
FIRST = int(os.environ.get("DIAGNOSE_FORGED_FROM", "0"))
DRAWN = 45
"""One in so many is drawn as a page: that takes longest."""


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    folder = tmp_path_factory.mktemp("forged")
    whole.weights_file(folder / "weights.npz")
    return Forge(folder)


def test_every_forged_trace_is_answered_or_refused_in_one_sentence(forge: Forge) -> None:
    read = 0
    for seed in range(FIRST, FIRST + NUMBER):
        path = forge.forge(Random(seed))
        try:
            with read_trace(path) as trace:
                read += 1
                answer(trace, path.with_name("weights.npz"), page=seed % DRAWN == 0)
        except DiagnoseError as error:
            assert isinstance(error, TraceError) or "This diagnosis cannot be read" in str(error), f"seed {seed}"
            assert len(str(error).splitlines()) <= 2, f"seed {seed}"
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}") from error
    assert NUMBER // 4 < read < NUMBER


def answer(trace: Trace, weights: Path, *, page: bool) -> None:
    """Everything that is made of a trace without its model."""
    found = [analyse(trace)]
    str(trace.identify(weights))
    stored = trace.diagnosis()
    if stored is not None:
        found.append(from_dict(stored))
    json.dumps(found)
    for diagnosis in found:
        terminal.summary(diagnosis)
    if page:
        html.render(found)


@pytest.mark.parametrize("verb", ["report", "policies", "identify"])
def test_every_verb_ends_with_an_answer_or_one_line(
    verb: str, forge: Forge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"report": ["--out", str(tmp_path)], "policies": [], "identify": [str(forge.path.with_name("weights.npz"))]}
    codes = set()
    for seed in range(FIRST, FIRST + NUMBER // 6):
        path = forge.forge(Random(seed))
        code = main([verb, str(path), *words[verb]])
        errors = capsys.readouterr().err
        assert (code, len(errors.splitlines())) in ((0, 0), (1, 1)), f"seed {seed}: {errors}"
        codes.add(code)
    assert codes == {0, 1}

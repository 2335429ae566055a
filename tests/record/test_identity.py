"""A diagnosis is of the fit that was asked about: run and file are tied by what was recorded, not by a path."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diagnose
from diagnose import DiagnoseError, Tracer, read_trace
from diagnose.analysis.analyze import analyse_file
from diagnose.errors import TraceWriteError
from diagnose.tracefile.reader import store_diagnosis
from tests.attach.fits import fit, model, rows


def losses_in(diagnosis: Any) -> list[float]:
    return [row.logged["loss"] for row in diagnosis.epoch_rows]


def test_two_tracers_with_one_path(tmp_path: Path) -> None:
    """The later fit replaces the file; the earlier tracer says so and shows no other fit's numbers."""
    first, second = Tracer(tmp_path / "same.diag"), Tracer(tmp_path / "same.diag")
    fit(seed=1, callbacks=[first])
    _, losses = fit(seed=2, callbacks=[second])
    with pytest.raises(DiagnoseError, match=r"trace of this fit is gone: same\.diag now holds another recording"):
        first.diagnose()
    assert losses_in(second.diagnose()) == losses


def test_a_file_that_was_removed(tmp_path: Path) -> None:
    tracer = Tracer(tmp_path / "fit.diag")
    fit(callbacks=[tracer])
    (tmp_path / "fit.diag").unlink()
    with pytest.raises(DiagnoseError, match=r"trace of this fit is gone: there is no fit\.diag"):
        tracer.diagnose()


def test_sessions_one_after_the_other_in_one_folder(tmp_path: Path) -> None:
    with diagnose.trace(tmp_path) as first:
        fit(seed=1)
    with diagnose.trace(tmp_path) as second:
        _, losses = fit(seed=2)
    with pytest.raises(DiagnoseError, match="now holds another recording"):
        first.report(tmp_path / "report")
    assert not (tmp_path / "report").exists()
    assert [losses_in(d) for d in second.diagnose()] == [losses]


def test_a_diagnosis_is_not_stored_in_another_recording(tmp_path: Path) -> None:
    tracer = Tracer(tmp_path / "fit.diag")
    fit(callbacks=[tracer])
    with read_trace(tracer.path) as trace:
        known = trace.digest
    store_diagnosis(tracer.path, {"of": "the first"}, verified=known)
    fit(callbacks=[Tracer(tmp_path / "fit.diag")])
    with pytest.raises(TraceWriteError, match="another recording"):
        store_diagnosis(tracer.path, {"of": "the first"}, verified=known)
    with read_trace(tracer.path) as trace:
        assert trace.digest != known and trace.diagnosis() is None


@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
@pytest.mark.parametrize("how", ["deepcopy", "copy", "pickle"])
def test_copies_of_a_tracer_record_fits_of_their_own(how: str, used: bool, tmp_path: Path) -> None:
    """As a tuner makes them, one per trial."""
    copied = {"deepcopy": copy.deepcopy, "copy": copy.copy, "pickle": lambda t: pickle.loads(pickle.dumps(t))}[how]
    tracer = Tracer(tmp_path / "trial.diag", weights="epochs")
    traced: list[tuple[Tracer, list[float]]] = []
    if used:
        traced.append((tracer, fit(seed=7, callbacks=[tracer])[1]))
    for seed in range(3):
        trial = copied(tracer)
        assert trial.runs == [] and trial.recorder is None
        traced.append((trial, fit(seed=seed, callbacks=[trial])[1]))
    traced.append((tracer, fit(seed=8, callbacks=[tracer])[1]))
    assert len({run.path for t, _ in traced for run in t.runs}) == len(traced) == len(list(tmp_path.iterdir()))
    assert [t.path.name for t, _ in traced[used:-1]] == ["trial-2.diag", "trial-3.diag", "trial-4.diag"]
    assert tracer.path == tmp_path / "trial.diag"
    for t, losses in traced:
        if (t, losses) != traced[0] or not used:
            assert losses_in(t.diagnose()) == losses
    if used:
        assert losses_in(tracer.diagnose(fit=1)) == traced[0][1]


def test_a_copy_keeps_the_temporary_folder_of_a_tracer_that_is_gone() -> None:
    import gc

    tracer: Tracer | None = Tracer()
    assert tracer is not None
    trial = copy.deepcopy(tracer)
    del tracer
    gc.collect()
    _, losses = fit(callbacks=[trial])
    assert losses_in(trial.diagnose()) == losses
    folder = trial.path.parent
    del trial
    gc.collect()
    assert not folder.exists()


def test_a_tracer_that_another_process_unpickles_writes_beside(tmp_path: Path) -> None:
    tracer = Tracer(tmp_path / "fit.diag")
    _, losses = fit(callbacks=[tracer])
    (tmp_path / "tracer.pickle").write_bytes(pickle.dumps(tracer))
    code = (
        "import pickle, sys; from tests.attach.fits import fit\n"
        "for n in range(2):\n"
        "    tracer = pickle.loads(open(sys.argv[1], 'rb').read()); fit(seed=5, callbacks=[tracer])\n"
        "    print(tracer.path.name, len(tracer.diagnose().epoch_rows))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "tracer.pickle")],
        cwd=root, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert len(set(names)) == 2 and all(name.startswith("fit-") and "pid" in name for name in names)
    assert losses_in(tracer.diagnose()) == losses


def test_relative_paths_survive_a_change_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there, beyond = (tmp_path / name for name in ("here", "there", "beyond"))
    for folder in (here, there, beyond):
        folder.mkdir()
    monkeypatch.chdir(here)
    tracer, session = Tracer("fit.diag"), diagnose.trace("runs")
    watched = model()
    watch = diagnose.watch(watched, "loop.diag")
    monkeypatch.chdir(there)
    _, losses = fit(callbacks=[tracer])
    with session:
        fit()
    watched.train_on_batch(*(a[:8] for a in rows()))
    monkeypatch.chdir(beyond)
    assert losses_in(tracer.diagnose()) == losses
    assert len(session.diagnose()) == 1 and watch.diagnose().steps_total == 1
    assert list(there.iterdir()) == list(beyond.iterdir()) == []
    assert sorted(path.name for path in here.iterdir()) == ["fit.diag", "loop.diag", "runs"]


def test_a_refused_relative_path_is_shown_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("no trace at all, but a file of mine")
    with pytest.raises(TraceWriteError, match=r"^notes\.txt exists"):
        Tracer("notes.txt")


def test_the_trace_of_an_interrupted_fit_is_known_again(tmp_path: Path) -> None:
    """An unsealed trace has an identity as well, and one from another process is diagnosed by its path."""
    tracer = Tracer(tmp_path / "fit.diag")
    fit(callbacks=[tracer])
    ids = set()
    for path in (tracer.path, tmp_path / "copy.diag"):
        path.exists() or path.write_bytes(tracer.path.read_bytes())
        with read_trace(path) as trace:
            ids.add((trace.info["recording"]["id"], trace.digest))
        assert np.isfinite(losses_in(analyse_file(path))).all()
    assert len(ids) == 1

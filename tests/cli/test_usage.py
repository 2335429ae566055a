"""What the command line refuses before any script runs: one line on stderr, exit 1, or the usage, exit 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli import command
from tests.cli.warm import diagnose


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("single_bach", "There is no scenario or script 'single_bach'. Did you mean single_batch"),
        ("zzz", "There is no scenario or script 'zzz'. `python -m diagnose scenarios` lists them."),
        ("trian.py", "There is no script 'trian.py'. Did you mean train.py?"),
        ("deeper/none.py", "There is no script 'deeper/none.py'."),
        ("deeper", "deeper is a folder; name a script in it."),
        (".", ". is a folder; name a script in it."),
    ],
)
def test_target_that_is_not_there(target: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit('ran')\n")
    (tmp_path / "deeper").mkdir()
    done = diagnose("run", target, cwd=tmp_path)
    assert (done.code, done.stdout) == (1, "")
    assert done.error.startswith(message)
    assert {path.name for path in tmp_path.iterdir()} == {"train.py", "deeper"}


@pytest.mark.parametrize("out", ["taken", "taken/deeper", "/proc/none"])
def test_folder_that_cannot_be_written_is_refused_before_the_script_runs(out: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit('ran')\n")
    (tmp_path / "taken").write_text("mine")
    done = diagnose("run", "train.py", "--out", out, cwd=tmp_path)
    assert (done.code, done.stdout) == (1, "")
    assert done.error.startswith(f"Cannot write reports to {out}: ") and "--out" in done.error
    assert (tmp_path / "taken").read_text() == "mine"


def test_backend_that_is_not_installed_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit('ran')\n")
    # An environment in which there is no torch, whatever this one has.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'torch' else find(name, *a)\n"
    )
    paths = f"{tmp_path}:{command.ROOT}"
    done = command.diagnose("run", "train.py", "--backend", "torch", cwd=tmp_path, PYTHONPATH=paths)
    assert (done.code, done.stdout) == (1, "")
    assert "'torch' is not installed" in done.error and "keras-diagnose[torch]" in done.error
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("explain",),
        ("run",),
        ("run", "train.py", "more"),
        ("run", "train.py", "--backend", "theano"),
        ("run", "--", "train.py"),
        ("run", "train.py", "--out"),
        ("run", "train.py", "--overhead", "nan"),
        ("report",),
        ("report", "a.diag", "--model", "m:f", "--stored-model"),
        ("scenarios", "more"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit('ran')\n")
    done = diagnose(*arguments, cwd=tmp_path)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: python -m diagnose") and "Traceback" not in done.stderr


def test_help_shows_where_the_scripts_arguments_go(tmp_path: Path) -> None:
    done = diagnose("run", "--help", cwd=tmp_path)
    assert done.code == 0
    assert "(NAME|SCRIPT.py | -m MODULE) [-- SCRIPT ARGS]" in done.stdout.splitlines()[0]

"""What importing costs: Keras, Matplotlib and pandas load when used, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import start, strict_json

HEAVY = {"keras", "tensorflow", "jax", "torch", "numpy", "pandas", "matplotlib", "jinja2", "sqlite3", "wrapt"}


def loaded(code: str, cwd: Path) -> set[str]:
    """The top-level modules that are loaded after this code ran."""
    end = "\nimport json, sys\nprint(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = start("-c", code + end, cwd=cwd).done()
    assert done.code == 0, done.stderr
    return set(strict_json(done.stdout))


def test_import_loads_nothing_heavy(tmp_path: Path) -> None:
    assert not loaded("import diagnose; diagnose.__version__; dir(diagnose); import diagnose.errors", tmp_path) & HEAVY


@pytest.mark.parametrize(
    "module", ["analysis", "cli.run", "cli.report", "report", "tracefile.reader", "rules", "decide.verdict"]
)
def test_all_but_recording_and_replay_loads_without_keras_and_plots(module: str, tmp_path: Path) -> None:
    code = f"import diagnose.{module}"
    assert not loaded(code, tmp_path) & {"keras", "tensorflow", "jax", "torch", "matplotlib", "pandas"}


def test_public_names_are_there(tmp_path: Path) -> None:
    code = (
        "import diagnose\n"
        "assert set(dir(diagnose)) >= {'Tracer', 'Diagnosis', 'DiagnoseError', 'read_trace'}\n"
        "assert issubclass(diagnose.DiagnoseError, Exception)\n"
        "from diagnose import Diagnosis, read_trace\n"
        "try:\n    diagnose.tracer\nexcept AttributeError as error:\n    assert \"'tracer'\" in str(error)\n"
        "else:\n    raise SystemExit('no error')"
    )
    assert not loaded(code, tmp_path) & {"keras", "tensorflow", "matplotlib", "pandas"}

"""`%load_ext diagnose` and `%%diagnose` in a real IPython shell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest

from diagnose import read_trace

pytest.importorskip("IPython")

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

SETUP = """
import keras
from tests.attach.fits import fit, model, rows
x, y = rows()
"""


@pytest.fixture(scope="module")
def shell() -> Iterator[Any]:
    shell = InteractiveShell.instance(colors="nocolor")
    shell.run_cell("%load_ext diagnose").raise_error()
    shell.run_cell(SETUP).raise_error()
    yield shell
    shell.run_cell("%unload_ext diagnose").raise_error()
    assert "diagnose" not in shell.magics_manager.magics["cell"]
    InteractiveShell.clear_instance()


def test_diagnosis_is_shown_after_the_cell(shell: Any) -> None:
    with capture_output() as shown:
        result = shell.run_cell("%%diagnose\ntrained, losses = fit()\nprint('ran')\nlosses[0] > 0")
    result.raise_error()
    assert shown.stdout.index("ran") < shown.stdout.index("True")  # the last value shows, as in any cell
    (diagnosis,) = shell.user_ns["_diagnoses"]
    (output,) = shown.outputs
    assert diagnosis.headline.split(";")[0] in output.data["text/plain"]
    assert output.data["text/html"].startswith("<div") and "<svg" in output.data["text/html"]
    assert [row.logged["loss"] for row in diagnosis.epoch_rows] == shell.user_ns["losses"]
    assert shell.user_ns["trained"].built and "fit" not in vars(keras.Model)


def test_exception_of_the_cell_comes_up_as_usual(shell: Any, tmp_path: Path) -> None:
    with capture_output() as shown:
        result = shell.run_cell(f"%%diagnose {tmp_path} --only-fit 2\nfor seed in range(3):\n    fit(seed)\n1 / 0")
    assert isinstance(result.error_in_exec, ZeroDivisionError)
    assert "1 / 0" in shown.stdout and "notebook.py" not in shown.stdout
    assert [d.fit for d in shell.user_ns["_diagnoses"]] == [2] and len(shown.outputs) == 1
    assert {"fit-2.diag", "report.html"} <= {p.name for p in tmp_path.iterdir()}
    with read_trace(tmp_path / "fit-2.diag") as trace:
        assert trace.status == "complete"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("%%diagnose\n2 + 2", "made no fit"),
        ("%%diagnose --none-such\n2 + 2", "Usage: %%diagnose [FOLDER] [--only-fit N]"),
        ("%%diagnose\n2 +", "SyntaxError"),
    ],
)
def test_cells_without_a_fit(shell: Any, cell: str, text: str) -> None:
    with capture_output() as shown:
        shell.run_cell(cell)
    assert text in shown.stdout + shown.stderr
    assert shown.outputs == []

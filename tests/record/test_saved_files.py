from __future__ import annotations

import os
from pathlib import Path

import pytest

from diagnose.record import saved_files
from diagnose.record.saved_files import MOST_FILES, SavedFiles


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_files, "_SAVED", {})


def fit(path: Path, content: str, epoch: int = 1, loss: float = 1.0) -> dict[str, object] | None:
    files = SavedFiles(f"{content}.diag")
    path.write_text(content)
    said = files.saved(str(path), epoch)
    files.epoch(epoch, {"loss": loss, "name": "x"})
    files.ended()
    return said


def test_says_what_an_earlier_fit_had_saved_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert fit(path, "one", 3, 0.5) is None
    assert fit(path, "two") == {"path": str(path), "trace": "one.diag", "epoch": 3, "logs": {"loss": 0.5}}


def test_says_it_once_and_not_of_the_fits_own_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    fit(path, "one")
    files = SavedFiles("two.diag")
    path.write_text("two")
    assert files.saved(str(path), 1) is not None and files.saved(str(path), 2) is None


def test_forgets_a_file_that_something_else_changed_or_took_away(tmp_path: Path) -> None:
    path = tmp_path / "a"
    fit(path, "one")
    path.write_text("someone else's")
    assert fit(path, "two") is None
    os.remove(path)
    assert fit(path, "three") is None


def test_memory_is_bounded(tmp_path: Path) -> None:
    for number in range(MOST_FILES + 5):
        fit(tmp_path / str(number), "x")
    assert len(saved_files._SAVED) == MOST_FILES
    assert fit(tmp_path / "0", "again") is None and fit(tmp_path / str(MOST_FILES), "again") is not None

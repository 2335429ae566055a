"""Files of up to 10 MB that would keep a reader busy: every verb reads or refuses them within 10 seconds and 500 MB."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.warm import without_keras
from tests.hostile import forge, whole
from tests.hostile.bombs import BOMBS

if not Path("/proc/self/status").exists():
    pytest.skip("peak memory is read from /proc", allow_module_level=True)

SECONDS = 10
"""Of processor time: what a busy machine does meanwhile does not count."""
MEGABYTES = 500
REFUSED = ("pages", "journal", "empty", "long integers", "deep", "tiny", "many names")
"""Beginnings of the names of those that must be refused."""

VERBS = {
    "report": ("report", "trace.diag", "--out", "out"),
    "report-json": ("report", "trace.diag", "--out", "out", "--json"),
    "policies": ("policies", "trace.diag"),
    "identify": ("identify", "trace.diag", "weights.npz"),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    whole.write(folder / "trace.diag")
    whole.weights_file(folder / "weights.npz", 9)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_is_read_or_refused_within_bounds(name: str, base: Path, tmp_path: Path) -> None:
    for file in base.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    BOMBS[name](tmp_path / "trace.diag")
    assert (tmp_path / "trace.diag").stat().st_size <= 10_000_000
    verbs = ("report", "report-json") if name.startswith("stored") else ("report", "policies", "identify")
    for verb in verbs:
        code, errors, seconds, megabytes = measured(VERBS[verb], tmp_path)
        assert seconds < SECONDS and megabytes < MEGABYTES, verb
        assert "Traceback" not in errors and "itself" not in errors
        if name.startswith(REFUSED):
            assert code == 1 and len(errors.splitlines()) == 1, verb
        else:
            assert code == 0, verb


def test_the_whole_trace_itself_is_read(base: Path) -> None:
    for words in VERBS.values():
        code, errors, _, _ = measured(words, base)
        assert code == 0 and not errors


def measured(words: tuple[str, ...], cwd: Path) -> tuple[int, str, float, float]:
    """Exit code, standard error, processor seconds and peak MB of one command, in a process without Keras."""
    used = without_keras(*words, cwd=cwd, limit=2 * SECONDS)
    return used.code, used.stderr, used.seconds, used.megabytes


def test_a_page_tree_is_left_after_so_many_steps(base: Path, tmp_path: Path) -> None:
    # Small enough for every run of the tests: each way of opening has one.
    for name in ("pages of seal", "pages of sqlite_master", "pages without a seal", "journal"):
        path = tmp_path / "trace.diag"
        path.write_bytes((base / "trace.diag").read_bytes())
        BOMBS[name](path)
        code, errors, seconds, _ = measured(VERBS["identify"], _with_weights(base, tmp_path))
        assert code == 1 and "altered or damaged" in errors and seconds < SECONDS, name


def _with_weights(base: Path, folder: Path) -> Path:
    (folder / "weights.npz").write_bytes((base / "weights.npz").read_bytes())
    return folder


def test_a_fit_of_many_epochs_is_no_forgery(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.diag"
    path.write_bytes((base / "trace.diag").read_bytes())
    row = next(columns for table, columns in reversed(forge.records(path)) if table == "epochs")
    forge.add(path, "epochs", [[5 + i, 12, 12, *row[3:]] for i in range(3000)])
    code, errors, _, _ = measured(VERBS["report"], tmp_path)
    assert code == 0 and not errors
    assert "epochs are left out here" in (tmp_path / "out" / "report.html").read_text("utf-8")

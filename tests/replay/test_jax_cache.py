"""Compiled replays of JAX on disk: there for the time of an analysis, and never in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.skipif(os.environ.get("KERAS_BACKEND") != "jax", reason="JAX only")

if os.environ.get("KERAS_BACKEND") == "jax":
    from diagnose.replay.keras.backends import jax_cache

NAMES = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


def compiled(number: int) -> None:
    """Something that no earlier test has compiled."""
    assert jax.jit(lambda x: (x * number).sum())(jax.numpy.arange(3.0)) == 3.0 * number


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(autouse=True)
def every(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(jax_cache._SETTINGS, "jax_persistent_cache_min_compile_time_secs", 0.0)


def test_only_what_is_compiled_within_is_kept_and_the_settings_are_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jax_cache.SWITCH, str(tmp_path))
    before = [getattr(jax.config, name) for name in NAMES]
    with jax_cache.on_disk():
        compiled(11)
    kept = files(tmp_path)
    assert kept and [getattr(jax.config, name) for name in NAMES] == before
    compiled(12)
    assert files(tmp_path) == kept
    with pytest.raises(ZeroDivisionError), jax_cache.on_disk():
        raise ZeroDivisionError
    assert [getattr(jax.config, name) for name in NAMES] == before


def test_no_more_bytes_than_allowed_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(jax_cache.SWITCH, str(tmp_path))
    monkeypatch.setattr(jax_cache, "MOST_BYTES", 1)
    with jax_cache.on_disk():
        compiled(21)
        assert files(tmp_path)
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 1


def test_a_folder_that_others_may_write_to_or_that_is_none_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jax_cache.SWITCH, str(tmp_path / "open"))
    folder = jax_cache._folder()
    assert folder is not None and folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    (tmp_path / "file").write_text("")
    for place in ("open", "file"):
        monkeypatch.setenv(jax_cache.SWITCH, str(tmp_path / place))
        with jax_cache.on_disk():
            assert jax.config.jax_compilation_cache_dir is None
            compiled(31)
    assert files(tmp_path / "open") == []


def test_switched_off_and_beside_a_cache_of_the_users_nothing_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jax_cache.SWITCH, "off")
    with jax_cache.on_disk():
        assert jax.config.jax_compilation_cache_dir is None
    monkeypatch.setenv(jax_cache.SWITCH, str(tmp_path / "ours"))
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
    try:
        with jax_cache.on_disk():
            assert jax.config.jax_compilation_cache_dir == str(tmp_path / "theirs")
    finally:
        jax.config.update("jax_compilation_cache_dir", None)

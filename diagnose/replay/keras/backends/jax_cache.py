"""Compiled replays of JAX on disk, so that the next process need not compile them again. Set for the time of an
analysis only: the user's own steps neither use it nor are kept in it, and a cache of theirs is left alone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jax
from jax.experimental.compilation_cache import compilation_cache

SWITCH: Final = "DIAGNOSE_COMPILE_CACHE"
"""The environment variable: `off`, or a folder to use in place of the user's cache folder."""

MOST_BYTES: Final = 256 << 20
"""Of all files; those not used for longest go first."""

MIN_SECONDS: Final = 0.1
"""What is compiled in less is not kept."""

_SETTINGS: Final[dict[str, Any]] = {
    "jax_persistent_cache_min_compile_time_secs": MIN_SECONDS,
    "jax_persistent_cache_min_entry_size_bytes": 0,
    "jax_persistent_cache_enable_xla_caches": "none",
}
_DIR: Final = "jax_compilation_cache_dir"
_lock = threading.Lock()


@contextlib.contextmanager
def on_disk() -> Iterator[None]:
    """Within: what is compiled is taken from the disk, or kept there. Does nothing where that is switched off, the
    user has a cache of their own, or the folder cannot be used."""
    before: dict[str, Any] | None = None
    folder = None
    if _lock.acquire(blocking=False):  # another thread's analysis goes without
        try:
            folder = _folder()
            before = None if folder is None else _set(folder)
            yield
        finally:
            if before is not None:
                _put_back(before)
            _lock.release()
        if folder is not None and before is not None:
            _pruned(folder)
    else:
        yield


def _set(folder: Path) -> dict[str, Any] | None:
    """The settings as they were; None where they stay."""
    config = jax.config
    if getattr(config, _DIR, None) is not None or not getattr(config, "jax_enable_compilation_cache", True):
        return None
    before = {_DIR: None}
    for name, value in _SETTINGS.items():
        if hasattr(config, name):  # not in the oldest release
            before[name] = getattr(config, name)
            config.update(name, value)
    config.update(_DIR, str(folder))
    compilation_cache.reset_cache()  # JAX decides once, when something is first compiled, whether there is a cache
    return before


def _put_back(before: dict[str, Any]) -> None:
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def _folder() -> Path | None:
    """The folder, there and ours alone; None where it is not to be used: what lies in it is run."""
    asked = os.environ.get(SWITCH, "")
    if asked.lower() in ("off", "0", "no", "false"):
        return None
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = (Path(asked) if asked else home / "keras-diagnose") / f"jax-{_machine()}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        ours = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o022)
        return folder.absolute() if ours and stat.S_ISDIR(found.st_mode) and os.access(folder, os.W_OK) else None
    except (OSError, RuntimeError):
        return None


def _machine() -> str:
    """What compiled code depends on besides what JAX has in its keys: on a shared home, another machine's may know
    other instructions."""
    about = [platform.machine(), platform.processor(), jax.__version__]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        about += [next((line for line in lines if line.startswith(key)), "") for key in ("model name", "flags")]
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:12]


def _pruned(folder: Path) -> None:
    with contextlib.suppress(OSError):
        files = sorted(
            ((f.stat(), f) for f in folder.iterdir()), key=lambda each: max(each[0].st_atime, each[0].st_mtime)
        )
        total = sum(about.st_size for about, _ in files)
        for about, file in files:
            if total <= MOST_BYTES:
                break
            file.unlink(missing_ok=True)
            total -= about.st_size

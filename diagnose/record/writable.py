"""Whether a trace can be written at a path: asked before any training."""

from __future__ import annotations

import tempfile
from pathlib import Path

from diagnose.errors import TraceWriteError
from diagnose.record.handlers import let_through
from diagnose.tracefile.create import refuse_link


def check_writable(path: Path) -> None:
    """Raises TraceWriteError where no trace can be written at `path`."""
    if path.is_dir():
        raise TraceWriteError(f"{path} is a folder; name a file in it.")
    refuse_link(path)
    try:
        if path.exists() and path.stat().st_size:
            with path.open("rb") as file:
                if not file.read(16).startswith(b"SQLite format 3"):
                    raise TraceWriteError(f"{path} exists and is not a trace; choose another path.")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        let_through(error)
        raise TraceWriteError(f"Cannot write a trace in {path.parent}: {error.strerror or error}.") from error

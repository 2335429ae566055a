"""Tells a fit of the files that its model is saved to, by whichever callback. Changes nothing in a save."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from diagnose.record.handlers import let_through

if TYPE_CHECKING:
    from diagnose.record.run import Run

SAVES: Final = ("save", "save_weights")
"""Methods that write a model to a file."""


def saving(original: Any, runs: Iterable[Run]) -> Any:
    """The method, which notes its file; the probe behind the callback that called it takes it from there."""

    @functools.wraps(original)
    def noted(model: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(model, *args, **kwargs)
        try:
            run = next((run for run in runs if run.model is model and run.recorder.active()), None)
            path = args[0] if args else kwargs.get("filepath")
            if run is not None and isinstance(path, (str, os.PathLike)):
                run.recorder.saved_files.append(os.fspath(path))
        except Exception as error:
            let_through(error)
        return result

    return noted

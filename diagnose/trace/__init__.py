"""The trace file: data model, format, writer and reader. Knows nothing of Keras.

Called as a function, `diagnose.trace(...)`, it is `diagnose.session.trace`.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any


class _Callable(types.ModuleType):
    """A package of the name of a public function: an import of the one would hide the other."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Traces every `fit` inside `with diagnose.trace(...)`: see `diagnose.session.trace`."""
        return importlib.import_module("diagnose.session").trace(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable

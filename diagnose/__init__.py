"""Explains metric and weight timing mismatches in Keras training, with proof by replay.

Public names load when used: `import diagnose` imports neither Keras nor matplotlib.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diagnose.diagnosis import Diagnosis
    from diagnose.errors import DiagnoseError
    from diagnose.record.tracer import Tracer
    from diagnose.record.watch import watch
    from diagnose.session import trace
    from diagnose.trace.reader import Trace, read_trace

__version__ = "0.1.0"

_HOMES = {
    "Diagnosis": "diagnose.diagnosis",
    "DiagnoseError": "diagnose.errors",
    "Trace": "diagnose.trace.reader",
    "Tracer": "diagnose.record.tracer",
    "load_ipython_extension": "diagnose.notebook",
    "read_trace": "diagnose.trace.reader",
    "unload_ipython_extension": "diagnose.notebook",
    "watch": "diagnose.record.watch",
}

__all__ = ["DiagnoseError", "Diagnosis", "Trace", "Tracer", "__version__", "read_trace", "trace", "watch"]


def __getattr__(name: str) -> Any:
    if name == "trace":
        # The subpackage of this name is the function, too: importing it always sets this attribute.
        return importlib.import_module("diagnose.trace")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'diagnose' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

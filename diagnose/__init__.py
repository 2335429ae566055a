"""Explains metric and weight timing mismatches in Keras training, with proof by replay.

Public names load when used: `import diagnose` imports neither Keras nor matplotlib.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from diagnose.version import __version__

if TYPE_CHECKING:
    from diagnose.api.session import trace
    from diagnose.errors import DiagnoseError
    from diagnose.record.tracer import Tracer
    from diagnose.record.watch import watch
    from diagnose.result.diagnosis import Diagnosis
    from diagnose.tracefile.reader import Trace, read_trace


_HOMES = {
    "Diagnosis": "diagnose.result.diagnosis",
    "DiagnoseError": "diagnose.errors",
    "Trace": "diagnose.tracefile.reader",
    "Tracer": "diagnose.record.tracer",
    "load_ipython_extension": "diagnose.api.notebook",
    "read_trace": "diagnose.tracefile.reader",
    "trace": "diagnose.api.session",
    "unload_ipython_extension": "diagnose.api.notebook",
    "watch": "diagnose.record.watch",
}

__all__ = ["DiagnoseError", "Diagnosis", "Trace", "Tracer", "__version__", "read_trace", "trace", "watch"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'diagnose' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""Which engine replays a trace: the one place that knows which framework made it. Each is imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diagnose.errors import ReplayError
from diagnose.replay.engine import EngineFactory
from diagnose.tracefile.reader import Trace


def factory_of(trace: Trace, model: Any, compiled: Mapping[str, Any]) -> EngineFactory:
    """The engine for the model that made a trace, or for one of the same architecture.

    Args:
        compiled: what the framework had made of it for the traced fit, where it may be another by now.

    Raises:
        ReplayError: there is no engine for this framework.
    """
    framework = trace.header.framework
    if framework == "keras":
        from diagnose.replay.keras.factory import KerasFactory

        return KerasFactory(model, compiled)
    raise ReplayError(f"traces of {framework!r} cannot be replayed by this release")

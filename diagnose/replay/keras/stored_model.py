"""Builds a model from the architecture stored in a trace: built-in Keras objects only, checked before anything is
built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from diagnose.errors import DiagnoseError
from diagnose.replay.keras.stored_check import Refused, check
from diagnose.replay.keras.stored_size import TooMuch, check_work


def build(stored: Any) -> Any:
    """The compiled model of a trace, from the architecture in its header.

    Raises:
        DiagnoseError: the trace stores none, or it holds anything but built-in Keras objects.
    """
    if not isinstance(stored, Mapping) or not stored.get("compile"):
        raise DiagnoseError("This trace stores no architecture that can be built; use --model MODULE:FUNCTION.")
    try:
        check(stored.get("model"), stored["compile"])
        check_work(stored["model"])
    except (Refused, TooMuch) as refused:
        raise DiagnoseError(f"The stored architecture {_shown(refused)}; use --model MODULE:FUNCTION.") from None
    except RecursionError:
        raise DiagnoseError("The stored architecture is nested too deeply; use --model MODULE:FUNCTION.") from None
    import keras

    try:
        model = keras.models.model_from_json(json.dumps(stored["model"]))
        model.compile_from_config(json.loads(json.dumps(stored["compile"])))  # Keras takes entries out of what it gets
    except Exception as error:
        raise DiagnoseError(
            f"The stored architecture cannot be built ({type(error).__name__}: {_shown(error)})."
        ) from error
    return model


def _shown(error: BaseException) -> str:
    """What an error says, in one short line: it may quote any text of the file."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)[:2000]).split())
    return text if len(text) <= 300 else f"{text[:299]}…"

"""A traced fit of any model, for rules that read how metrics add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from diagnose import Diagnosis, Tracer


@dataclass
class Traced:
    diagnosis: Diagnosis
    tracer: Tracer
    history: dict[str, list[float]]

    def finding(self, rule: str) -> Any:
        return next(f for f in self.diagnosis.findings if f.rule == rule)


def traced(model: Any, x: Any, y: Any, *, evaluate: Any = None, epochs: int = 1, **arguments: Any) -> Traced:
    """`fit` in order of the rows; `evaluate` as for `Tracer.diagnose`."""
    tracer = Tracer()
    arguments = {"shuffle": False, "verbose": 0, **arguments}
    history = model.fit(x, y, epochs=epochs, callbacks=[*arguments.pop("callbacks", ()), tracer], **arguments)
    return Traced(tracer.diagnose(evaluate=evaluate), tracer, history.history)


def numpy(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value))

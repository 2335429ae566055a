"""The code in a finding's advice, as a user would paste it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import keras
import numpy as np

CURED: dict[str, str] = {}
"""Rules by whose advice a test was seen to go: the rule, and the name of the test."""

_Test = TypeVar("_Test", bound=Callable[..., Any])


def blocks(advice: str) -> list[str]:
    """The ```python blocks; an error where there is none or one does not compile."""
    found = re.findall(r"```python\n(.*?)```", advice, re.DOTALL)
    assert found, "no code to paste"
    for code in found:
        compile(code, "<advice>", "exec")
    return found


def cures(rule: str) -> Callable[[_Test], _Test]:
    """Marks a test that runs the advice of this rule and shows by numbers that it helps."""

    def mark(test: _Test) -> _Test:
        CURED[rule] = getattr(test, "__name__", "")
        return test

    return mark


def paste(advice: str, *, block: int = 0, fill: dict[str, str] | None = None, **names: Any) -> dict[str, Any]:
    """Runs a block of the advice, and returns the names after it. `fill`: what a user puts in the place of each
    `name=...` and other text; nothing else is changed."""
    code = blocks(advice)[block]
    for text, filled in [*(fill or {}).items(), ("epochs=...", "epochs=6")]:
        code = code.replace(text, filled)
    assert "..." not in code, code
    scope = {"keras": keras, "np": np, **names}
    exec(compile(code, "<advice>", "exec"), scope)
    return scope

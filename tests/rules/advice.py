"""The code in a finding's advice, as a user would paste it."""

from __future__ import annotations

import re


def blocks(advice: str) -> list[str]:
    """The ```python blocks; an error where there is none or one does not compile."""
    found = re.findall(r"```python\n(.*?)```", advice, re.DOTALL)
    assert found, "no code to paste"
    for code in found:
        compile(code, "<advice>", "exec")
    return found

"""Which releases of Keras this package was tested with, and what to say of others. Imports no Keras."""

from __future__ import annotations

import re
import sys

from diagnose.frameworks.keras.relied_on import FIRST, LAST

OLDEST, NEWEST = (".".join(map(str, release)) for release in (FIRST, LAST))


def loaded() -> str | None:
    """The version of the Keras that this process has loaded, or None."""
    version = getattr(sys.modules.get("keras"), "__version__", None)
    return None if version is None else str(version)


def tested(version: str) -> bool:
    """Whether a release lies between the oldest and the newest that were tested.

    Development versions and release candidates do not count, nor does a later patch of the newest minor release: what
    is relied on is private, and Keras has no reason to leave it alone in a patch.
    """
    parts = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", version)
    return parts is not None and FIRST <= tuple(map(int, parts.groups())) <= LAST


def untested(version: str | None) -> str | None:
    """A sentence for the user where a version is known and was not tested, else None."""
    if version is None or tested(version):
        return None
    return f"Keras {version[:40]} was not tested with this release of diagnose (tested: {OLDEST} to {NEWEST})."

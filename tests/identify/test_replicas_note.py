"""The note on replicas' own statistics, on hand-made traces."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from diagnose.analysis.headline import REPLICAS_NOTE, with_notes
from diagnose.result.diagnosis import Restoration


def trace(group: str, then: bytes, after: bytes) -> Any:
    states = [SimpleNamespace(arrays=(b"kernel", then)), SimpleNamespace(arrays=(b"kernel", after))]
    return SimpleNamespace(
        header=SimpleNamespace(variables=[SimpleNamespace(group="trainable"), SimpleNamespace(group=group)]),
        final=states[1],
        version=lambda version: states[0] if version == 3 else None,
    )


@pytest.mark.parametrize(
    ("group", "then", "after", "noted"),
    [
        ("replica", b"mean 1", b"mean 0", True),
        ("replica", b"mean 1", b"mean 1", False),
        ("seed", b"state 1", b"state 2", False),
    ],
)
def test_it_is_given_where_a_restore_changed_what_other_replicas_had(
    group: str, then: bytes, after: bytes, noted: bool
) -> None:
    r = Restoration("EarlyStopping", "val_loss", 3, 0.5, 3, 3, 0.5, None, (3,), 0, "aligned", None)
    found = with_notes(r, [], trace(group, then, after))
    assert found is not None
    assert (REPLICAS_NOTE() in found.notes) is noted

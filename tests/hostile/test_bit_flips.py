"""Single flipped bits anywhere in a sealed trace."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from diagnose.errors import ReplayError, TraceError
from diagnose.tracefile.reader import read_trace, store_diagnosis
from tests.tracefile import sample

FLIPS = 600
PAGE = 65536


def positions(content: bytes, chance: random.Random) -> list[int]:
    """Bits to flip: in used bytes, in the heads of pages, anywhere."""
    used = [i for i, byte in enumerate(content) if byte]
    heads = [page + i for page in range(0, len(content), PAGE) for i in range(16)]
    bytes_ = (
        chance.choices(used, k=FLIPS // 2)
        + chance.choices(heads, k=FLIPS // 3)
        + chance.choices(range(len(content)), k=FLIPS // 6)
    )
    return [8 * i + chance.randrange(8) for i in bytes_] + [8 * i + bit for i in range(100) for bit in (0, 7)]


def test_every_flipped_bit_is_found_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.diag"
    sample.write_sample(path)
    store_diagnosis(path, {"verdict": "shifted"})
    with read_trace(path) as trace:
        expected = sample.everything(trace)
    content = bytearray(path.read_bytes())
    found = harmless = 0
    for bit in positions(bytes(content), random.Random(3)):
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        content[bit // 8] ^= 1 << bit % 8
        try:
            with read_trace(path) as trace:
                assert sample.everything(trace) == expected, f"bit {bit} changed a value unseen"
            harmless += 1
        except (TraceError, ReplayError):
            found += 1
    assert found > FLIPS // 3 and harmless


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_blocks_are_found_or_change_nothing(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "a.diag"
    sample.write_sample(path)
    with read_trace(path) as trace:
        expected = sample.everything(trace)
    content = path.read_bytes()
    chance = random.Random(seed)
    for _ in range(60):
        damaged = bytearray(content)
        start = chance.randrange(len(content) // 512) * 512
        other = chance.randrange(len(content) // 512) * 512
        damaged[start : start + 512] = chance.choice((bytes(512), content[other : other + 512], chance.randbytes(512)))
        path.write_bytes(damaged)
        try:
            with read_trace(path) as trace:
                assert sample.everything(trace) == expected
        except (TraceError, ReplayError):
            pass

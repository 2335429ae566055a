"""Maps between inputs: each is found from its numbers, undone, and not taken for another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from diagnose.analysis.maps import between

RNG = np.random.default_rng(0)
FLAT = RNG.normal(3, 2, size=(20, 5)).astype("float32")
IMAGES = RNG.uniform(0, 1, size=(12, 4, 4, 3)).astype("float32")
MEAN, STD = FLAT.mean(0), FLAT.std(0)

MAPS: dict[str, tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]] = {
    "scaled": (IMAGES, lambda x: x * 255),
    "scaled-by-column": (FLAT, lambda x: (x - MEAN) / STD),
    "cast": (FLAT * 10, lambda x: x.astype("int32")),
    "channels-reversed": (IMAGES, lambda x: x[..., ::-1]),
    "transposed": (IMAGES, lambda x: x.transpose(0, 2, 1, 3)),
    "channels-moved": (IMAGES, lambda x: x.transpose(0, 3, 1, 2)),
    "reshaped": (IMAGES, lambda x: x.reshape(12, -1)),
}


@pytest.mark.parametrize("name", MAPS)
def test_the_map_is_named_and_undone(name: str) -> None:
    fits, done = MAPS[name]
    found = between(done(fits), fits)
    assert found is not None and found.name == name
    assert found.undone.shape == fits.shape and np.allclose(found.undone, fits, atol=2e-3)


def test_scale_and_shift_are_told() -> None:
    found = between((FLAT - 4) / 2, FLAT)
    assert found is not None and found.scale == pytest.approx(2, rel=1e-5) and found.shift == pytest.approx(4, rel=1e-5)
    whole = RNG.integers(0, 256, IMAGES.shape).astype("uint8")
    only = between(whole, whole / 255.0)
    assert only is not None and only.shift == 0.0, "a shift by rounding is none"


@pytest.mark.parametrize(
    "other",
    [RNG.normal(size=FLAT.shape), FLAT[::-1], FLAT + RNG.normal(0, 0.05, FLAT.shape), FLAT**2, np.zeros_like(FLAT)],
    ids=["others", "other order", "noise", "squares", "zeros"],
)
def test_other_rows_are_no_map(other: np.ndarray) -> None:
    assert between(other, FLAT) is None


def test_few_rows_and_words_are_no_map() -> None:
    assert between(FLAT[:3] * 2, FLAT[:3]) is None
    assert between(FLAT.astype(str), FLAT) is None
    assert between(FLAT[:5], FLAT[:4]) is None

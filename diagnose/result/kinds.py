"""The kinds of numbers in a diagnosis, as its codec tells them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    Real = float
    """A float64. At run time another name, by which the codec knows where "NaN" and its kin stand for numbers."""
else:
    from numbers import Real

_LARGEST = 2**53  # counts and versions beyond this are no run's, and would overflow where they are drawn
Count = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]
Signed = Annotated[int, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]

__all__ = ["Count", "Real", "Signed"]

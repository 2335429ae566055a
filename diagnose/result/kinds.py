"""The kinds of numbers in a diagnosis, as its codec tells them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

if TYPE_CHECKING:
    Real = float
    """A float64. At run time another name, by which the codec knows where "NaN" and its kin stand for numbers."""
else:
    from numbers import Real

_LARGEST = 2**53  # counts and versions beyond this are no run's, and would overflow where they are drawn
Count = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]
Signed = Annotated[int, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]

How = Literal["recorded", "made-again", "epoch-ends"]
"""Where the weights of an epoch's versions come from: all were recorded; they were made again, and proven to end as
recorded; or those of its end alone are known, and `why`."""

__all__ = ["Count", "How", "Real", "Signed"]

"""Inputs of rows that fit did not have, far from the range of fit's: what scale they are on, and the same on fit's."""

from __future__ import annotations

from typing import Final

import numpy as np

from diagnose.analysis.call_data import Known
from diagnose.record.call_items import Call, Calls
from diagnose.result.calls import OtherScale
from diagnose.tracefile.model import NDArray

FAR: Final = 8.0
"""How many times as wide, or as narrow, a range has to be as fit's to be another scale."""

USUAL: Final = ((1 / 255, 0.0), (1 / 127.5, -1.0), (255.0, 0.0), (127.5, 127.5))
"""Scales of images, as (factor, shift)."""

MOST_ROWS: Final = 512
"""Of fit's rows that are looked at."""


def on_another_scale(known: Known, calls: Calls, call: Call) -> tuple[OtherScale, NDArray] | None:
    """With the inputs on fit's scale: by a scale that images have where that takes them to fit's range, else each
    column with the mean and spread of fit's. None where the ranges are alike, or nothing can be told. Raises
    ReplayError where the trace lacks fit's rows."""
    rows = call.rows
    if rows is None or rows.y is None or known.signature is None or len(rows.leaves) != 2:
        return None
    leaves, fitted = calls.arrays(rows.leaves), np.array(sorted(known.training)[:MOST_ROWS], np.int64)
    if leaves is None or not len(fitted):
        return None
    given, own = leaves[0], known.batch(fitted).x
    if not isinstance(own, np.ndarray) or any(a.dtype.kind not in "biuf" or not a.size for a in (given, own)):
        return None
    x, fit = given.astype("float64"), own.astype("float64")
    if given.shape[1:] != own.shape[1:] or not (np.isfinite(x).all() and np.isfinite(fit).all()):
        return None
    low, high, fit_low, fit_high = (float(v) for a in (x, fit) for v in (a.min(), a.max()))
    wide, fit_wide = high - low, fit_high - fit_low
    if not (wide and fit_wide) or 1.0 / FAR < wide / fit_wide < FAR:
        return None
    for scale, shift in USUAL:
        ends = scale * low + shift, scale * high + shift
        near = fit_low - 0.1 * fit_wide <= ends[0] and ends[1] <= fit_high + 0.1 * fit_wide
        if near and ends[1] - ends[0] >= 0.5 * fit_wide:
            return OtherScale(low, high, fit_low, fit_high, scale, shift), (scale * x + shift).astype(own.dtype)
    if x.ndim != 2:
        return None
    spread = np.where(x.std(0) > 0.0, x.std(0), 1.0)
    return OtherScale(low, high, fit_low, fit_high), ((x - x.mean(0)) / spread * fit.std(0) + fit.mean(0)).astype(
        own.dtype
    )

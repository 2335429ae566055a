"""A fit to be killed: says how many batches it has trained on, one line each, and never ends. `killed_fit.py TRACE`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import keras

from diagnose import Tracer
from tests.record.fits import linear, rows


class Reports(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.batches = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches += 1
        print(self.batches, flush=True)
        time.sleep(0.005)


if __name__ == "__main__":
    x, y = rows(12)
    linear().fit(x, y, batch_size=1, epochs=10**6, verbose=0, callbacks=[Reports(), Tracer(Path(sys.argv[1]), level=3)])

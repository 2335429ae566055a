"""What no type of the header takes is left out, and nothing else; the trace of such a fit can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from diagnose.record.fitting import fitting
from diagnose.tracefile.about import Header
from diagnose.tracefile.events import FileSaved
from diagnose.tracefile.reader import read_trace

CALLBACK = {"class": "A", "bases": [], "builtin": False, "settings": {"a": 1}, "hooks": [], "thresholds": []}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"fit": {"number": 2, "arguments": {"epochs": "0x1", "steps": 3}}},
         {"fit": {"number": 2, "arguments": {"steps": 3}}}),
        ({"fit": {"number": -2, "arguments": {"epochs": [], "steps": {}}}}, {"fit": {"arguments": {}}}),
        ({"callbacks": [CALLBACK, {**CALLBACK, "reads": {"h": 3}}]}, {"callbacks": [CALLBACK, CALLBACK]}),
        ({"callbacks": [{**CALLBACK, "hooks": None}]}, None),
        ({"environment": {"keras": 3}}, {}),
        ({"backend": 7, "another": 7}, {"another": 7}),
        ({"model": {"layers": [{"name": "a", "class": "B", "kind": None, "momentum": "high"}]}},
         {"model": {"layers": [{"name": "a", "class": "B", "kind": None}]}}),
    ],
)  # fmt: skip
def test_only_what_does_not_fit_is_left_out(value: Any, kept: Any) -> None:
    assert fitting(value, Header) == kept


def test_a_detail_without_what_it_is_about_is_none() -> None:
    whole = {"callback": "C", "place": 0, "version": 1, "path": "p", "bytes": -1}
    assert fitting(whole, FileSaved) == {k: v for k, v in whole.items() if k != "bytes"}
    assert fitting({**whole, "path": 3}, FileSaved) is None


class Endless(keras.callbacks.Callback):  # type: ignore[misc]
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = True


def test_a_fit_for_ever_can_be_read(tmp_path: Path) -> None:
    # More bits than a trace holds of a number: it is described, and a description is no number of epochs.
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 1)), np.ones(4), epochs=2**600, verbose=0, callbacks=[Endless(), Tracer(tmp_path / "a.diag")])
    with read_trace(tmp_path / "a.diag") as trace:
        assert trace.status == "complete" and len(trace.epochs) == 1
        assert trace.header.fit.arguments.epochs is None and trace.header.fit.arguments.steps == 1

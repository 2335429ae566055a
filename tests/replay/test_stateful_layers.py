"""Stateful recurrent layers: their states go from batch to batch, and from fit into evaluate."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer

CARRIES = keras.backend.backend() != "jax"
"""On JAX what a step writes to untracked variables is lost, and stateful layers start from zero in every batch."""


def traced(cell: Any, **arguments: Any) -> tuple[Any, Any, np.ndarray, np.ndarray, Any]:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5, 2)).astype("float32")
    y = x.sum((1, 2)).reshape(-1, 1)
    model = keras.Sequential([keras.Input(batch_shape=(10, 5, 2)), cell(4, stateful=True), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.05), "mse", metrics=["mae"])
    tracer = Tracer()
    history = model.fit(x, y, batch_size=10, epochs=3, verbose=0, callbacks=[tracer], **arguments).history
    states = [np.array(keras.ops.convert_to_numpy(s)) for s in model.layers[0].states]
    diagnosis = tracer.diagnose()
    for before, after in zip(states, model.layers[0].states, strict=True):
        assert np.array_equal(before, keras.ops.convert_to_numpy(after)), "analysis changed the model"
    return diagnosis, model, x, y, history


@pytest.mark.parametrize("cell", [keras.layers.SimpleRNN, keras.layers.LSTM, keras.layers.GRU])
@pytest.mark.parametrize("shuffle", [False, True])
def test_replay_and_ledger(cell: Any, shuffle: bool) -> None:
    if keras.backend.backend() == "torch" and cell is not keras.layers.SimpleRNN:
        pytest.skip("on torch Keras itself cannot train this layer with stateful=True (an in-place change)")
    diagnosis, model, x, y, history = traced(cell, shuffle=shuffle)
    assert (diagnosis.replay.steps, diagnosis.replay.reproduced) == (12, 12)
    ledger = diagnosis.ledger("loss")
    assert ledger.attrs["logged"] == history["loss"][-1]
    amounts = ledger.set_index("factor").amount
    assert abs(amounts["residual"]) <= 1e-5 * history["loss"][-1]
    if not shuffle:  # else rows are evaluated in the order fit first saw them
        plain = model.evaluate(x, y, batch_size=10, verbose=0)[0]
        assert ledger.attrs["evaluated"] == pytest.approx(plain, rel=1e-6)
        assert ("other-training-mode" in amounts) == CARRIES


def test_states_in_validation_are_carried_too() -> None:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5, 2)).astype("float32")
    diagnosis, _, _, _, _ = traced(keras.layers.SimpleRNN, shuffle=False, validation_data=(x, x.sum((1, 2))[:, None]))
    assert (diagnosis.replay.steps, diagnosis.replay.reproduced) == (12, 12)
    residual = diagnosis.ledger("loss").set_index("factor").amount["residual"]
    assert abs(residual) <= 1e-5


@pytest.mark.skipif(not CARRIES, reason="on JAX no state is carried")
def test_value_from_zero_states() -> None:
    """Oracle: Keras's own evaluate after reset_state."""
    diagnosis, model, x, y, _ = traced(keras.layers.SimpleRNN, shuffle=False)
    carried = model.evaluate(x, y, batch_size=10, verbose=0, return_dict=True)
    model.layers[0].reset_state()
    from_zero = model.evaluate(x, y, batch_size=10, verbose=0, return_dict=True)
    finding = next(f for f in diagnosis.findings if f.rule == "state-carried")
    assert finding.metric is not None
    assert finding.effect == pytest.approx(abs(carried[finding.metric] - from_zero[finding.metric]), rel=1e-3)
    assert finding.effect > 0

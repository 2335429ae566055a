"""Many batches as one loop give what they give one by one, and what plain Keras gives."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import diagnose.replay.keras.engine as engines
from diagnose import Diagnosis, Tracer
from diagnose.replay.blocks import MOST_RUNS, Form, alike, blocks, stacked
from diagnose.replay.runs import BatchRun
from diagnose.tracefile.model import Batch

ROWS = 44  # the last batch of 8 is short
EPOCHS = 3

needs_loop = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="no other backend loops")


def rows() -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(ROWS, 6, 2)).astype("float32")
    return x, (x.sum(axis=(1, 2)) > 0).astype("float32")[:, None], rng.uniform(0.5, 2.0, ROWS).astype("float32")


def plain() -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6, 2)), layers.Conv1D(3, 2), layers.BatchNormalization(), layers.Flatten(),
            layers.Dropout(0.4), layers.Dense(1, "sigmoid", kernel_regularizer="l2"),
        ]
    )  # fmt: skip


def stateful() -> Any:
    inputs = keras.Input(batch_shape=(4, 6, 2))
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(keras.layers.GRU(3, stateful=True)(inputs)))


def named() -> Any:
    a, b = keras.Input((6, 2), name="a"), keras.Input((6, 2), name="b")
    flat = keras.layers.Concatenate()([keras.layers.Flatten()(a), keras.layers.Flatten()(b)])
    outputs = {"p": keras.layers.Dense(1, "sigmoid", name="p")(flat), "q": keras.layers.Dense(1, name="q")(flat)}
    return keras.Model({"a": a, "b": b}, outputs)


KINDS = {"plain": plain, "stateful": stateful, "named": named}


def traced(kind: str) -> tuple[Tracer, Any]:
    keras.utils.set_random_seed(1)
    model, tracer = KINDS[kind](), Tracer()
    x, y, weight = rows()
    given: dict[str, Any] = {"sample_weight": weight, "batch_size": 8}
    losses: Any = "binary_crossentropy"
    if kind == "named":
        x, y = {"a": x, "b": x[::-1]}, {"p": y, "q": y}
        losses, given = {"p": losses, "q": "mse"}, {"batch_size": 8}
    if kind == "stateful":
        given = {"batch_size": 4, "shuffle": False}
    model.compile("adam", losses, metrics=None if kind == "named" else ["accuracy", keras.metrics.AUC()])
    model.fit(x, y, epochs=EPOCHS, verbose=0, callbacks=[tracer], **given)
    return tracer, model


def numbers(diagnosis: Diagnosis) -> list[float]:
    again = [v for row in diagnosis.epoch_rows for v in row.reevaluated.values()]
    amounts = [e.amount for ledger in diagnosis.ledgers for e in ledger.entries]
    steps = [v for row in diagnosis.step_rows for v in row.replayed.values()]
    return [*again, *amounts, *steps]


@pytest.fixture(autouse=True)
def _small_fits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "LOOP_FROM", 0)


@needs_loop
@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_gives_what_single_batches_give(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tracer, _ = traced(kind)
    together = tracer.diagnose(epochs="all")
    used: list[int] = []
    monkeypatch.setattr(engines.KerasEngine, "_block", lambda self, modes: used.append(len(modes)))
    single = tracer.diagnose(epochs="all")
    assert used, "the second diagnosis was to run its batches one by one"
    assert together.replay.steps == together.replay.reproduced == single.replay.reproduced > 0
    assert len(numbers(together)) == len(numbers(single)) > EPOCHS
    np.testing.assert_allclose(numbers(together), numbers(single), rtol=2e-5, atol=2e-6)
    for ledger in together.ledgers:
        assert ledger.residual == pytest.approx(0.0, abs=1e-5)


@needs_loop
def test_the_states_of_layers_are_handed_on() -> None:
    tracer, model = traced("stateful")
    diagnosis = tracer.diagnose()
    x, y, _ = rows()
    expected = model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
    assert diagnosis.epoch_rows[-1].reevaluated == pytest.approx(expected, rel=1e-5)


@needs_loop
def test_a_fit_of_few_steps_is_replayed_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "LOOP_FROM", 1 + EPOCHS * -(-ROWS // 8))
    monkeypatch.setattr("diagnose.replay.keras.block_loop.BlockLoop.passed", None)
    tracer, _ = traced("plain")
    assert tracer.diagnose().replay.reproduced == EPOCHS * -(-ROWS // 8)


def run(rows: int = 4, values: Any = None, **of_batch: Any) -> BatchRun:
    batch = Batch(np.ones((rows, 2), "float32"), np.ones(rows), None, np.arange(rows), rows, **of_batch)
    return BatchRun(values or [[0]], batch, None, None, True, None, [np.ones(3)])


def test_what_can_be_stacked() -> None:
    runs = [run(), run(), run(3), run(global_seed=(1, 2)), run()]
    found = [(form is None, len(part)) for form, part in alike(runs)]
    assert found == [(False, 2), (False, 1), (True, 1), (False, 1)]
    assert Form.of(run(bare=True)) != Form.of(run())
    both = stacked([{"a": (np.zeros(2), None)}, {"a": (np.ones(2), None)}])
    assert both["a"][1] is None and both["a"][0].tolist() == [[0, 0], [1, 1]]


def test_blocks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    held = [[0]]
    assert [len(b) for b in blocks(run(values=held) for _ in range(2 * MOST_RUNS + 3))] == [MOST_RUNS, MOST_RUNS, 3]
    one = run().batch.x.nbytes + run().batch.y.nbytes + 24
    monkeypatch.setattr("diagnose.replay.blocks.MOST_BYTES", 2 * one)
    assert [len(b) for b in blocks([run(), run(), run(), run()])] == [2, 2]
    monkeypatch.setattr("diagnose.replay.blocks.MOST_BYTES", 1)
    assert [len(b) for b in blocks([run(), run()])] == [1, 1]

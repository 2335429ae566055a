"""Large and unusual data, as users pass it to fit: every step is replayed, or the report says why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Diagnosis, Tracer, read_trace
from diagnose.record import budget

BACKEND = keras.config.backend()
tensorflow_only = pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow values, on the TensorFlow backend")
torch_only = pytest.mark.skipif(BACKEND != "torch", reason="torch is installed with the torch backend only")


def numbers(rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(rows, 4)).astype("float32")
    return x, (x @ np.array([1, -2, 0.5, 0], "float32"))[:, None]


def dense(*layers: Any) -> Any:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse", metrics=["mae"])
    return model


def diagnose(model: Any, *data: Any, **arguments: Any) -> Diagnosis:
    """Fits untraced and traced from the same state, holds both equal bit for bit, and diagnoses."""
    start = [np.array(w) for w in model.get_weights()]
    make: Callable[[], tuple[Any, ...]] = data[0] if callable(data[0]) else lambda: data
    model.fit(*make(), verbose=0, **arguments)  # the first fit of a model draws random numbers to build what it needs

    def again(*callbacks: Any) -> dict[str, list[float]]:
        model.set_weights(start)
        model.optimizer.iterations.assign(0)
        keras.utils.set_random_seed(2)
        return model.fit(*make(), verbose=0, callbacks=list(callbacks), **arguments).history

    plain = again()
    weights = [np.array(w) for w in model.get_weights()]
    tracer = Tracer()
    traced = again(tracer)
    assert traced == plain
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))
    return tracer.diagnose()


def all_reproduced(diagnosis: Diagnosis, steps: int) -> None:
    assert diagnosis.replay is not None
    assert (diagnosis.replay.steps, diagnosis.replay.reproduced) == (steps, steps), diagnosis.notice
    assert all(error <= 1e-6 for error in diagnosis.replay.max_abs_error.values())
    for ledger in diagnosis.ledgers:
        total = sum(entry.amount for entry in ledger.entries) + ledger.residual
        assert total == pytest.approx(ledger.gap, abs=1e-12)
        assert abs(ledger.residual) <= 1e-5 * abs(ledger.logged)
    assert diagnosis.ledgers


@tensorflow_only
def test_tf_data_with_repeat_shuffle_prefetch_and_augmentation() -> None:
    import tensorflow as tf

    x, y = numbers()

    def data() -> tuple[Any]:
        rows = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(40, seed=3)
        rows = rows.map(lambda a, b: (a + tf.random.stateless_normal([4], [1, 2]) * 0.1, b))
        return (rows.repeat().batch(8).prefetch(2),)

    all_reproduced(diagnose(dense(), data, epochs=3, steps_per_epoch=5), 15)


@tensorflow_only
def test_augmentation_gives_new_rows_in_each_epoch() -> None:
    import tensorflow as tf

    x, y = numbers()
    noise = tf.random.Generator.from_seed(1)
    data = tf.data.Dataset.from_tensor_slices((x, y)).map(lambda a, b: (a + noise.normal([4]), b)).batch(8)
    model, tracer = dense(), Tracer()
    model.fit(data, epochs=2, verbose=0, callbacks=[tracer])
    all_reproduced(tracer.diagnose(), 10)
    with read_trace(tracer.path) as trace:
        rows = {int(row) for step in trace.steps for row in step.batch.row_ids}
    assert len(rows) == 80


@tensorflow_only
def test_ragged_inputs() -> None:
    import tensorflow as tf

    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 6, 24)
    x = tf.RaggedTensor.from_row_lengths(rng.normal(size=(lengths.sum(), 3)).astype("float32"), lengths)
    y = rng.normal(size=(24, 1)).astype("float32")

    class Mean(keras.layers.Layer):
        def call(self, value: Any) -> Any:
            return tf.reduce_mean(value, axis=1)

    class Ragged(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.out = Mean(), keras.layers.Dense(1)

        def call(self, value: Any) -> Any:
            return self.out(self.mean(value))

    keras.utils.set_random_seed(1)
    model = Ragged()
    model.compile("sgd", "mse")
    tracer = Tracer()
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    model.fit(data, epochs=2, verbose=0, callbacks=[tracer])
    diagnosis = tracer.diagnose()
    # The model is built in the first step, so the weights before it are not known.
    assert diagnosis.replay is not None and diagnosis.replay.reproduced >= 3, diagnosis.notice
    assert diagnosis.evaluation_data["source"] == "the batches of the first epoch"


@tensorflow_only
def test_sparse_inputs() -> None:
    import tensorflow as tf

    x, y = numbers(24)
    x = np.where(x > 0.5, x, 0).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((tf.sparse.from_dense(x), y)).batch(8)
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,), sparse=True), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    tracer = Tracer()
    model.fit(data, epochs=2, verbose=0, callbacks=[tracer])
    all_reproduced(tracer.diagnose(), 6)


@tensorflow_only
def test_strings() -> None:
    words = np.array([["a b"], ["b c ä"], ["c"], ["a"], [""], ["b b"], ["a c"], ["c c"]], object)
    y = np.arange(8, dtype="float32")[:, None]
    keras.utils.set_random_seed(1)
    vectorize = keras.layers.TextVectorization(max_tokens=10, output_mode="count", split="whitespace")
    vectorize.adapt([w[0] for w in words])
    model = keras.Sequential([keras.Input((1,), dtype="string"), vectorize, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((words.astype(str), y)).batch(4)
    tracer = Tracer()
    model.fit(data, epochs=2, verbose=0, callbacks=[tracer])
    all_reproduced(tracer.diagnose(), 4)
    with read_trace(tracer.path) as trace:
        batch = trace.batch(trace.steps[0].batch)
    assert [s.decode() for s in batch.x.to_numpy()[:, 0]] == ["a b", "b c ä", "c", "a"]


def test_a_generator_that_fills_the_same_array_again() -> None:
    x, y = numbers()

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        a, b = np.empty((8, 4), "float32"), np.empty((8, 1), "float32")
        while True:
            for start in range(0, 40, 8):
                a[:], b[:] = x[start : start + 8], y[start : start + 8]
                # TensorFlow fetches ahead of training: with one array for all batches, fit itself would be a race.
                yield (a.copy(), b.copy()) if BACKEND == "tensorflow" else (a, b)

    all_reproduced(diagnose(dense(), lambda: (batches(),), epochs=2, steps_per_epoch=5), 10)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_py_dataset_with_workers(workers: int) -> None:
    x, y = numbers()

    class Data(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 5

        def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
            return x[8 * i : 8 * i + 8], y[8 * i : 8 * i + 8]

    all_reproduced(diagnose(dense(), lambda: (Data(workers=workers),), epochs=2, shuffle=False), 10)


@torch_only
def test_a_torch_data_loader() -> None:
    import torch

    x, y = numbers()
    rows = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    loader = lambda: (torch.utils.data.DataLoader(rows, batch_size=8, shuffle=True),)  # noqa: E731
    all_reproduced(diagnose(dense(keras.layers.Dropout(0.3)), loader, epochs=2), 10)


def test_pandas_frames() -> None:
    import pandas as pd

    x, y = numbers()
    frame = pd.DataFrame(x, columns=list("abcd"))
    all_reproduced(diagnose(dense(), frame, pd.Series(y[:, 0]), batch_size=8, epochs=2), 10)


def test_dict_and_nested_inputs_with_two_outputs() -> None:
    x, y = numbers()
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    joined = keras.layers.Concatenate()([a, b])
    keras.utils.set_random_seed(1)
    model = keras.Model(
        {"a": a, "b": b}, {"p": keras.layers.Dense(1, name="p")(joined), "q": keras.layers.Dense(1, name="q")(joined)}
    )
    model.compile("sgd", {"p": "mse", "q": "mae"}, loss_weights={"p": 1.0, "q": 0.5}, metrics={"p": ["mae"]})
    data = ({"a": x[:, :2], "b": x[:, 2:]}, {"p": y, "q": 2 * y})
    all_reproduced(diagnose(model, *data, batch_size=8, epochs=2), 10)


def test_equal_rows_in_the_data_keep_their_number() -> None:
    x, y = numbers(8)
    x, y = np.concatenate([x, x[:1], x[:1]]), np.concatenate([y, y[:1], y[:1]])
    model, tracer = dense(), Tracer()
    model.fit(x, y, batch_size=5, epochs=2, verbose=0, callbacks=[tracer])
    diagnosis = tracer.diagnose()
    assert diagnosis.evaluation_data["rows"] == 10
    oracle = model.evaluate(x, y, verbose=0, return_dict=True)
    assert diagnosis.epoch_rows[-1].reevaluated["loss"] == pytest.approx(oracle["loss"], rel=1e-5)


class TestRowsByDigestOnly:
    """Data beyond the budget: digests are kept, and analysis asks for the rows."""

    @pytest.fixture(autouse=True)
    def no_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(budget.SHARES, budget.Tier.ROWS, 0.0)

    def fit(self) -> tuple[Tracer, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(1)
        x = rng.normal(size=(64, 4)).astype("float32")
        y = x.sum(axis=1, keepdims=True)
        model, tracer = dense(), Tracer()
        model.fit(x, y, batch_size=8, epochs=3, verbose=0, shuffle=False, callbacks=[tracer])
        return tracer, x, y

    def test_without_the_data_the_report_says_what_is_missing(self) -> None:
        tracer, _, _ = self.fit()
        diagnosis = tracer.diagnose()
        assert diagnosis.notice is not None and "digests" in diagnosis.notice
        assert diagnosis.ledgers == ()
        assert all(f.status != "failed" for f in diagnosis.findings)
        timing = ("one-step-epoch", "moving-average-of-weights", "dropout-gap", "class-weights")
        assert all(f.status == "not-applicable" for f in diagnosis.findings if f.rule in timing)

    def test_with_the_data_rows_are_found_by_digest(self) -> None:
        tracer, x, y = self.fit()
        order = np.random.default_rng(2).permutation(64)
        diagnosis = tracer.diagnose(data=(x[order], y[order]))
        assert diagnosis.evaluation_data == {
            "source": "rows fit used, in the order fit was given them",
            "rows": 64,
            "batch_size": 8,
        }
        model = tracer.runs[0].model
        oracle = model.evaluate(x, y, batch_size=8, verbose=0)[0]
        assert diagnosis.epoch_rows[-1].reevaluated["loss"] == pytest.approx(oracle, rel=1e-5)

    def test_other_data_is_not_taken_for_it(self) -> None:
        tracer, x, y = self.fit()
        diagnosis = tracer.diagnose(data=(x + 1, y))
        assert diagnosis.notice is not None and "digests" in diagnosis.notice

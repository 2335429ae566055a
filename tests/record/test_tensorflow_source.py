"""The batches noted where a tf.data pipeline is drawn from: which, when, and what the pipeline stays."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

if keras.config.backend() != "tensorflow":
    pytest.skip("about tf.data", allow_module_level=True)

import tensorflow as tf

from diagnose import Tracer, read_trace
from diagnose.record.backends.tensorflow_source import DatasetSource, tap
from diagnose.record.guard import TracingStopped


def ragged_and_text() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(
        {"words": tf.ragged.constant([[1], [2, 3], [4]]), "text": tf.constant(["a", "b", "c"])}
    ).batch(2)


def sparse() -> tf.data.Dataset:
    matrix = tf.sparse.from_dense(np.eye(4, dtype="float32"))
    return tf.data.Dataset.from_tensor_slices((matrix, tf.range(4))).batch(3)


def with_none() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors((tf.zeros((2, 1)), None, tf.ones((2,)))).repeat(3)


def of_a_generator() -> tf.data.Dataset:
    def rows() -> Any:
        for n in (2, 3, 1):
            yield np.full((n, 2), n, "float32"), np.arange(n)

    spec = (tf.TensorSpec((None, 2), tf.float32), tf.TensorSpec((None,), tf.int64))
    return tf.data.Dataset.from_generator(rows, output_signature=spec).prefetch(tf.data.AUTOTUNE)


PIPELINES = {
    "one array": lambda: tf.data.Dataset.range(10).batch(4),
    "a tuple of one": lambda: tf.data.Dataset.from_tensor_slices((tf.range(5),)).batch(2),
    "a pair, prefetched": lambda: tf.data.Dataset.from_tensor_slices((tf.range(6), tf.range(6))).batch(4).prefetch(2),
    "nested": lambda: tf.data.Dataset.from_tensor_slices(({"a": tf.range(4), "b": (tf.range(4),)}, tf.range(4))).batch(
        3
    ),
    "bfloat16": lambda: tf.data.Dataset.from_tensor_slices(tf.cast(tf.range(5), tf.bfloat16)).batch(2),
    "ragged and text": ragged_and_text,
    "sparse": sparse,
    "None inside": with_none,
    "a generator": of_a_generator,
}


def flat(element: Any) -> list[bytes]:
    return [t.numpy() if t.dtype == tf.string else t.numpy().tobytes() for t in _tensors(element)]


def _tensors(element: Any) -> list[Any]:
    return [t for t in tf.nest.flatten(element, expand_composites=True) if t is not None]


@pytest.mark.parametrize("name", PIPELINES)
def test_each_element_is_noted_when_it_is_drawn_and_reaches_the_reader_as_it_was(name: str) -> None:
    make = PIPELINES[name]
    expected = [flat(e) for e in make()]
    source = DatasetSource(lambda: True)
    tapped = source.tapped(make())
    assert tapped.element_spec == make().element_spec
    found = []
    for element in tapped:
        (noted,) = source.take()  # one by one: nothing runs ahead
        tf.nest.assert_same_structure(noted, element, expand_composites=True)
        assert [str(a) for a in flat(noted)] == [str(a) for a in flat(element)]
        found.append(flat(element))
    assert [str(a) for a in found] == [str(a) for a in expected]


def test_no_number_that_follows_is_drawn_otherwise() -> None:
    def draws(tapped: bool) -> list[Any]:
        tf.random.set_seed(5)
        dataset = (
            tf.data.Dataset.range(20).shuffle(20).map(lambda x: x + tf.random.uniform((), maxval=9, dtype=tf.int64))
        )
        source = DatasetSource(lambda: True)
        read = source.tapped(dataset) if tapped else dataset
        first = [int(x) for x in read]
        return [first, [int(x) for x in read], tf.random.normal((3,)).numpy().tolist()]

    assert draws(True) == draws(False)


def test_what_is_not_wanted_is_not_noted() -> None:
    wanted = [True]
    source = DatasetSource(lambda: wanted[0])
    iterator = iter(source.tapped(tf.data.Dataset.range(3)))
    next(iterator)
    wanted[0] = False
    next(iterator)
    assert [int(x) for x in source.take()] == [0]


def test_an_error_while_noting_reaches_take_and_not_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> bool:
        raise OSError("broken")

    source = DatasetSource(broken)
    assert [int(x) for x in source.tapped(tf.data.Dataset.range(2))] == [0, 1]
    with pytest.raises(OSError, match="broken"):
        source.take()


def test_what_is_distributed_to_replicas_is_left_alone() -> None:
    class Distributed:
        def _get_iterator(self) -> Any:
            return [1, 2]

    iterator = Distributed()
    assert tap(iterator, lambda: True) is None and vars(iterator) == {}


def test_nothing_of_a_pipeline_outlives_it() -> None:
    """TensorFlow keeps what `py_function` was given for good."""
    source = DatasetSource(lambda: True)
    dataset = tf.data.Dataset.range(3)
    list(source.tapped(dataset))
    references = [weakref.ref(source), weakref.ref(dataset)]
    del source, dataset
    gc.collect()
    assert [r() for r in references] == [None, None]


def test_a_train_function_of_the_users_that_takes_several_batches_makes_one_step(tmp_path: Path) -> None:
    class Accumulates(keras.Sequential):
        def make_train_function(self, force: bool = False) -> Any:
            super().make_train_function(force)
            step = self.train_function

            def two_at_once(iterator: Any) -> Any:
                step(iterator)
                return step(iterator)

            self.train_function = two_at_once

    model = Accumulates([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    tracer = Tracer(tmp_path / "fit.diag")
    x = np.ones((16, 2), "float32")
    model.fit(x, x[:, :1], batch_size=2, steps_per_epoch=4, epochs=1, verbose=0, callbacks=[tracer])
    assert int(model.optimizer.iterations.numpy()) == 8
    with read_trace(tracer.path) as trace:
        assert [s.batch.missing for s in trace.steps] == ["one step of the model's own took 2 batches"] * 4


def test_a_pipeline_that_takes_no_map_is_read_as_it_is_and_tracing_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras asks for the pipeline in the middle of a fit: nothing of ours may be raised there."""

    def broken(*_: Any, **__: Any) -> Any:
        raise AttributeError("no such name in this release")

    def losses(callbacks: list[Any]) -> list[float]:
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        x = np.ones((16, 2), "float32")
        return list(model.fit(x, x[:, :1], batch_size=4, epochs=2, verbose=0, callbacks=callbacks).history["loss"])

    plain = losses([])
    monkeypatch.setattr(tf, "py_function", broken)
    tracer = Tracer(tmp_path / "fit.diag")
    with pytest.warns(TracingStopped, match="no such name in this release") as warned:
        assert losses([tracer]) == plain
    assert len([w for w in warned if w.category is TracingStopped]) == 1

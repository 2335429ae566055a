"""A script's own `evaluate`, `predict` and their kin, noted and not, from the same seed: what they return, print, raise
and leave must be equal bit for bit."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from diagnose import Tracer
from diagnose.record import call_items, call_source, calls
from diagnose.tracefile.digest import row_digests
from diagnose.tracefile.rows import pack_rows
from tests.non_perturbation.fits import BACKEND, Planned, _generators, binary, bits, differences, rows, two_outputs


class Loud(keras.metrics.MeanSquaredError):
    """Says how often it is asked."""

    def result(self) -> Any:
        print("asked")
        return super().result()


class Drawing(keras.layers.Layer):
    """Draws in inference, too."""

    def __init__(self) -> None:
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(5)

    def call(self, x: Any) -> Any:
        return x + 0.1 * keras.random.normal(keras.ops.shape(x), seed=self.seed_generator)


class Raises(keras.callbacks.Callback):
    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        raise Planned("in the middle of evaluate")

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        raise KeyboardInterrupt


def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    x, y = rows(12, seed=5)
    for start in (0, 6):
        yield x[start : start + 6], y[start : start + 6]


class Numbered(keras.utils.PyDataset):
    """Batches that are asked for by number, the last one shorter."""

    def __init__(self, y_of: Callable[[Any], Any]) -> None:
        super().__init__()
        self.y_of = y_of

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        x, y = rows(13, seed=6)
        at = slice(5 * index, 5 * index + 5)
        return x[at], self.y_of(y[at])


def plain(value: Any) -> Any:
    """With the types that it has."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(plain, value)]
    return (value.dtype.name, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def attempt(call: Callable[[], Any]) -> Any:
    try:
        return plain(call())
    except BaseException as error:
        return type(error).__name__, str(error).split("\n")[0], type(error.__context__).__name__


def use(model: Any, y_of: Callable[[Any], Any]) -> list[Any]:
    """All the calls there are of one model, and what came of each."""
    x, y = rows(13, seed=4)
    y, weight = y_of(y), np.linspace(0, 1, 13, dtype="float32")
    quiet: dict[str, Any] = {"verbose": 0}
    made: list[Callable[[], Any]] = [
        lambda: model.evaluate(x, y, verbose=2),
        lambda: model.evaluate(x.astype("float64"), y, batch_size=5, return_dict=True, **quiet),
        lambda: model.evaluate(x, y, 4, 0, None if isinstance(y, dict) else weight, 2),
        lambda: model.evaluate(batches(), steps=2, **quiet),
        lambda: model.evaluate(Numbered(y_of), callbacks=keras.callbacks.LambdaCallback(), **quiet),
        lambda: model.predict(Numbered(y_of), **quiet),
        lambda: model.predict(batches(), steps=2, **quiet),
        lambda: model.evaluate(Numbered(y_of), callbacks=[Raises()], **quiet),
        lambda: model.predict(Numbered(y_of), callbacks=[Raises()], **quiet),
        lambda: model.predict(x, batch_size=3, **quiet),
        lambda: model.predict_on_batch(x),
        lambda: model.test_on_batch(x, y),
        lambda: model.test_on_batch(x, y, return_dict=True),
        lambda: model.evaluate(x, y, colour="red"),
        lambda: model.evaluate(),
        lambda: model.predict(),
        lambda: model.evaluate(x[:, :2], y, **quiet),
        lambda: model.evaluate(x, y, callbacks=[Raises()], **quiet),
        lambda: model.predict(x, callbacks=[Raises()], **quiet),
        lambda: model.evaluate(x, y, **quiet),
    ]
    found = []
    for call in made:
        found.append(attempt(call))
        found.append([bits(model.variables), bits(model.metrics_variables)])
    return found


class Inside(keras.callbacks.Callback):
    def __init__(self, work: Callable[[Any], list[Any]]) -> None:
        super().__init__()
        self.work = work
        self.found: list[Any] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 1:
            self.found.append(attempt(lambda: self.model.evaluate(*rows(9, seed=3), verbose=0)))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.found.append(self.work(self.model))


def loud() -> Any:
    middle = (Drawing(), keras.layers.BatchNormalization(), keras.layers.Dropout(0.3))
    return binary(*middle, compiled={"metrics": [Loud(name="loud"), "accuracy"]})


def loss_only() -> Any:
    return binary(Drawing(), compiled={"metrics": None})


def outputs(y: Any) -> Any:
    return {"a": y, "b": 1 - y}


MODELS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "loud": (loud, lambda y: y),
    "two_outputs": (two_outputs, outputs),
}


def script(name: str, callbacks: list[Any]) -> list[Any]:
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(7)
    build, y_of = MODELS[name]
    model, (x, y), printed = build(), rows(), io.StringIO()
    inside = Inside(lambda m: use(m, y_of))
    with contextlib.redirect_stdout(printed):
        history = model.fit(x, y_of(y), batch_size=8, epochs=1, verbose=0, callbacks=[*callbacks, inside])
        after = use(model, y_of)
        again = model.fit(x, y_of(y), batch_size=8, epochs=1, verbose=0)
    state = sorted(k for k in vars(model) if "function" not in k)
    text = "\n".join(line for line in printed.getvalue().splitlines() if "/step" not in line)
    return [history.history, inside.found, after, again.history, text, state, bits(model.variables), _generators()]


def short() -> list[Any]:
    """A fit and two calls."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(7)
    model, (x, y) = loss_only(), rows()
    model.fit(x, y, batch_size=8, verbose=0)
    found = [model.evaluate(x, y, verbose=0), plain(model.predict(x, verbose=0)), model.evaluate(x, y, verbose=0)]
    found += [model.evaluate(batches(), steps=2, verbose=0), plain(model.predict(Numbered(lambda y: y), verbose=0))]
    return [found, bits(model.variables), bits(model.metrics_variables), _generators()]


def raised(result: Any) -> bool:
    """Whether this is what `attempt` gives of an exception."""
    return isinstance(result, tuple) and len(result) == 3 and isinstance(result[2], str)


def same(a: Any, b: Any) -> None:
    found = differences(a, b)
    assert not found, "\n".join(found)


@pytest.mark.skipif(BACKEND == "jax", reason="there plain Keras loses the variables where a call inside a fit raises")
@pytest.mark.parametrize("name", MODELS)
def test_noted_calls_are_the_same_calls(name: str, tmp_path: Path) -> None:
    before = [vars(keras.Model).get(kind) for kind in calls.KINDS]
    untraced = script(name, [])
    with diagnose.trace(tmp_path / "session") as session:
        noted = script(name, [])
    same(untraced, noted)
    first = session.runs[0].calls
    assert first.error is None
    results = [noted[1][0], *noted[1][1][::2], *noted[2][::2]]
    assert len(first.made) == len([x for x in results if not raised(x)]) > 18, "those that returned, and no others"
    tracer = Tracer(tmp_path / "alone.diag")
    same(untraced, script(name, [tracer]))
    assert {c.epoch for c in tracer.runs[0].calls.made} == {1}, "alone, it notes those inside its fit"
    assert [vars(keras.Model).get(kind) for kind in calls.KINDS] == before


@pytest.mark.parametrize(
    ("place", "name"),
    [(calls, "_rows"), (calls, "_weights"), (call_items, "row_digests"), (calls, "numbers"), (calls, "_site")],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_an_error_of_ours_never_reaches_a_call(
    place: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untraced = short()

    def fails(*_: Any, **__: Any) -> Any:
        raise MemoryError("ours")

    monkeypatch.setattr(place, name, fails)
    with diagnose.trace(tmp_path) as session:
        same(untraced, short())
    assert session.runs[0].calls.error == "MemoryError: ours" and session.runs[0].calls.made == []


def test_no_room_and_no_time_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    untraced = short()
    monkeypatch.setattr(call_items, "MOST_BYTES", 0)
    monkeypatch.setattr(call_items, "MOST_ROWS", 3)
    with diagnose.trace(tmp_path / "a") as session:
        same(untraced, short())
    held = session.runs[0].calls
    assert held.made and held.contents == {} and all(c.rows is None or c.rows.both is None for c in held.made)
    monkeypatch.setattr(call_items, "MOST_CALLS", 2)
    with diagnose.trace(tmp_path / "b") as session:
        same(untraced, short())
    assert len(session.runs[0].calls.made) == 2 and session.runs[0].calls.left_out > 0
    monkeypatch.setattr(calls, "FREE_SECONDS", -1.0)
    monkeypatch.setattr(calls, "SHARE", 0.0)
    with diagnose.trace(tmp_path / "c") as session:
        same(untraced, short())
    assert session.runs[0].calls.made == []


class Parts(keras.utils.PyDataset):
    """A data set of Keras's own kind, which counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        self.asked.append(index)
        x, y = rows(12, seed=5)
        return x[6 * index :][:6], y[6 * index :][:6], np.linspace(0.5, 1, 6, dtype="float32")


def shuffled() -> Any:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(rows(12, seed=5)).shuffle(12).map(_moved).batch(5)


def _moved(x: Any, y: Any) -> Any:
    import tensorflow as tf

    return x + tf.random.uniform((), 0, 0.1), y


def over_pipelines() -> list[Any]:
    """A fit, and calls over all that is no array."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(7)
    model, parts = loss_only(), Parts()
    model.fit(*rows(), batch_size=8, verbose=0)
    seen: list[int] = []
    watch = keras.callbacks.LambdaCallback()
    watch.on_test_batch_begin = lambda batch, logs=None: seen.append(batch)
    given = keras.callbacks.CallbackList([watch], model=model)
    made: list[Callable[[], Any]] = [
        lambda: model.evaluate(parts, verbose=2),
        lambda: model.evaluate(parts, steps=1, callbacks=[watch], verbose=0),
        lambda: model.evaluate(parts, callbacks=watch, verbose=0),
        lambda: model.evaluate(parts, callbacks=given, return_dict=True, verbose=0),
        lambda: model.predict(parts, verbose=0),
        lambda: model.evaluate(batches(), verbose=0),
    ]
    if BACKEND != "jax":  # where a call that raises loses Keras the model's variables
        made.append(lambda: model.predict(batches(), callbacks=[Raises()], verbose=0))
    if BACKEND == "tensorflow":
        pipeline = shuffled()
        made += [lambda: model.evaluate(pipeline, verbose=0), lambda: model.predict(pipeline, steps=2, verbose=0)] * 2
    found, asked = [], []
    for number, call in enumerate(made):
        parts.asked = []
        found.append(attempt(call))
        # How far ahead of a call that ends early Keras's own thread has come is a matter of time.
        asked.append(parts.asked[:1] if number == 1 else parts.asked)
    state = sorted(k for k in vars(model) if "function" not in k)
    left = [seen, asked, len(given.callbacks), state]
    return [found, left, bits(model.variables), bits(model.metrics_variables), _generators()]


def test_calls_over_pipelines_are_the_same_calls(tmp_path: Path) -> None:
    printed = [io.StringIO(), io.StringIO()]
    with contextlib.redirect_stdout(printed[0]):
        untraced = over_pipelines()
    with diagnose.trace(tmp_path) as session, contextlib.redirect_stdout(printed[1]):
        same(untraced, over_pipelines())
    texts = [[line for line in p.getvalue().splitlines() if "/step" not in line] for p in printed]
    assert texts[0] == texts[1]
    calls_made = session.runs[0].calls
    assert calls_made.error is None
    whole = [c for c in calls_made.made if c.rows is not None]
    x, y = rows(12, seed=5)
    assert [c.sizes for c in whole[:4]] == [(6, 6), (6,), (6, 6), (6, 6)], "not where callbacks are no list"
    first = whole[0].rows
    assert first is not None and first.sample_weight is not None
    kept = calls_made.arrays([*first.leaves, first.sample_weight])
    assert kept is not None
    same(plain(kept), plain([x, y, np.tile(np.linspace(0.5, 1, 6, dtype="float32"), 2)]))
    if BACKEND == "tensorflow":
        assert [c.sizes for c in whole[-4:]] == [(5, 5, 2), (5, 5)] * 2


@pytest.mark.parametrize("place", ["_wrapped"])
def test_an_error_in_noting_batches_costs_their_rows_alone(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise MemoryError("ours")

    def script() -> list[Any]:
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(7)
        model = loss_only()
        model.fit(*rows(), batch_size=8, verbose=0)
        return [model.evaluate(Parts(), verbose=0), bits(model.variables), _generators()]

    untraced = script()
    monkeypatch.setattr(call_source.Drawn, place, fails)
    with diagnose.trace(tmp_path) as session:
        same(untraced, script())
    (call,) = session.runs[0].calls.made
    assert call.rows is None and "MemoryError: ours" in str(call.why) and set(call.returned) == {"loss"}


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a pipeline needs TensorFlow beside the backend")
def test_a_pipeline_is_drawn_once_and_its_rows_are_known(tmp_path: Path) -> None:
    import tensorflow as tf

    drawn: list[int] = []

    def source() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for number, batch in enumerate(batches()):
            drawn.append(number)
            yield batch

    types = (tf.TensorSpec((None, 4), tf.float32), tf.TensorSpec((None, 1), tf.float32))
    pipeline = tf.data.Dataset.from_generator(source, output_signature=types)
    with diagnose.trace(tmp_path) as session:
        model = binary()
        model.fit(*rows(), verbose=0)
        drawn.clear()
        model.evaluate(pipeline, verbose=0)
    assert drawn == [0, 1]
    (call,) = session.runs[0].calls.made
    given = [np.concatenate(each) for each in zip(*batches(), strict=True)]
    assert call.rows is not None and call.sizes == (6, 6) and set(call.returned) == {"loss", "accuracy"}
    assert call.rows.both == tuple(row_digests(pack_rows(given)))

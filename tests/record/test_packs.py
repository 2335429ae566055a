"""What a step left, taken in one piece: what happens to the variables afterwards does not reach it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from diagnose.frameworks.keras.trainers import keeps_jax_state
from diagnose.record.backends import Variables, current_backend
from diagnose.record.packs import Look, places_by_group, raw
from diagnose.record.taking import Taker
from diagnose.record.tracer import Tracer
from diagnose.tracefile.reader import read_trace

BACKEND = keras.backend.backend()


@pytest.fixture
def model() -> Any:
    made = keras.Sequential([keras.Input((3,)), keras.layers.Embedding(7, 2), keras.layers.Dropout(0.5, seed=1)])
    made.add(keras.layers.Dense(1, dtype="float16"))
    made.compile("sgd", "mse", metrics=["mae"])
    made.train_on_batch(np.zeros((2, 3)), np.zeros((2, 3, 1)))
    return made


def state_of(model: Any) -> Any:
    """As a JAX step returns it; None on the other backends."""
    groups = (model.trainable_variables, model.non_trainable_variables, [], model.metrics_variables)
    return tuple([v.value for v in group] for group in groups) if keeps_jax_state(model) else None


def copied(variables: Any) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def equal(found: Any, expected: Any) -> bool:
    pairs = list(zip(found, expected, strict=True))
    return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


def overwrite(model: Any, state: Any) -> None:
    """As the next step might: in place, with a sparse update, or by giving the memory away."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        embeddings = model.layers[0].embeddings.value
        embeddings.scatter_add(tf.IndexedSlices(tf.ones((1, 2)), [0]))
        embeddings.scatter_update(tf.IndexedSlices(tf.ones((1, 2)), [1]))
    if BACKEND == "jax":
        import jax

        jax.jit(lambda values: [v + 1 for v in values], donate_argnums=0)(state[0])
        return
    for variable in [*model.variables, *model.metrics_variables]:
        variable.assign(keras.ops.ones_like(variable))


def test_a_look_holds_what_the_step_left_whatever_comes_after_it(model: Any) -> None:
    backend = current_backend()
    variables = Variables.of(model)
    for _ in range(2):  # again: sparse updates change how a variable is read from then on
        state = state_of(model)
        expected, metrics = copied(variables.all), copied(variables.metrics)
        pack = backend.pack(model, variables, state)
        assert pack is not None
        overwrite(model, state)
        look = Look(pack, len(variables.all), (0, sum(m.nbytes for m in metrics)))
        assert equal(look.arrays, expected)
        assert raw(look) == b"".join(m.tobytes() for m in metrics)
        assert len(look) == len(look.metrics)
        if BACKEND == "jax":
            break
    only = replace(variables, all=(), prepared={})
    if BACKEND != "jax":
        assert equal(backend.pack(model, only).read(), copied(variables.metrics))


def test_a_released_look_keeps_the_metrics_alone(model: Any) -> None:
    variables = Variables.of(model)
    metrics = copied(variables.metrics)
    look = Look(current_backend().pack(model, variables, state_of(model)), len(variables.all), (0, 0))
    look.release()
    assert look.arrays == []
    assert look.metrics == b"".join(m.tobytes() for m in metrics)


@pytest.mark.skipif(BACKEND != "torch", reason="tensors of torch can be given other memory")
def test_a_tensor_that_was_given_other_memory_is_looked_at_there(model: Any) -> None:
    backend, variables = current_backend(), Variables.of(model)
    backend.pack(model, variables)
    tensor = model.trainable_variables[0].value
    tensor.data = tensor.data + 1
    assert equal(backend.pack(model, variables).read(), copied([*variables.all, *variables.metrics]))


def test_places_follow_one_another_within_their_group() -> None:
    assert places_by_group(["a", "b", "a"], [(2, 3), (), (4,)]) == [
        (0, 0, 6, (2, 3)),
        (1, 0, 1, ()),
        (0, 6, 10, (4,)),
    ]


def test_steps_of_a_fit_are_taken_in_one_piece(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every step falls back to reading its variables one by one, which is right and slow."""
    backend = current_backend()
    taken: list[Any] = []
    pack = type(backend).pack

    def counted(self: Any, *args: Any) -> Any:
        taken.append(pack(self, *args))
        return taken[-1]

    monkeypatch.setattr(type(backend), "pack", counted)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    seen = []

    class Seen(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seen.append(copied(self.model.variables))

    model.fit(np.ones((8, 3)), np.ones((8, 1)), batch_size=2, epochs=2, verbose=0,
              callbacks=[Seen(), Tracer(tmp_path / "fit.diag", level=3)])  # fmt: skip
    assert len(taken) == 7 and None not in taken  # the first step may make variables
    with read_trace(tmp_path / "fit.diag") as trace:
        versions = [trace.version(4), trace.version(8)]
        assert all(equal(trace.arrays(v), s) for v, s in zip(versions, seen, strict=True) if v is not None)
        assert None not in versions
        assert all(step.metrics_after is not None for step in trace.steps)
        pairs = zip(trace.steps[:3], trace.steps[1:4], strict=True)
        assert all(a.metrics_after == b.metrics_before for a, b in pairs)


X, Y = np.arange(6, dtype="float32").reshape(3, 2), np.arange(3)


@pytest.mark.parametrize(
    "second",
    [
        (X + 1, Y), (X[:2], Y[:2]), (X.astype("float64"), Y), (X[:, :1], Y), (X, Y[:2]), (X, Y, np.ones(3)), (X,),
        (X, None), [X, Y], ({"a": X}, Y), (X[:, ::-1], Y), (np.float32(1), Y), (np.array(["a", "b", "c"]), Y), X,
    ],
    ids=lambda data: type(data).__name__,
)  # fmt: skip
@pytest.mark.parametrize("first", [(X, Y), (X, Y, np.ones(3, "float32")), (X, None)], ids=["pair", "weighted", "x"])
def test_a_batch_is_taken_alike_whatever_came_before_it(first: Any, second: Any) -> None:
    backend = current_backend()
    known = Taker(backend)
    known.take(first)
    again, alone = known.take(second), Taker(backend).take(second)
    if isinstance(alone, str):
        assert again == alone
        return
    assert (again.signature, again.rows, again.bare) == (alone.signature, alone.rows, alone.bare)
    assert equal(again.leaves, alone.leaves)
    assert all(leaf.flags.c_contiguous for leaf in again.leaves if leaf.ndim)
    weights = [w for w in (again.sample_weight, alone.sample_weight) if w is not None]
    assert len(weights) != 1 and equal(weights[:1], weights[1:])

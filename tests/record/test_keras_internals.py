"""What recording and replay rely on behind Keras's public face, one test each, in plain Keras. Whether the names of
`diagnose.frameworks.keras.relied_on` are there at all, `tests/frameworks` asks; here is what they do.

A release that changes one of them turns the test of that name red, before a user's trace is wrong.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

import keras
import numpy as np
import pytest

from diagnose.record import describe, describe_metrics
from tests.record.fits import BACKEND, linear, rows

only = {
    name: pytest.mark.skipif(name != BACKEND, reason=f"about the {name} backend")
    for name in ("tensorflow", "jax", "torch")
}


def run(*callbacks: Any, model: Any = None, **arguments: Any) -> Any:
    model = model or linear()
    x, y = rows()
    model.fit(**{"x": x, "y": y, "batch_size": 4, "epochs": 2, "verbose": 0, **arguments}, callbacks=list(callbacks))
    return model


class Frames(keras.callbacks.Callback):
    def on_train_begin(self, logs: Any = None) -> None:
        frame = sys._getframe(1)
        self.callback_list = frame.f_locals["self"]
        assert frame.f_back is not None
        self.function = frame.f_back.f_code.co_name
        self.names = dict(frame.f_back.f_locals)


def test_CallbackList_stands_one_frame_up_from_on_train_begin() -> None:
    frames = Frames()
    run(frames)
    assert isinstance(frames.callback_list, keras.callbacks.CallbackList)
    assert isinstance(frames.callback_list.callbacks, list) and frames.callback_list.callbacks[0] is frames


def test_fit_stands_two_frames_up_with_its_arguments_as_locals() -> None:
    frames = Frames()
    run(frames, validation_data=rows(4, seed=1))
    assert frames.function == "fit"
    assert set(describe.FIT_ARGUMENTS) <= set(frames.names)
    assert {"class_weight", "sample_weight", "validation_data"} <= set(frames.names)


def test_epoch_iterator_is_a_local_of_fit_with_data_adapter_and_num_batches() -> None:
    frames = Frames()
    run(frames)
    iterator = frames.names["epoch_iterator"]
    assert iterator.num_batches == 3
    assert type(iterator.data_adapter).__name__ == "ArrayDataAdapter"


def test_CallbackList_async_train_is_decided_by_batch_end_hooks_in_its_constructor() -> None:
    class Batches(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            pass

    class Beginnings(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            pass

    expected = {"tensorflow": False, "jax": True, "torch": True}[BACKEND]
    assert keras.callbacks.CallbackList([])._async_train is expected
    assert keras.callbacks.CallbackList([Beginnings()])._async_train is expected
    assert keras.callbacks.CallbackList([Batches()])._async_train is False


def test_a_tracer_does_not_change_CallbackList_async_train() -> None:
    from diagnose import Tracer

    assert keras.callbacks.CallbackList([Tracer()])._async_train is keras.callbacks.CallbackList([])._async_train


def test_CallbackList_callbacks_may_be_replaced_while_on_train_begin_runs() -> None:
    """The running hook goes on over the old list; later hooks use the new one."""
    calls: list[str] = []

    class Says(keras.callbacks.Callback):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def on_train_begin(self, logs: Any = None) -> None:
            calls.append(f"{self.name} begin")

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            calls.append(f"{self.name} epoch")

    class Replaces(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            callback_list = sys._getframe(1).f_locals["self"]
            callback_list.callbacks = [Says("new"), *callback_list.callbacks]

    run(Replaces(), Says("old"), epochs=1)
    assert calls == ["old begin", "new epoch", "old epoch"]


@pytest.mark.parametrize(("name", "calls"), [("train_function", 6), ("test_function", 2)])
def test_fit_calls_train_function_and_test_function_by_attribute(name: str, calls: int) -> None:
    seen: list[int] = []

    class Wraps(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self.wrap("train_function")

        def on_test_begin(self, logs: Any = None) -> None:
            self.wrap("test_function")

        def wrap(self, attribute: str) -> None:
            original = getattr(self.model, attribute)
            if attribute == name and not hasattr(original, "wrapped"):

                def wrapper(*arguments: Any) -> Any:
                    seen.append(len(arguments))
                    return original(*arguments)

                wrapper.wrapped = True  # type: ignore[attr-defined]
                setattr(self.model, attribute, wrapper)

    run(Wraps(), validation_data=rows(4, seed=1))
    assert seen == [2 if BACKEND == "jax" else 1] * calls


def first_call(model: Any) -> tuple[Any, ...]:
    """The arguments of fit's first call of the train function."""
    found: list[tuple[Any, ...]] = []

    class Wraps(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            original = self.model.train_function

            def wrapper(*arguments: Any) -> Any:
                found.append(arguments)
                return original(*arguments)

            self.model.train_function = wrapper

    run(Wraps(), model=model, epochs=1)
    return found[0]


@only["tensorflow"]
def test_tensorflow_train_function_gets_an_iterator_and_takes_any_iterable_of_batches() -> None:
    import tensorflow as tf

    model = linear()
    (iterator,) = first_call(model)
    assert isinstance(iterator, tf.data.Iterator)
    fresh = linear()
    fresh.make_train_function()
    x, y = (tf.constant(a) for a in rows(4))
    fresh.train_function([(x, y)])
    assert int(fresh.optimizer.iterations.numpy()) == 1


@only["tensorflow"]
def test_tensorflow_raises_the_count_of_updates_before_it_notices_the_end_of_the_data() -> None:
    """So a call that raises made no step, though the count moved (keras/src/backend/tensorflow/trainer.py,
    multi_step_on_iterator)."""
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(rows()).filter(lambda x, y: True).batch(4)
    model = linear()
    model.fit(data, epochs=2, verbose=0)
    assert int(model.optimizer.iterations.numpy()) == 2 * 3 + 2


@only["tensorflow"]
def test_tensorflow_epoch_iterators_go_over_what_their_get_iterator_gives() -> None:
    """`fit` and `evaluate` hold one each as a local; `on_train_begin` and `on_test_begin` come before it begins."""
    import tensorflow as tf

    seen: dict[str, list[int]] = {"fit": [], "evaluate": []}

    class Counts(keras.callbacks.Callback):
        def count(self, function: str) -> None:
            frame = sys._getframe(2)
            while frame.f_code.co_name != function:
                assert frame.f_back is not None
                frame = frame.f_back
            iterator = frame.f_locals["epoch_iterator"]
            get = type(iterator)._get_iterator.__get__(iterator)
            assert isinstance(get(), tf.data.Dataset)

            def counted() -> Any:
                seen[function].append(1)
                return get()

            iterator._get_iterator = counted

        def on_train_begin(self, logs: Any = None) -> None:
            self.count("fit")

        def on_test_begin(self, logs: Any = None) -> None:
            self.count("evaluate")

    run(Counts(), validation_data=rows(4, seed=1), epochs=2)
    assert len(seen["fit"]) >= 2 and len(seen["evaluate"]) >= 2


@only["tensorflow"]
def test_tensorflow_names_pipelines_that_run_ahead_at_their_end() -> None:
    """`tensorflow_tools.runs_ahead_at_its_end`: behind any other pipeline tf.data puts a prefetch of its own."""
    import tensorflow as tf

    from diagnose.frameworks.keras.tensorflow_tools import runs_ahead_at_its_end

    plain = tf.data.Dataset.range(8).batch(2)
    assert runs_ahead_at_its_end(plain)
    assert not runs_ahead_at_its_end(plain.prefetch(1))
    assert not runs_ahead_at_its_end(plain.prefetch(1).with_options(tf.data.Options()))
    assert not runs_ahead_at_its_end(plain.map(lambda x: x, num_parallel_calls=2))
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    assert not runs_ahead_at_its_end(plain.with_options(options))


@only["jax"]
def test_jax_train_function_gets_the_state_and_an_iterator() -> None:
    model = linear()
    state, _ = first_call(model)
    assert [len(part) for part in state] == [
        len(model.trainable_variables),
        len(model.non_trainable_variables),
        len(model.optimizer.variables),
        len(model.metrics_variables),
    ]


@only["jax"]
def test_jax_state_holds_the_newest_values_until_it_is_synced() -> None:
    seen: list[Any] = []

    class Peeks(keras.callbacks.Callback):
        def set_model(self, model: Any) -> None:
            self._model = model

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            held = self._model._jax_state
            names = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")
            seen.append((self._model._jax_state_synced, [len(held[name]) for name in names]))

    model = run(Peeks(), epochs=1)
    assert seen == [(False, [4, len(model.non_trainable_variables), len(model.optimizer.variables), 2])] * 3


@only["jax"]
def test_jax_Callback_model_syncs_and_Callback__model_does_not() -> None:
    seen: list[bool] = []

    class Touches(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            seen.append(self._model._jax_state_synced)
            assert self.model is self._model
            seen.append(self._model._jax_state_synced)

    run(Touches(), epochs=1)
    assert seen == [False, True] * 3


@only["torch"]
def test_torch_train_function_gets_a_list_of_one_batch() -> None:
    (data,) = first_call(linear())
    assert isinstance(data, list) and len(data) == 1
    x, y = data[0][:2]
    assert tuple(x.shape) == (4, 3) and tuple(y.shape) == (4, 1)


@only["torch"]
def test_torch_draws_unseeded_dropout_from_the_global_generator() -> None:
    import torch

    layer = keras.layers.Dropout(0.5)
    layer.build((4, 3))
    before = torch.get_rng_state()
    a = layer(np.ones((64, 3), "float32"), training=True)
    assert not torch.equal(before, torch.get_rng_state())
    torch.set_rng_state(before)
    assert torch.equal(a, layer(np.ones((64, 3), "float32"), training=True))


@only["torch"]
def test_torch_fit_refuses_several_steps_per_execution() -> None:
    with pytest.raises(ValueError, match="steps_per_execution"):
        run(model=linear(steps_per_execution=3))


def test_optimizer__learning_rate_is_a_variable_or_a_schedule() -> None:
    constant = keras.optimizers.SGD(0.25)
    assert float(constant._learning_rate.value) == 0.25 == describe.learning_rate(linear(constant))
    schedule = keras.optimizers.schedules.ExponentialDecay(0.25, 10, 0.5)
    optimizer = keras.optimizers.SGD(schedule)
    assert optimizer._learning_rate is schedule and callable(schedule) and hasattr(schedule, "get_config")
    assert describe.learning_rate(linear(optimizer)) is None
    assert describe.learning_rate(linear(keras.optimizers.SGD(schedule)), schedule=True) == 0.25


@pytest.mark.parametrize(
    ("monitor", "mode", "op"), [("loss", "auto", "less"), ("mae", "min", "less"), ("loss", "max", "greater")]
)
def test_EarlyStopping_keeps_best_epoch_and_monitor_op(monitor: str, mode: str, op: str) -> None:
    stopping = keras.callbacks.EarlyStopping(monitor=monitor, mode=mode, patience=9, restore_best_weights=True)
    run(stopping, model=linear(metrics=["mae"]))
    settings = describe.callback(stopping)["settings"]
    assert settings["monitor_op"] == op == stopping.monitor_op.__name__
    assert settings["best_epoch"] == stopping.best_epoch == (0 if op == "greater" else 1)
    assert settings["restore_best_weights"] is True and settings["monitor"] == monitor
    assert isinstance(settings["best"], float)


def test_ModelCheckpoint_keeps_monitor_op_and_save_best_only(tmp_path: Any) -> None:
    checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"), monitor="loss", save_best_only=True)
    run(checkpoint)
    settings = describe.callback(checkpoint)["settings"]
    assert (settings["monitor"], settings["save_best_only"], settings["monitor_op"]) == ("loss", True, "less")


def test_LambdaCallback_keeps_its_functions_on_the_instance() -> None:
    function = lambda epoch, logs: None  # noqa: E731
    assert vars(keras.callbacks.LambdaCallback(on_epoch_end=function))["on_epoch_end"] is function


def test__flatten_layers_lists_nested_layers_without_the_model_itself() -> None:
    inner = keras.Sequential([keras.layers.Dense(2, name="a"), keras.layers.Dropout(0.5, name="b")], name="inner")
    model = keras.Sequential([keras.Input((3,)), inner, keras.layers.Dense(1, name="c")])
    names = [layer.name for layer in model._flatten_layers(include_self=False)]
    assert {"inner", "a", "b", "c"} <= set(names)
    assert model.name not in names
    assert names == [layer.name for layer in keras.models.clone_model(model)._flatten_layers(include_self=False)]


def test_compile_makes__compile_loss__compile_metrics_and__loss_tracker() -> None:
    model = run(model=linear(metrics=["mae"]))
    assert model._loss_tracker.name == "loss"
    assert model._compile_metrics.name == "compile_metrics" and model._compile_metrics in model.metrics
    assert model._compile_loss is not None and model._compile_loss.built
    for name in ("_compile_loss", "_compile_metrics", "_loss_tracker", "optimizer"):
        assert name in vars(model)  # replay exchanges them there


def test__compute_loss_takes_what_replay_passes() -> None:
    parameters = inspect.signature(keras.Model._compute_loss).parameters
    assert {"x", "y", "y_pred", "sample_weight", "training"} <= set(parameters)
    assert {"x", "y", "y_pred", "sample_weight"} <= set(inspect.signature(keras.Model.compute_metrics).parameters)


def test__call_has_training_arg_tells_who_takes_training() -> None:
    assert linear()._call_has_training_arg is True
    assert keras.layers.Dropout(0.5)._call_has_training_arg is True
    assert keras.layers.Flatten()._call_has_training_arg is False


def test_layers_keep__losses_and__loss_ids() -> None:
    for layer in linear()._flatten_layers():
        assert isinstance(layer._losses, list) and isinstance(layer._loss_ids, set)


def test_metrics_variables_are_the_loss_tracker_first_then_the_compiled_metrics_in_order() -> None:
    model = run(model=linear(metrics=["mae", keras.metrics.RootMeanSquaredError(name="rmse")]))
    described = describe_metrics.metric_variables(model)
    assert [(v["metric"], v["name"]) for v in described] == [
        (metric, name) for metric in ("loss", "mae", "rmse") for name in ("total", "count")
    ]
    assert len(described) == len(model.metrics_variables)


def test_StatelessScope_gives_other_values_and_leaves_the_variables_alone() -> None:
    model = linear()
    before = [np.array(v.value.detach() if hasattr(v.value, "detach") else v.value) for v in model.variables]
    zeros = [(v, keras.ops.zeros(v.shape, v.dtype)) for v in model.variables]
    x, _ = rows()
    with keras.StatelessScope(zeros, collect_losses=True):
        inside = keras.ops.convert_to_numpy(model(x))
    assert not inside.any()
    after = [np.array(v.value.detach() if hasattr(v.value, "detach") else v.value) for v in model.variables]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(before, after, strict=True))


def test_a_call_set_on_a_layers_instance_is_the_one_that_runs() -> None:
    layer = keras.layers.Dropout(0.9, seed=1)
    own = layer.call
    object.__setattr__(layer, "call", lambda *args, **kwargs: own(*args, **{**kwargs, "training": False}))
    assert keras.ops.convert_to_numpy(layer(np.ones((8, 3), "float32"), training=True)).tolist() == [[1.0] * 3] * 8


def test_fit_finalises_the_moving_average_before_on_train_end() -> None:
    seen: list[np.ndarray] = []

    class Looks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seen.append(self.model.get_weights()[0])

        def on_train_end(self, logs: Any = None) -> None:
            seen.append(self.model.get_weights()[0])

    model = run(Looks(), model=linear(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)), epochs=1)
    assert not np.array_equal(seen[0], seen[1])
    assert np.array_equal(seen[1], model.get_weights()[0])


def test_EarlyStopping_restores_inside_a_callback_hook_not_after() -> None:
    seen: list[Any] = []

    class Looks(keras.callbacks.Callback):
        def on_train_end(self, logs: Any = None) -> None:
            seen.extend(self.model.get_weights())

    stopping = keras.callbacks.EarlyStopping(monitor="loss", mode="max", patience=1, restore_best_weights=True)
    model = run(stopping, Looks(), epochs=5)
    assert all(np.array_equal(a, b) for a, b in zip(seen, model.get_weights(), strict=True))

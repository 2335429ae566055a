"""The kinds of fit that tracing must leave alone, and what a fit leaves behind, as plain comparable data.

Never imports `diagnose`: the untraced side of every comparison runs on this module alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import random
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

BACKEND = keras.config.backend()
ROWS = 22
BATCH = 8  # three batches, the last one short
STEPS = 3
EPOCHS = 3
_TIMES = re.compile(r"\d+(\.\d+)?(ms|us|s|m|h)(/step|/epoch)?\b|\d+:\d\d(:\d\d)?")


class Planned(RuntimeError):
    """What the failing fits raise."""


def rows(n: int = ROWS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype("float32")
    return x, (x[:, :1] + 0.3 * rng.normal(size=(n, 1)) > 0).astype("float32")


def binary(
    *middle: Any, optimizer: Any = None, built: bool = True, compiled: Mapping[str, Any] | None = None, **dense: Any
) -> Any:
    """A binary classifier with `middle` layers in it."""
    optimizer = optimizer or keras.optimizers.SGD(0.05, momentum=0.9)  # Adam's graph takes TensorFlow twice as long
    layers = [keras.Input((4,))] if built else []
    layers += [keras.layers.Dense(6, activation="tanh", **dense), *middle, keras.layers.Dense(1, activation="sigmoid")]
    model = keras.Sequential(layers)
    model.compile(
        **{"optimizer": optimizer, "loss": "binary_crossentropy", "metrics": ["accuracy"], **(compiled or {})}
    )
    return model


def arrays(**more: Any) -> dict[str, Any]:
    x, y = rows()
    return {"x": x, "y": y, "batch_size": BATCH, "epochs": EPOCHS, **more}


@dataclass
class Scene:
    """What callbacks of one run may use: a folder to write to, and a list of what they saw."""

    folder: Path
    seen: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Case:
    """One kind of fit. `data` gives fresh arguments for each fit; `ends_with` is what the first fit raises, if any."""

    model: Callable[[], Any] = binary
    data: Callable[[], dict[str, Any]] = arrays
    callbacks: Callable[[Scene], list[Any]] = lambda scene: []
    next_data: Callable[[], dict[str, Any]] | None = None
    ends_with: type[BaseException] | None = None
    without: Mapping[str, str] = field(default_factory=dict)
    """Backends this fit does not exist on, with the reason."""
    once: Mapping[str, str] = field(default_factory=dict)
    """Backends on which Keras itself cannot fit this model a second time, with the reason."""
    idle_updates: int = 0
    """By how much the optimizer's count of updates runs ahead: TensorFlow raises it before it misses a batch."""


# ── data ──


def generator(fail_at: int | None = None) -> dict[str, Any]:
    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        x, y = rows()
        number = 0
        while True:
            for start in range(0, 16, BATCH):
                if number == fail_at:
                    raise Planned("the data ran into trouble")
                yield x[start : start + BATCH], y[start : start + BATCH]
                number += 1

    return {"x": batches(), "steps_per_epoch": 4, "epochs": EPOCHS}


class Pairs(keras.utils.PyDataset):
    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = rows()
        return x[index * BATCH : (index + 1) * BATCH], y[index * BATCH : (index + 1) * BATCH]


def tf_data() -> dict[str, Any]:
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(rows()).shuffle(ROWS).batch(BATCH).prefetch(1)
    return {"x": dataset, "epochs": EPOCHS}


def tf_data_ragged_end() -> dict[str, Any]:
    """A pipeline that knows no length and ends before `steps_per_epoch` is reached."""
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(rows()).filter(lambda x, y: x[0] > -1.0).batch(BATCH)
    return {"x": dataset, "epochs": EPOCHS}


def torch_loader() -> dict[str, Any]:
    import torch

    x, y = (torch.from_numpy(a) for a in rows())
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=BATCH, shuffle=True)
    return {"x": loader, "epochs": EPOCHS}


def two_inputs_data() -> dict[str, Any]:
    x, y = rows()
    return arrays(x={"left": x[:, :3], "right": x[:, 3:]}, y=y)


# ── models ──


def squared(y_true: Any, y_pred: Any) -> Any:
    """A function metric: Keras averages what it gives for each row."""
    return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


def two_inputs() -> Any:
    left, right = keras.Input((3,), name="left"), keras.Input((1,), name="right")
    hidden = keras.layers.Concatenate()([keras.layers.Dense(4)(left), right])
    model = keras.Model({"left": left, "right": right}, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model


def two_outputs() -> Any:
    inputs = keras.Input((4,))
    outputs = {"a": keras.layers.Dense(1, name="a")(inputs), "b": keras.layers.Dense(1, name="b")(inputs)}
    model = keras.Model(inputs, outputs)
    model.compile(optimizer="sgd", loss={"a": "mse", "b": "mae"}, metrics={"a": ["mae"]})
    return model


class Subclassed(keras.Model):
    """Builds its variables in the fit, and draws from a seed generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(1, activation="sigmoid")
        self.seed_generator = keras.random.SeedGenerator(3)

    def call(self, x: Any, training: bool = False) -> Any:
        if training:
            x = x + keras.random.normal(keras.ops.shape(x), stddev=0.1, seed=self.seed_generator)
        return self.dense(x)


def subclassed() -> Any:
    model = Subclassed()
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", weighted_metrics=["accuracy"])
    return model


@keras.saving.register_keras_serializable("tests")
class Noise(keras.layers.Layer):
    """Draws as published variational models do: by an operation of TensorFlow without a seed of its own, whose state
    belongs to the graph function it runs in."""

    def call(self, x: Any) -> Any:
        import tensorflow as tf

        return x + 0.1 * tf.random.normal(tf.shape(x))


class Autoencoder(keras.Model):
    """Its own train step calls its parts, so it never counts as built; all its variables exist from the start."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), Noise()])
        self.decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4)])
        self.mean_loss = keras.metrics.Mean(name="loss")

    @property
    def metrics(self) -> list[Any]:
        return [self.mean_loss]

    def train_step(self, data: Any) -> dict[str, Any]:
        import tensorflow as tf

        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self.decoder(self.encoder(x)) - x) ** 2)
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self.mean_loss.update_state(loss)
        return {"loss": self.mean_loss.result()}


def autoencoder() -> Any:
    model = Autoencoder()
    model.compile(optimizer="sgd")
    return model


def convolutions() -> Any:
    model = keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(5, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    return model


def images(batch_size: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(500, 12, 12, 1)).astype("float32"), rng.integers(0, 5, 500).astype("int32")
    return {"x": x, "y": y, "batch_size": batch_size, "epochs": 1}


# ── callbacks ──


class BatchHooks(keras.callbacks.Callback):
    """Sees every batch, its logs and the weights at that moment."""

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.scene = scene

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.scene.seen.append(("begin", batch, bits(self.model.weights)))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.scene.seen.append(("end", batch, {k: float(v) for k, v in logs.items()}, bits(self.model.weights)))

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.scene.seen.append(("test", batch, {k: float(v) for k, v in logs.items()}))


class EvaluatesInside(keras.callbacks.Callback):
    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.scene = scene

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 1:
            x, y = rows(9, seed=3)
            self.scene.seen.append(self.model.evaluate(x, y, verbose=0, return_dict=True))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        x, _ = rows(9, seed=3)
        self.scene.seen.append(self.model.predict(x, verbose=0).tobytes())


class SetsWeights(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.set_weights([0.9 * w for w in self.model.get_weights()])

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if batch == 2:
            bias = self.model.layers[0].bias
            bias.assign(keras.ops.convert_to_numpy(bias.value) + 1)


class KeepsWeights(keras.callbacks.Callback):
    """Keeps weights of two epochs in attributes, and puts one of them back."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == 0:
            self.first = self.model.get_weights()
        self.trained = [keras.ops.convert_to_numpy(v).copy() for v in self.model.trainable_weights]

    def on_train_end(self, logs: Any = None) -> None:
        self.model.set_weights(self.first)


class OutsideLoss(keras.losses.Loss):
    """Takes a weight from outside the model."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = keras.Variable(0.0, trainable=False, name="weight")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean(keras.ops.square(y_true - y_pred) + self.weight * keras.ops.square(y_pred), axis=-1)


class RaisesWeight(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.loss.weight.assign(0.1 * epoch)


class RaisesAt(keras.callbacks.Callback):
    """Raises in `hook` the `nth` time it is called (counted from 1)."""

    def __init__(self, hook: str, nth: int, error: BaseException) -> None:
        super().__init__()
        self.count, self.nth, self.error = 0, nth, error
        setattr(self, hook, self._raise)

    def _raise(self, *_: Any, **__: Any) -> None:
        self.count += 1
        if self.count == self.nth:
            raise self.error


def stopping(scene: Scene) -> list[Any]:
    return [keras.callbacks.EarlyStopping(monitor="loss", patience=1, restore_best_weights=True)]


def checkpoints(scene: Scene) -> list[Any]:
    path = str(scene.folder / "{epoch:02d}.weights.h5")
    return [keras.callbacks.ModelCheckpoint(path, monitor="loss", save_best_only=True, save_weights_only=True)]


def raising(
    hook: str, nth: int, error: Callable[[], BaseException] = lambda: Planned("the callback had enough")
) -> Any:
    return lambda scene: [RaisesAt(hook, nth, error())]


ONE_STEP_ON_TORCH = {"torch": "Keras on torch knows only steps_per_execution=1"}
PIPELINES = {"jax": "needs TensorFlow beside the backend", "torch": "needs TensorFlow beside the backend"}
ONLY_TORCH = {"tensorflow": "a torch DataLoader needs torch", "jax": "a torch DataLoader needs torch"}
ONLY_TENSORFLOW = dict.fromkeys(("jax", "torch"), "its operations are TensorFlow's own")
ONE_SHAPE = dict.fromkeys(("jax", "torch"), "a function is compiled for each shape by itself")


AVERAGE_TWICE = {
    "jax": "the averages share buffers with the weights after a fit, and JAX refuses to donate a buffer twice"
}


def _high_rate() -> Any:
    # Overshoots, so that EarlyStopping has something to restore.
    return binary(optimizer=keras.optimizers.SGD(20.0))


def _schedule() -> Any:
    return binary(optimizer=keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)))


CASES: dict[str, Case] = {
    "plain": Case(model=lambda: binary(optimizer="adam"), data=lambda: arrays(shuffle=False, batch_size=11)),
    "metrics_of_many_kinds": Case(
        model=lambda: binary(
            compiled={
                "metrics": [
                    keras.metrics.AUC(num_thresholds=20, name="auc"),
                    keras.metrics.F1Score(threshold=0.5, name="f1"),
                    squared,
                ],
                "weighted_metrics": ["mae"],
            }
        )
    ),
    "last_short_batch": Case(data=lambda: arrays(shuffle=False)),
    "shuffling": Case(),
    "dropout": Case(model=lambda: binary(keras.layers.Dropout(0.4), optimizer="adamw")),
    "batch_norm": Case(model=lambda: binary(keras.layers.BatchNormalization())),
    "dropout_and_batch_norm": Case(
        model=lambda: binary(
            keras.layers.GaussianNoise(0.1), keras.layers.BatchNormalization(), keras.layers.Dropout(0.4)
        ),
        data=lambda: arrays(validation_data=rows(9, seed=1)),
    ),
    "validation_data": Case(data=lambda: arrays(validation_data=rows(9, seed=1), validation_batch_size=5)),
    "validation_split": Case(data=lambda: arrays(validation_split=0.3, validation_freq=2)),
    "steps_per_execution_1": Case(
        model=lambda: binary(compiled={"steps_per_execution": 1}), data=lambda: arrays(batch_size=4)
    ),
    "steps_per_execution_3": Case(
        model=lambda: binary(keras.layers.Dropout(0.4), compiled={"steps_per_execution": 3}),
        data=lambda: arrays(batch_size=5, validation_data=rows(9, seed=1)),
        without=ONE_STEP_ON_TORCH,
    ),
    "tf_data": Case(data=tf_data, without=PIPELINES),
    "tf_data_of_unknown_length": Case(
        model=lambda: binary(optimizer="adam"), data=tf_data_ragged_end, without=PIPELINES, idle_updates=EPOCHS
    ),
    "torch_loader": Case(data=torch_loader, without=ONLY_TORCH),
    "generator": Case(data=generator),
    "py_dataset": Case(data=lambda: {"x": Pairs(), "epochs": EPOCHS}),
    "class_weight": Case(data=lambda: arrays(class_weight={0: 1.0, 1: 2.5})),
    "sample_weight": Case(
        data=lambda: arrays(sample_weight=np.linspace(0, 1, ROWS, dtype="float32")), model=subclassed
    ),
    "run_eagerly": Case(model=lambda: binary(keras.layers.Dropout(0.4), compiled={"run_eagerly": True})),
    "jit_compile": Case(
        model=lambda: binary(keras.layers.Dropout(0.4), compiled={"jit_compile": True}),
        without={"torch": "torch.compile needs a C++ compiler, which not every machine has"},
    ),
    # Beyond numbers: what the *next* fit, which is not traced, runs in.
    "unseeded_operations": Case(model=lambda: binary(Noise()), without=ONLY_TENSORFLOW),
    "unseeded_operations_in_executions": Case(
        model=lambda: binary(Noise(), compiled={"steps_per_execution": 2}),
        data=lambda: arrays(validation_data=rows(9, seed=1)),
        without=ONLY_TENSORFLOW,
    ),
    "autoencoder": Case(model=autoencoder, data=lambda: {**arrays(), "y": None}, without=ONLY_TENSORFLOW),
    "other_batches_next": Case(
        model=convolutions, data=lambda: images(64), next_data=lambda: images(100), without=ONE_SHAPE
    ),
    "steps_per_execution_of_unknown_length": Case(
        model=lambda: binary(compiled={"steps_per_execution": 2}),
        data=tf_data_ragged_end,
        without=PIPELINES,
        idle_updates=0,
    ),
    "regularizer": Case(model=lambda: binary(kernel_regularizer="l2", activity_regularizer="l1")),
    "two_inputs": Case(model=two_inputs, data=two_inputs_data),
    "two_outputs": Case(model=two_outputs, data=lambda: arrays(y={"a": rows()[1], "b": rows()[0][:, :1]})),
    "subclassed": Case(model=subclassed),
    "unbuilt": Case(model=lambda: binary(built=False)),
    "mixed_precision": Case(model=lambda: binary(keras.layers.Dropout(0.4), dtype="mixed_bfloat16")),
    "learning_rate_schedule": Case(model=_schedule),
    "learning_rate_callback": Case(
        callbacks=lambda scene: [
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 * rate),
            keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=0, min_delta=10.0),
        ]
    ),
    "moving_average": Case(
        model=lambda: binary(optimizer=keras.optimizers.Adam(use_ema=True, ema_momentum=0.9)), once=AVERAGE_TWICE
    ),
    "swap_moving_average": Case(
        model=lambda: binary(optimizer=keras.optimizers.Adam(use_ema=True, ema_momentum=0.9)),
        data=lambda: arrays(validation_data=rows(9, seed=1)),
        callbacks=lambda scene: [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)],
        once=AVERAGE_TWICE,
    ),
    "early_stopping_restore": Case(model=_high_rate, callbacks=stopping),
    "model_checkpoint": Case(callbacks=checkpoints),
    "batch_hooks": Case(
        data=lambda: arrays(validation_data=rows(9, seed=1)), callbacks=lambda scene: [BatchHooks(scene)]
    ),
    "evaluates_inside": Case(callbacks=lambda scene: [EvaluatesInside(scene)]),
    "loss_changes": Case(lambda: binary(compiled={"loss": OutsideLoss()}), callbacks=lambda scene: [RaisesWeight()]),
    "keeps_weights": Case(callbacks=lambda scene: [KeepsWeights()]),
    "sets_weights": Case(callbacks=lambda scene: [SetsWeights()]),
    "no_epochs": Case(data=lambda: arrays(epochs=0), next_data=arrays),
    "callback_raises_after_a_batch": Case(callbacks=raising("on_train_batch_end", 4), ends_with=Planned),
    "callback_raises_before_a_batch": Case(callbacks=raising("on_train_batch_begin", 4), ends_with=Planned),
    "callback_raises_at_the_start": Case(callbacks=raising("on_train_begin", 1), ends_with=Planned),
    "callback_raises_in_validation": Case(
        data=lambda: arrays(validation_data=rows(9, seed=1)),
        callbacks=raising("on_test_batch_end", 1),
        ends_with=Planned,
    ),
    "callback_raises_at_the_end": Case(callbacks=raising("on_train_end", 1), ends_with=Planned),
    "data_raises": Case(
        data=lambda: generator(fail_at=6),
        next_data=generator,
        ends_with=Exception,  # Keras's own choice on each backend
        idle_updates=1 if BACKEND == "tensorflow" else 0,
    ),
    "interrupted": Case(callbacks=raising("on_train_batch_end", 4, KeyboardInterrupt), ends_with=KeyboardInterrupt),
}


def existing() -> list[str]:
    return [name for name, case in CASES.items() if BACKEND not in case.without]


# ── what a fit leaves behind ──


def bits(variables: Any) -> tuple[tuple[str, str, tuple[int, ...], bytes], ...]:
    """Contents of variables, comparable bit for bit."""
    found = []
    for v in variables:
        array = keras.ops.convert_to_numpy(v.value)
        found.append((v.name, str(array.dtype), array.shape, array.tobytes()))
    return tuple(found)


@dataclass
class Outcome:
    """Everything about one fit that a user can see or that the next fit builds on."""

    model: dict[str, Any]
    history: dict[str, list[float]] | None
    epochs: list[int] | None
    printed: str
    warnings: list[tuple[str, str]]
    error: tuple[str, str] | None
    generators: tuple[Any, ...]


def run_fit(model: Any, arguments: dict[str, Any], callbacks: list[Any]) -> Outcome:
    printed = io.StringIO()
    history = error = None
    warned: list[tuple[str, str]] = []

    def show(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
        # Those of Keras's own thread (progress of batches) come when they come.
        if threading.current_thread() is threading.main_thread():
            warned.append((category.__name__, str(message)))

    with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        warnings.simplefilter("always")
        warnings.showwarning = show
        try:
            history = model.fit(**{"verbose": 2, **arguments}, callbacks=callbacks)
        except BaseException as raised:
            error = (type(raised).__qualname__, _message(raised))
    return Outcome(
        model={
            "variables": bits(model.variables),
            "optimizer": bits(model.optimizer.variables),
            "metrics": bits(model.metrics_variables),
            "stop_training": model.stop_training,
            "losses": len(model.losses),
            "training": getattr(model, "training", None),
            "attributes": sorted(k for k in vars(model) if "function" not in k),
        },
        history=None if history is None else history.history,
        epochs=None if history is None else history.epoch,
        printed=_TIMES.sub("T", printed.getvalue()),
        warnings=warned,
        error=error,
        generators=_generators(),
    )


def _message(error: BaseException) -> str:
    # A traceback of the training graph names our wrapper; the first line is the user's own message.
    return re.sub(r"0x[0-9a-f]+", "0x", str(error).split("\n")[0])


def _generators() -> tuple[Any, ...]:
    """What the process-wide generators give next."""
    numpy_state = np.random.get_state()
    found: tuple[Any, ...] = (random.getstate(), numpy_state[1].tobytes(), numpy_state[2])  # type: ignore[index]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return (*found, tf.random.uniform((3,)).numpy().tobytes())
    if BACKEND == "torch":
        import torch

        return (*found, torch.get_rng_state().numpy().tobytes())
    return found


@dataclass
class Comparison:
    """A fit, and the next fit of the same model, which is never traced."""

    first: Outcome
    next: Outcome | None
    seen: list[Any]
    files: dict[str, bytes]


def run_case(
    case: Case, folder: Path, add: Callable[[list[Any]], list[Any]] = lambda callbacks: callbacks
) -> Comparison:
    """Runs a case from a fixed seed; `add` may put a tracer among the callbacks of the first fit."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(7)
    scene = Scene(folder)
    model = case.model()
    callbacks = add(case.callbacks(scene))
    first = run_fit(model, case.data(), callbacks)
    following = None if BACKEND in case.once else run_fit(model, (case.next_data or case.data)(), [])
    return Comparison(first, following, scene.seen, _weights_files(folder))


def _weights_files(folder: Path) -> dict[str, bytes]:
    import h5py

    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.weights.h5")):
        with h5py.File(path) as file:
            contents: list[Any] = []
            file.visititems(
                lambda name, item, c=contents: (
                    c.append((name, item[()].tobytes())) if isinstance(item, h5py.Dataset) else None
                )
            )
        found[path.name] = repr(contents).encode()
    return found


def differences(untraced: Any, traced: Any, at: str = "") -> list[str]:
    """The paths at which two nested values differ. Floats count as equal only bit for bit (NaN equals NaN)."""
    if dataclasses.is_dataclass(untraced) and not isinstance(untraced, type):
        untraced, traced = vars(untraced), vars(traced)
    if isinstance(untraced, dict) and isinstance(traced, dict):
        keys = [f"{at}: keys {list(untraced)} / {list(traced)}"] if list(untraced) != list(traced) else []
        return keys + [d for k in untraced if k in traced for d in differences(untraced[k], traced[k], f"{at}.{k}")]
    if isinstance(untraced, (list, tuple)) and isinstance(traced, (list, tuple)) and len(untraced) == len(traced):
        return [
            d for i, (u, t) in enumerate(zip(untraced, traced, strict=True)) for d in differences(u, t, f"{at}[{i}]")
        ]
    if isinstance(untraced, float) and isinstance(traced, float):
        same = np.float64(untraced).tobytes() == np.float64(traced).tobytes()
    else:
        same = type(untraced) is type(traced) and untraced == traced
    return [] if same else [f"{at}: {untraced!r:.300} / {traced!r:.300}"]

"""Run as a script: fits of one distribution setup, each untraced and then traced, in a process of its own. Prints JSON.

python fits.py mirrored|data_parallel DEVICES FOLDER
"""

# ruff: noqa: E402  (the environment must be set before the imports)

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SETUP, DEVICES, FOLDER = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow" if SETUP == "mirrored" else "jax"
if SETUP == "data_parallel":
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES}"

import keras
import numpy as np

from diagnose import Tracer
from diagnose.tracefile.reader import read_trace

layers = keras.layers
ROWS = 22 if DEVICES == 2 else 25
BATCH = 8 if DEVICES == 2 else 9
if SETUP == "data_parallel":
    ROWS, BATCH = 24, 8  # JAX needs batches that the devices can share evenly


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 3)).astype("float32")
    return x, (x.sum(axis=1, keepdims=True) + 0.5 * rng.normal(size=(ROWS, 1)) > 0).astype("float32")


def classifier(*middle: Any, **compiled: Any) -> Any:
    inputs = keras.Input((3,))
    h = layers.Dense(6, kernel_regularizer="l2")(inputs)
    for layer in middle:
        h = layer(h)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(h))
    metrics = ["accuracy", keras.metrics.AUC(num_thresholds=7, name="auc")]
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=metrics, **compiled)
    return model


def two_inputs() -> Any:
    a, b = keras.Input((2,), name="a"), keras.Input((1,), name="b")
    model = keras.Model({"a": a, "b": b}, layers.Dense(1)(layers.Concatenate()([a, b])))
    model.compile(optimizer="sgd", loss="mse", metrics=["mae"])
    return model


def arrays(x: Any, y: Any) -> dict[str, Any]:
    return {"x": x, "y": y, "batch_size": BATCH, "validation_data": (x[:16], y[:16]), "validation_batch_size": BATCH}


def weighted(x: Any, y: Any) -> dict[str, Any]:
    return {**arrays(x, y), "class_weight": {0: 1.0, 1: 3.0}}


def named(x: Any, y: Any) -> dict[str, Any]:
    return {"x": {"a": x[:, :2], "b": x[:, 2:]}, "y": y, "batch_size": BATCH}


def dataset(x: Any, y: Any) -> dict[str, Any]:
    import tensorflow as tf

    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    return {"x": batches, "validation_data": batches}


def own_split(x: Any, y: Any) -> dict[str, Any]:
    """Each replica takes batches of its own from the data, so the last ones are of different sizes."""
    import tensorflow as tf

    def batches(context: Any) -> Any:
        return tf.data.Dataset.from_tensor_slices((x, y)).batch(4)

    return {"x": STRATEGY.distribute_datasets_from_function(batches), "steps_per_epoch": 3, "epochs": 1}


KINDS: dict[str, tuple[Callable[[], Any], Callable[..., dict[str, Any]]]] = {
    "everything": (
        lambda: classifier(layers.BatchNormalization(), layers.Dropout(0.4), layers.GaussianNoise(0.1)),
        weighted,
    ),
    "two inputs": (two_inputs, named),
}
if SETUP == "data_parallel":
    KINDS["dense"] = (classifier, arrays)
    KINDS["eager"] = (lambda: classifier(layers.BatchNormalization(), layers.Dropout(0.4), run_eagerly=True), arrays)
    KINDS["steps per execution"] = (lambda: classifier(layers.Dropout(0.4), steps_per_execution=2), arrays)
elif DEVICES == 2:
    KINDS["tf.data"] = (lambda: classifier(layers.BatchNormalization()), dataset)
    KINDS["own split"] = (lambda: classifier(layers.BatchNormalization()), own_split)
    KINDS["synchronized"] = (lambda: classifier(layers.BatchNormalization(synchronized=True)), arrays)
else:
    del KINDS["two inputs"]


def parts(variable: Any) -> list[np.ndarray]:
    """What each replica holds; JAX's sharded arrays whole."""
    held = variable.value
    return [np.array(part.numpy() if hasattr(part, "numpy") else part) for part in getattr(held, "values", [held])]


def contents(model: Any) -> list[bytes]:
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return [part.tobytes() for v in variables for part in parts(v)]


def places(model: Any) -> list[Any]:
    """The devices each of JAX's arrays lies on, and whether whole on each."""
    found = [v.value for v in (*model.variables, *model.optimizer.variables, *model.metrics_variables)]
    held = [value.sharding for value in found if hasattr(value, "sharding")]
    return [(sorted(d.id for d in sharding.device_set), sharding.is_fully_replicated) for sharding in held]


def fit(kind: str, *, tracer: Tracer | None) -> tuple[Any, dict[str, Any]]:
    """Two fits of a fresh model, the first with the tracer: the model, and what came out of both."""
    make, arguments = KINDS[kind]
    keras.utils.set_random_seed(7)
    with STRATEGY.scope():
        model = make()
    x, y = data()
    given = {"epochs": 2, "verbose": 0, "shuffle": False, **arguments(x, y)}
    callbacks: list[Any] = []
    if "validation_data" in given:
        callbacks.append(keras.callbacks.EarlyStopping(monitor="val_loss", patience=5, restore_best_weights=True))
    first = model.fit(**given, callbacks=[*callbacks, *([tracer] if tracer else [])]).history
    after_first = contents(model)
    inputs = given["x"] if isinstance(given["x"], dict) else x
    evaluated = model.evaluate(inputs, y, batch_size=BATCH, verbose=0, return_dict=True)
    second = model.fit(**{**given, **arguments(x, y)}).history
    history = [first, evaluated, second]
    return model, {"history": history, "evaluated": evaluated, "contents": [*after_first, *contents(model)]}


def result(kind: str) -> dict[str, Any]:
    _, plain = fit(kind, tracer=None)
    tracer = Tracer(FOLDER / f"{kind}.diag")
    model, traced = fit(kind, tracer=tracer)
    before, places_before = contents(model), places(model)
    diagnosis = tracer.diagnose()
    with read_trace(tracer.path) as trace:
        found = {
            "replicas": trace.info.get("replicas"),
            "missing": sorted({str(s.batch.missing) for s in trace.steps}),
            "shares": [list(s) for s in sorted({s.batch.layout.shares for s in trace.steps if s.batch.layout.shares})],
            "errors": [str(e.detail) for e in trace.events if e.kind == "tracer-error"],
            "variables": trace.info["variables"],
            "states": [[a.tolist() for a in trace.arrays(state)] for v in (0, 1) if (state := trace.version(v))],
            "batches": [[leaf.tolist() for leaf in keras.tree.flatten(trace.batch(s.batch).x)] for s in trace.steps],
        }
    replay = diagnosis.replay
    return {
        **found,
        "same_history": repr(plain["history"]) == repr(traced["history"]),
        "same_contents": plain["contents"] == traced["contents"],
        "untouched": before == contents(model) and places_before == places(model),
        "replicas_differ": any(len({p.tobytes() for p in parts(v)}) > 1 for v in model.variables),
        "steps": None if replay is None else replay.steps,
        "reproduced": None if replay is None else replay.reproduced,
        "max_abs_error": None if replay is None else max(replay.max_abs_error.values()),
        "evaluated": {
            ledger.metric: [ledger.evaluated, plain["evaluated"][ledger.metric]] for ledger in diagnosis.ledgers
        },
        "residuals": [entry.residual for entry in diagnosis.ledgers],
        "confirmed": None if diagnosis.restoration is None else diagnosis.restoration.verdict,
        "notice": diagnosis.notice,
        "losses": [step.values.get("loss") for step in diagnosis.step_rows],
        "replayed": [(step.replayed or {}).get("loss") for step in diagnosis.step_rows],
    }


if SETUP == "mirrored":
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * DEVICES)
    STRATEGY: Any = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(DEVICES)])
else:
    STRATEGY = keras.distribution.DataParallel(devices=keras.distribution.list_devices("cpu"))

if __name__ == "__main__":
    print(json.dumps({kind: result(kind) for kind in KINDS}))

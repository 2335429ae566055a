"""One of two workers under MultiWorkerMirroredStrategy; an ordinary script but for the workaround. Prints JSON.

python worker.py PORT PORT INDEX [TRACE]
"""

# ruff: noqa: E402  (the environment must be set before the imports)

from __future__ import annotations

import hashlib
import json
import os
import sys
from typing import Any

ports, INDEX, TRACE = sys.argv[1:3], int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else None
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": INDEX}})

import keras
import numpy as np
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()
layers = keras.layers
rng = np.random.default_rng(0)
x = rng.normal(size=(22, 3)).astype("float32")
y = (x.sum(axis=1, keepdims=True) > 0).astype("float32")


def make_fit_work(model: Any) -> None:
    """Keras 3 itself cannot fit on several workers (keras#20585): it builds the model on a batch that lies on several
    workers, and reduces its scalar logs over an axis that they do not have. Both are set right here."""
    from keras.src.backend.tensorflow import trainer

    with strategy.scope():
        model._symbolic_build(data_batch=(x[:4], y[:4]))
    model._maybe_symbolic_build = lambda **_: None
    trainer.reduce_per_replica = lambda values, strategy, reduction: keras.tree.map_structure(
        lambda v: strategy.reduce("MEAN", v, axis=None), values
    )


with strategy.scope():
    keras.utils.set_random_seed(1)
    middle = [layers.BatchNormalization(), layers.Dropout(0.3)]
    first, last = layers.Dense(6, kernel_regularizer="l2"), layers.Dense(1, activation="sigmoid")
    model = keras.Sequential([keras.Input((3,)), first, *middle, last])
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
make_fit_work(model)
options = tf.data.Options()
options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8).with_options(options)
callbacks: list[Any] = [keras.callbacks.EarlyStopping(monitor="val_loss", patience=5, restore_best_weights=True)]
if TRACE:
    from diagnose import Tracer

    callbacks.append(Tracer(TRACE))
history = model.fit(data, epochs=3, verbose=0, validation_data=data, callbacks=callbacks).history
variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
own = [np.array(part.numpy()).tobytes() for v in variables for part in v.value.values]
refused = None
if TRACE and INDEX:
    try:
        callbacks[-1].diagnose()
    except Exception as error:
        refused = f"{type(error).__name__}: {error}"
print(json.dumps({"history": repr(history), "state": hashlib.sha256(b"".join(own)).hexdigest(), "refused": refused}))

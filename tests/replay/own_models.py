"""Models with a train step of their own, written as Keras's guides do for each backend, and fits of them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from diagnose import Tracer

BACKEND = keras.backend.backend()
ROWS = 50


class Own(keras.Sequential):
    """Follows the examples of Keras's guides on custom training loops for each backend."""

    late = False

    if BACKEND == "tensorflow":

        def train_step(self, data: Any) -> Any:
            import tensorflow as tf

            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return self._score(x, y, self(x, training=True) if self.late else y_pred, loss)

    elif BACKEND == "torch":

        def train_step(self, data: Any) -> Any:
            import torch

            x, y = data
            self.zero_grad()
            y_pred = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
            loss.backward()
            weights = list(self.trainable_weights)
            with torch.no_grad():
                self.optimizer.apply([w.value.grad for w in weights], weights)
            return self._score(x, y, self(x, training=True) if self.late else y_pred, loss)

    else:

        def train_step(self, state: Any, data: Any) -> Any:
            import jax

            trainable, non_trainable, optimizer, metrics = state
            x, y = data

            def loss_and_rest(trainable: Any) -> Any:
                y_pred, rest = self.stateless_call(trainable, non_trainable, x, training=True)
                return self.compute_loss(x=x, y=y, y_pred=y_pred), (y_pred, rest)

            (loss, (y_pred, rest)), gradients = jax.value_and_grad(loss_and_rest, has_aux=True)(trainable)
            trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
            if self.late:
                y_pred, rest = self.stateless_call(trainable, rest, x, training=True)
            variables = [*zip(self.metrics_variables, metrics, strict=True)]
            with keras.StatelessScope(variables) as scope:
                logs = self._score(x, y, y_pred, loss)
                metrics = [scope.get_current_value(v) for v in self.metrics_variables]
            return logs, (trainable, rest, optimizer, metrics)

    def _score(self, x: Any, y: Any, y_pred: Any, loss: Any) -> Any:
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=keras.ops.shape(x)[0])
            else:
                metric.update_state(y, y_pred)
        return {metric.name: metric.result() for metric in self.metrics}


class Late(Own):
    late = True


class Witness(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.weights: list[list[np.ndarray]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.weights.append([np.array(w) for w in self.model.get_weights()])

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.weights.append([np.array(w) for w in self.model.get_weights()])


def traced(cls: type[Any], *layers: Any, **arguments: Any) -> tuple[Any, Any, Any, Witness]:
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 4)).astype("float32")
    y = (x @ [1.0, -2.0, 0.5, 0.1] + rng.normal(size=ROWS) > 0).astype("float32").reshape(-1, 1)
    model = cls([keras.Input((4,)), *layers, keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.Adam(0.3), "binary_crossentropy", metrics=["accuracy", "mae"], **arguments)
    tracer, witness = Tracer(), Witness()
    history = model.fit(x, y, batch_size=16, epochs=3, verbose=0, shuffle=False, callbacks=[witness, tracer]).history
    held = [np.array(w) for w in model.get_weights()]
    diagnosis = tracer.diagnose()
    assert all(np.array_equal(a, b) for a, b in zip(held, model.get_weights(), strict=True))
    plain = model.evaluate(x, y, batch_size=16, verbose=0, return_dict=True)
    return diagnosis, history, plain, witness

"""Fits in a child process and in its parent, each printing its losses: `children.py METHOD`."""

import json
import multiprocessing
import os
import sys

import keras
import numpy as np


def train(who: str, seed: int, callbacks: list | None = None) -> None:
    x = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    history = model.fit(x, x[:, :1], batch_size=4, epochs=3, verbose=0, callbacks=callbacks)
    print(json.dumps([who, history.history["loss"]]), flush=True)


class ForksAndExits(keras.callbacks.Callback):
    """The child ends as programs do: through fit, with everything Python does at exit."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if epoch == 1:
            child = os.fork()
            if child == 0:
                sys.exit(5)
            print(json.dumps(["exit", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]), flush=True)


if __name__ == "__main__":
    method = sys.argv[1]
    if method == "exit":
        train("parent", 1, [ForksAndExits()])
    elif method == "on":
        # Before the libraries have started threads. The child goes on to the end of the script, as the parent does.
        child = os.fork()
        train("child" if child == 0 else "parent", 2 if child == 0 else 1)
        if child:
            assert os.waitpid(child, 0)[1] == 0
    else:
        process = multiprocessing.get_context(method).Process(target=train, args=("child", 2))
        process.start()
        process.join()
        assert process.exitcode == 0
        train("parent", 1)

"""Fits in child processes and in their parent, each printing its losses: `children.py all|exit`."""

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
    os.write(1, f"{json.dumps([who, history.history['loss']])}\n".encode())  # in one piece


class ForksAndExits(keras.callbacks.Callback):
    """The child ends as programs do: through fit, with everything Python does at exit."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if epoch == 1:
            child = os.fork()
            if child == 0:
                sys.exit(5)
            os.write(1, f"{json.dumps(['exit', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])])}\n".encode())


if __name__ == "__main__":
    if sys.argv[1] == "exit":
        train("parent", 1, [ForksAndExits()])
        sys.exit()
    # Forked before the libraries have started threads. This child goes on to the end of the script, as the parent does.
    child = os.fork()
    if child == 0:
        train("forked", 2)
    else:
        processes = [
            multiprocessing.get_context(method).Process(target=train, args=(method, seed))
            for method, seed in (("fork", 3), ("spawn", 4))
        ]
        for process in processes:
            process.start()
        train("parent", 1)
        for process in processes:
            process.join()
            assert process.exitcode == 0
        assert os.waitpid(child, 0)[1] == 0

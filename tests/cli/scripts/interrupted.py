"""Training that ends from outside or from within: `interrupted.py wait|exit|kill`. Says when it is well under way."""

import os
import signal
import sys
import time

os.environ["KERAS_BACKEND"] = os.environ["WANTED_BACKEND"]

import keras
import numpy as np


class End(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.01)

    def on_epoch_end(self, epoch, logs=None):
        if epoch != 25:
            return
        print("well into training", flush=True)
        if sys.argv[1] == "exit":
            os._exit(5)
        if sys.argv[1] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)


model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile(optimizer="sgd", loss="mse")
rng = np.random.default_rng(0)
x = rng.normal(size=(8, 2)).astype("float32")
model.fit(x, x.sum(axis=1), batch_size=4, epochs=100_000, verbose=0, callbacks=[End()])
print("never reached")

"""Fits once, then fits wrongly inside a function: its traceback must be Python's own."""

import os

os.environ["KERAS_BACKEND"] = os.environ["WANTED_BACKEND"]

import keras
import numpy as np


class Stumble(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            try:
                {}["missing"]
            except KeyError as error:
                raise ValueError("stumbled") from error


def train(**arguments):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    model.fit(np.zeros((4, 2)), np.zeros((4, 1)), verbose=0, **arguments)


train(epochs=2)
print("first fit done")
train(epochs=5, callbacks=[Stumble()])
print("never reached")

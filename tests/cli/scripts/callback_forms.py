"""Every form in which `fit` takes callbacks; each counts its epochs. Also models that need code of the script."""

import json
import os
import sys

os.environ["KERAS_BACKEND"] = os.environ["WANTED_BACKEND"]

import keras
import numpy as np

import diagnose


class Counts(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1


class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


def model(*layers):
    made = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1), *layers])
    made.compile(optimizer="sgd", loss="mse")
    return made


x, y = np.ones((4, 2), "float32"), np.zeros((4, 1), "float32")
found = {}
quiet = {"epochs": 2, "verbose": 0}

single = Counts()
model(Doubled()).fit(x, y, callbacks=single, **quiet)
found["single"] = single.epochs

pair = (Counts(), Counts())
model(keras.layers.Lambda(lambda z: z * 2)).fit(x, y, callbacks=pair, **quiet)
found["tuple"] = [cb.epochs for cb in pair]

positional = Counts()
history = model().fit(x, y, None, 2, 0, [positional])
found["positional"] = positional.epochs
found["history"] = history.history["loss"]

container_model = model()
inner = Counts()
container = keras.callbacks.CallbackList([inner], add_history=True, add_progbar=False, model=container_model, epochs=2)
before = list(container.callbacks)
container_model.fit(x, y, callbacks=container, **quiet)
container_model.fit(x, y, callbacks=container, **quiet)
found["list"] = inner.epochs
found["list unchanged"] = container.callbacks == before

mine = diagnose.Tracer(sys.argv[1])
given = [Counts(), mine]
model().fit(x, y, callbacks=given, **quiet)
found["own tracer"] = [len(given), len(mine.runs)]

try:
    model().fit(x, y, epochs=1, verbose=0, no_such_argument=1)
except TypeError as error:
    found["wrong argument"] = str(error)

model().fit(x, y, **quiet)
print(json.dumps(found))

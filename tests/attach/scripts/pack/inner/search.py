"""Prints what a module run by `python -m` sees, then makes a few fits."""

import json
import pickle
import sys

import keras
import numpy as np

from .. import ARGV_WHILE_FOUND
from ..settings import EPOCHS


class Mine:
    pass


print("sees", json.dumps([__name__, __package__, __spec__.name, __file__, sys.argv, sys.path[0], ARGV_WHILE_FOUND]))
print("main", sys.modules["__main__"].Mine is Mine, type(pickle.loads(pickle.dumps(Mine()))) is Mine)
columns = 16_000 if "wide" in sys.argv else 4
x = np.random.default_rng(0).normal(size=(12, columns)).astype("float32") / columns**0.5
for epochs in EPOCHS * (2 if "many" in sys.argv else 1):
    keras.utils.set_random_seed(epochs)
    model = keras.Sequential([keras.Input((columns,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    history = model.fit(x, x[:, :1], batch_size=6, epochs=epochs, verbose=0)
    print("losses", json.dumps(history.history["loss"]))

"""A training script that prints everything by which it could notice that it is not run by `python ordinary.py`.

ordinary.py WORD... : the word "two" makes two fits, "away" changes the working folder, "seven" ends with exit code 7
"""

import atexit
import os
import pickle
import sys

import beside

HEAVY = ("keras", "tensorflow", "jax", "torch", "numpy", "pandas", "matplotlib", "jinja2")


class Point:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return type(other) is type(self) and other.x == self.x


def data():
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3)).astype("float32")
    return x, (x @ [1.0, -2.0, 0.5] + 3).astype("float32")


def model():
    import keras

    keras.utils.set_random_seed(1)
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    # Overshoots: an early epoch has the best loss.
    made.compile(optimizer=keras.optimizers.SGD(learning_rate=0.2, momentum=0.9), loss="mse")
    return made


def main():
    print("arguments", sys.argv)
    print("name", __name__, __file__, __spec__, __package__, __doc__.splitlines()[0])
    print("first on the path", sys.path[0])
    print("beside", beside.NAME, beside.__file__)
    print("imported before", [name for name in HEAVY if name in sys.modules])
    print("pickled", pickle.loads(pickle.dumps(Point(3))) == Point(3), Point.__module__)
    print("to the other stream", file=sys.stderr)
    atexit.register(print, "goodbye")
    os.environ["KERAS_BACKEND"] = os.environ["WANTED_BACKEND"]
    if "away" in sys.argv:
        os.chdir("/")
    import keras

    print("backend", keras.backend.backend())
    x, y = data()
    stop = keras.callbacks.EarlyStopping(monitor="loss", patience=2, restore_best_weights=True, verbose=1)
    history = model().fit(x, y, batch_size=64, epochs=30, verbose=2, callbacks=[stop])
    print("losses", history.history["loss"])
    sys.stdout.flush()
    os.write(1, b"written past Python\n")
    if "two" in sys.argv:
        # Keras warns on standard error: there is no val_loss.
        watch = keras.callbacks.EarlyStopping(monitor="val_loss")
        second = model().fit(x, y, batch_size=16, epochs=2, verbose=2, callbacks=[watch])
        print("losses", second.history["loss"])
    if "seven" in sys.argv:
        sys.exit(7)


if __name__ == "__main__":
    main()

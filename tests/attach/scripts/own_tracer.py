"""A tracer made in the parent is used in a forked child as well, for another fit."""

import os
import sys

import children
import keras

from diagnose import Tracer

if __name__ == "__main__":
    tracer = Tracer(sys.argv[1])
    child = os.fork()
    children.train(
        "child" if child == 0 else "parent", 2 if child == 0 else 1, [tracer, keras.callbacks.TerminateOnNaN()]
    )
    if child:
        assert os.waitpid(child, 0)[1] == 0

"""Two fits of a model that can be trained only; then breaks what comes after the script, in the way it is told."""

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = os.environ["WANTED_BACKEND"]

import keras
import numpy as np


class ForTraining(keras.Sequential):
    def test_step(self, *data):
        raise RuntimeError("this model is\nnot for evaluate")


keras.utils.set_random_seed(1)
x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
y = x.sum(1, keepdims=True)
for cls in (ForTraining, keras.Sequential):
    model = cls([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    stop = keras.callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[stop])

how, code = sys.argv[1], int(sys.argv[2])
if how == "analysis":
    import diagnose.ledger.build

    diagnose.ledger.build.present = None
elif how == "report":
    import diagnose.report.html

    diagnose.report.html.page = None
elif how == "folder":
    Path("out/report.html").mkdir(parents=True)
elif how == "everything":
    import diagnose.analysis.analyze

    diagnose.analysis.analyze.Analysis = None
elif how == "traces":
    for path in Path("out").glob("*.diag"):
        path.write_bytes(b"no trace")
sys.exit(code)

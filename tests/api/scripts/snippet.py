"""The Python API as the documentation shows it, on a fit that overshoots. Prints what it found as JSON."""

import json
import os
import sys

os.environ["KERAS_BACKEND"] = os.environ["WANTED_BACKEND"]

import keras
import numpy as np

from diagnose import DiagnoseError, Tracer

folder = sys.argv[1]
rng = np.random.default_rng(0)
x = rng.normal(size=(64, 3)).astype("float32")
y = (x @ [1.0, -2.0, 0.5] > 0).astype("float32")


def compiled():
    keras.utils.set_random_seed(1)
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    made.compile(optimizer=keras.optimizers.SGD(0.5), loss="mse", metrics=["accuracy"])
    return made


model = compiled()
stop = keras.callbacks.EarlyStopping(monitor="loss", patience=2, restore_best_weights=True)
tracer = Tracer(f"{folder}/runs/digits.diag")
history = model.fit(x, y, batch_size=16, epochs=6, verbose=0, callbacks=[stop, tracer])
held = model.get_weights()
diagnosis = tracer.diagnose(evaluate=(x, y))
diagnosis.to_html(f"{folder}/report.html")
diagnosis.to_json(f"{folder}/diagnosis.json")
frame = diagnosis.ledger("accuracy", epoch=6)


def message(call):
    """The message of the DiagnoseError that a call raises, or "" where it raises none."""
    try:
        call()
    except DiagnoseError as error:
        return str(error)
    return ""


class Stumble(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 2:
            raise RuntimeError("stumbled")


fresh = compiled()
broken = Tracer()
try:
    fresh.fit(x, y, batch_size=16, epochs=6, verbose=0, callbacks=[broken, Stumble()])
except RuntimeError as error:
    stumbled = str(error)
after = broken.diagnose()
fresh.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=[broken])
first, second = broken.diagnose(fit=1), broken.diagnose()

other = tracer.diagnose(evaluate=(x[:10], y[:10]))
nothing = compiled()
nothing.set_weights(held)
found = {
    "history": history.history,
    "evaluate": model.evaluate(x, y, batch_size=64, verbose=0, return_dict=True),
    "evaluate ten": model.evaluate(x[:10], y[:10], verbose=0, return_dict=True),
    "weights kept": all(np.array_equal(a, b) for a, b in zip(held, model.get_weights(), strict=True)),
    "ledger": {"rows": frame.to_dict("records"), "attrs": dict(frame.attrs), "type": type(frame).__module__},
    "restoration": diagnosis.restoration.verdict,
    "nothing restores": second.restoration,
    "epochs": [list(diagnosis.epochs.columns), len(diagnosis.epochs), diagnosis.epochs["logged_loss"].tolist()],
    "steps": [list(diagnosis.steps.columns), len(diagnosis.steps), diagnosis.steps["computed_at"].tolist()],
    "ten": [other.evaluation_data["rows"], other.ledger("accuracy", epoch=6).attrs["evaluated"]],
    "repr": repr(diagnosis),
    "text": str(diagnosis),
    "notebook": diagnosis._repr_html_(),
    "stumbled": [stumbled, after.notice, len(after.epochs), len(after.steps), after.trace["status"]],
    "two fits": [first.notice, second.notice, len(first.epochs), len(second.epochs)],
    "errors": {
        "nothing traced": message(Tracer().diagnose),
        "no such fit": message(lambda: broken.diagnose(fit=3)),
        "no such metric": message(lambda: diagnosis.ledger("recall")),
        "no such epoch": message(lambda: diagnosis.ledger("accuracy", epoch=99)),
        "html": message(lambda: diagnosis.to_html(f"{folder}/none/report.html")),
        "json": message(lambda: diagnosis.to_json(folder)),
        "weights": message(lambda: Tracer(weights="all")),
        "path in a file": message(lambda: Tracer(f"{folder}/report.html/fit.diag")),
        "path is a folder": message(lambda: Tracer(folder)),
        "path is no trace": message(lambda: Tracer(f"{folder}/report.html")),
        "unwritable": message(lambda: Tracer("/proc/none/fit.diag")),
    },
}
print(json.dumps(found))

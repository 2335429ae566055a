"""Runs the Python blocks of a document as cells of one IPython session, and its command lines, in the current folder.
Prints what became of each as JSON."""

import json
import pathlib
import pickle
import re
import shlex
import sys

import keras
import matplotlib
import numpy as np
from IPython.core.interactiveshell import InteractiveShell

import diagnose
from diagnose.cli import main

TRAIN = """
import keras, numpy as np
keras.utils.set_random_seed(0)
x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
model.compile("sgd", "mse", metrics=["accuracy"])
for _ in range(FITS):
    model.fit(x, (x.sum(1) > 0).astype("float32"), batch_size=8, epochs=2, verbose=0)
"""
SUPPLIES = {
    "train.py": "FITS = 1\n" + TRAIN,
    "search.py": "FITS = 13\n" + TRAIN,
    "package/__init__.py": "",
    "package/train.py": "FITS = 1\n" + TRAIN,
    "my_data.py": "import pickle\ndef load():\n    return pickle.load(open('data.pkl', 'rb'))\n",
    "my_models.py": "import keras\ndef build():\n    return keras.models.load_model('best.keras')\n",
}
"""What the documents speak of as the reader's own."""


def supplies(folder: pathlib.Path) -> dict[str, object]:
    """Puts the reader's own files into a folder, and gives the names that a document's first block may use."""
    for name, text in SUPPLIES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 3)).astype("float32")
    y = (x.sum(1) > 0).astype("float32")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", "mse", metrics=["accuracy"])
    model.fit(x, y, epochs=6, verbose=0, callbacks=[diagnose.Tracer(folder / "runs" / "digits.diag")])
    model.save(folder / "best.keras")

    class Tuner:
        def search(self, x: np.ndarray, y: np.ndarray) -> None:
            for _ in range(2):
                model.fit(x, y, epochs=1, verbose=0)

    (folder / "data.pkl").write_bytes(pickle.dumps((x, y)))
    batches = [(x[:16], y[:16]), (x[16:], y[16:])]
    return {"keras": keras, "diagnose": diagnose, "model": model, "x": x, "y": y, "tuner": Tuner(), "batches": batches}


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, content) of a document's fenced blocks."""
    return re.findall(r"^```(python|bash)\n(.*?)^```$", text, re.M | re.S)


matplotlib.use("Agg")
shell = InteractiveShell.instance()
shell.user_ns.update(supplies(pathlib.Path.cwd()))
done = []
for language, content in blocks(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")):
    if language == "python":
        found = shell.run_cell(content)
        done.append([content, found.success, repr(found.error_in_exec or found.error_before_exec)])
        continue
    for line in content.splitlines():
        words = shlex.split(line, comments=True)
        if words[:3] == ["python", "-m", "diagnose"]:
            code = main(words[3:])
            done.append([line, code == 0, f"exit code {code}"])
print("\n" + json.dumps(done))

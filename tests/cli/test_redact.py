"""`diagnose redact` and `diagnose run --rows digests`: what is in the files that others may get, and that every verb
still reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer, read_trace
from diagnose.analysis.analyze import analyse_file
from tests.cli.command import diagnose, fits, strict_json
from tests.cli.warm import without_keras

Array = np.ndarray[Any, Any]


def build() -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", metrics=["accuracy"])
    return model


class Private(keras.callbacks.Callback):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.home = str(folder)
        self.relative = "data/alice/rows.csv"


@dataclass
class Made:
    folder: Path
    rows: tuple[Array, Array, Array]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A diagnosed fit of `alice`'s with checkpoints, weighted rows and an early stop; its last weights in a file."""
    folder = tmp_path_factory.mktemp("alice")
    chance = np.random.default_rng(1)
    x = chance.normal(size=(48, 5)).astype("float32")
    y = (x.sum(axis=1, keepdims=True) > 0).astype("float32")
    weight = chance.uniform(0.5, 2, 48).astype("float32")
    model, tracer = build(), Tracer(folder / "a.diag")
    callbacks = [
        Private(folder),
        keras.callbacks.ModelCheckpoint(str(folder / "{epoch}-{val_loss:.2f}.keras"), monitor="val_loss"),
        keras.callbacks.EarlyStopping("val_accuracy", patience=1, restore_best_weights=True),
        tracer,
    ]
    model.fit(x, y, sample_weight=weight, epochs=4, batch_size=16, verbose=0, validation_split=0.25,
              callbacks=callbacks)  # fmt: skip
    tracer.diagnose()
    model.save_weights(folder / "w.weights.h5")
    done = without_keras("redact", "a.diag", cwd=folder)
    assert (done.code, done.stderr) == (0, ""), done.stderr
    assert done.stdout.startswith("a.redacted.diag holds digests in the place of 48 rows")
    return Made(folder, (x, y, weight))


def test_no_row_no_weight_and_no_path_is_in_the_redacted_file(made: Made) -> None:
    x, _, weight = made.rows
    before = (made.folder / "a.diag").read_bytes()
    after = (made.folder / "a.redacted.diag").read_bytes()
    secrets = [row.tobytes() for row in x] + [b"alice"]
    assert all(secret in before for secret in secrets) and not any(secret in after for secret in secrets)
    with read_trace(made.folder / "a.diag") as trace:
        stored = {trace.array(step.batch.sample_weight or b"").tobytes() for step in trace.steps}
    assert stored and all(content in before and content not in after for content in stored)
    assert {w for content in stored for w in np.frombuffer(content, "float32")} <= set(weight)


def leaves(value: Any, place: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    """All values of a JSON document by place, but for what is about the file and the machine, or has a path."""
    if isinstance(value, (dict, list)):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        found = [
            leaves(part, (*place, key)) for key, part in parts if key not in ("platform", "path", "bytes", "trace")
        ]
        return {where: leaf for part in found for where, leaf in part.items()}
    return {place: "a path" if isinstance(value, str) and ("alice" in value or "folder-" in value) else value}


@pytest.mark.parametrize("verb", [("report",), ("policies",), ("identify", "w.weights.h5")], ids=lambda verb: verb[0])
def test_every_verb_says_the_same_of_the_redacted_trace(verb: tuple[str, ...], made: Made) -> None:
    said = []
    for name in ("a.diag", "a.redacted.diag"):
        done = without_keras(verb[0], name, *verb[1:], *(("--out", "r") if verb[0] == "report" else ()), "--json",
                             cwd=made.folder)  # fmt: skip
        assert done.code == 0, done.stderr
        said.append(done.stdout)
    plain, redacted = (leaves(strict_json(text)) for text in said)
    assert plain == redacted and len(plain) > 5


def test_with_the_data_it_is_replayed_as_before(made: Made) -> None:
    found = analyse_file(made.folder / "a.redacted.diag", build(), data=made.rows)
    assert found.notice is None and found.replay is not None
    assert found.replay.reproduced == found.replay.steps == found.steps_total
    without = analyse_file(made.folder / "a.redacted.diag", build())
    assert without.ledgers == () and "only digests" in str(without.notice)


def test_what_is_there_is_left_alone(made: Made) -> None:
    done = without_keras("redact", "a.diag", cwd=made.folder)
    assert (done.code, done.stdout) == (1, "") and "a.redacted.diag is there already; --force" in done.error
    assert without_keras("redact", "a.diag", "--force", cwd=made.folder).code == 0
    done = without_keras("redact", "none.diag", "--out", "b.diag", cwd=made.folder)
    assert done.code == 1 and "no trace file" in done.error


SCRIPT = """
import keras
import numpy as np

x = np.random.default_rng(1).normal(size=(24, 5)).astype("float32")

class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return x[8 * index : 8 * index + 8], x[8 * index : 8 * index + 8, :1]

def train():
    local = x + 0
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(local, local[:, :1], epochs=2, batch_size=8, verbose=0)
    model.fit(Batches(workers=0), epochs=1, verbose=0)

train()
"""


def test_a_run_without_rows_is_analysed_with_the_arrays_and_says_where_there_were_none(tmp_path: Path) -> None:
    """The function that made the arrays has ended by then."""
    (tmp_path / "train.py").write_text(SCRIPT)
    done = diagnose("run", "train.py", "--rows", "digests", cwd=tmp_path)
    assert done.code == 0, done.stderr
    first, second = fits(tmp_path / "reports" / "train")
    assert first["replay"]["reproduced"] == first["replay"]["steps"] == 6 and first["notice"] is None
    assert second["ledgers"] == [] and "fit was given no arrays" in second["notice"]
    assert "--data" in second["notice"]
    x = np.random.default_rng(1).normal(size=(24, 5)).astype("float32")
    for number in (1, 2):
        content = (tmp_path / "reports" / "train" / f"fit-{number}.diag").read_bytes()
        assert not any(row.tobytes() in content for row in x)

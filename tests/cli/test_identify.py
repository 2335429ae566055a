"""`diagnose identify`: an answer in text and JSON, without Keras, and one clear error where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest

from diagnose import Tracer
from tests.cli.command import strict_json
from tests.cli.warm import without_keras


@dataclass
class Saved:
    folder: Path
    kernels: list[np.ndarray]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Two epochs of two steps; a checkpoint of each in `1.weights.h5` and `2.keras`."""
    folder = tmp_path_factory.mktemp("identify")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, name="out")], name="net")
    model.compile("adam", "mse")
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    kernels = []

    def save(epoch: int, logs: object) -> None:
        model.save(folder / "2.keras") if epoch else model.save_weights(folder / "1.weights.h5")
        kernels.append(np.array(model.get_weights()[0]))

    callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=save), Tracer(folder / "a.diag")]
    model.fit(x, x[:, :1], batch_size=4, epochs=2, verbose=0, callbacks=callbacks)
    return Saved(folder, kernels)


def test_answer_without_keras(saved: Saved) -> None:
    done = without_keras("identify", "a.diag", "1.weights.h5", cwd=saved.folder)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "1.weights.h5 holds version 2, the end of epoch 1.",
        "  All 2 variables match by content.",
        "  After fit the model held others: version 4, the end of epoch 2.",
        "  With it comes an optimizer state (6 variables): the one recorded at the end of the same epoch.",
    ]


def test_json_is_all_of_standard_output(saved: Saved) -> None:
    done = without_keras("identify", "a.diag", "2.keras", "--json", cwd=saved.folder)
    assert (done.code, done.stderr) == (0, "")
    found = strict_json(done.stdout)
    assert found["kind"] == "exact" and found["places"] == [{"version": 4, "epoch": 2, "ends": True}]
    assert (found["source"], found["trace"], found["after_fit"]) == ("2.keras", "a.diag", True)
    assert found["optimizer"] == {"variables": 6, "epochs": [2], "after_fit": True, "recorded": 2}


def test_variables_that_differ_are_listed(saved: Saved) -> None:
    kernel = np.array(saved.kernels[0])
    kernel[1] += 1
    np.savez(saved.folder / "changed.npz", **{"net/out/kernel": kernel, "net/out/bias": np.zeros(1, "float32")})
    done = without_keras("identify", "a.diag", "changed.npz", cwd=saved.folder)
    # The bias is that of version 0, before the first update.
    assert done.stdout.splitlines()[:2] == [
        "changed.npz holds version 0, before the first update, but for 1 of 2 variables.",
        "  net/out/kernel: 3 of 3 elements differ; recorded in no version",
    ]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("a.diag", "none.keras"), "none.keras cannot be read as weights: there is no such file"),
        (("none.diag", "1.weights.h5"), "no trace file"),
        (("1.weights.h5", "a.diag"), "1.weights.h5 is not a trace file"),
        (("a.diag", "a.diag"), "a.diag cannot be read as weights: it is none of"),
        (("a.diag", "other.npz"), "other.npz is of another architecture"),
    ],
)
def test_one_clear_error(saved: Saved, words: tuple[str, str], named: str) -> None:
    np.savez(saved.folder / "other.npz", np.zeros((7, 7)))
    done = without_keras("identify", *words, cwd=saved.folder)
    assert (done.code, done.stdout) == (1, "")
    assert named in done.error


def test_usage(saved: Saved) -> None:
    assert without_keras("identify", "a.diag", cwd=saved.folder).code == 2

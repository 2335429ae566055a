"""What checkpoint files hold: against the files themselves, loaded by Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer


def fit(tmp_path: Path, *callbacks: Any, batch: int = 48, **arguments: Any) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(48, 4)).astype("float32")
    y = (x @ [1.0, -2.0, 0.5, 0.1]).astype("float32").reshape(-1, 1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    tracer = Tracer(tmp_path / "fit.diag")
    arguments = {"validation_data": (x[:8], y[:8]), **arguments}
    model.fit(x, y, batch_size=batch, epochs=3, verbose=0, callbacks=[*callbacks, tracer], **arguments)
    return tracer.diagnose(), model, x, y


@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
def test_one_step_epochs_name_the_file_by_the_weights_before(tmp_path: Path, ending: str) -> None:
    template = str(tmp_path / ("m-{epoch:02d}-{loss:.3f}-{val_loss:.3f}" + ending))
    checkpoint = keras.callbacks.ModelCheckpoint(template, save_weights_only=ending == ".weights.h5")
    diagnosis, model, x, y = fit(tmp_path, checkpoint)
    files = sorted(tmp_path.glob("m-*"))
    assert [s.file for s in diagnosis.saved] == [f.name for f in files for _ in range(2)]
    for entry in diagnosis.saved:
        assert entry.epoch == entry.version == entry.version_epoch
        if entry.metric == "loss":
            assert (entry.verdict, entry.shift_updates, entry.owner_versions) == ("shifted", 1, (entry.version - 1,))
        else:
            assert (entry.metric, entry.verdict, entry.shift_updates) == ("val_loss", "aligned", 0)
            assert entry.value == pytest.approx(entry.logged, rel=1e-6)
    # Oracle: the last file, loaded by Keras.
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    loaded = keras.models.load_model(files[-1]) if ending == ".keras" else model
    if ending == ".weights.h5":
        model.load_weights(files[-1])
    last = next(s for s in reversed(diagnosis.saved) if s.metric == "loss")
    assert last.value == pytest.approx(loaded.evaluate(x, y, verbose=0), rel=1e-5)
    assert last.value < last.logged


def test_many_batches_have_no_owner(tmp_path: Path) -> None:
    checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"), monitor="loss", save_best_only=True)
    diagnosis, _, _, _ = fit(tmp_path, checkpoint, batch=16)
    (entry,) = diagnosis.saved
    assert (entry.file, entry.metric, entry.verdict, entry.owner_versions) == ("best.keras", "loss", "no-owner", ())


def test_weights_that_no_update_made(tmp_path: Path) -> None:
    class Halve(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.set_weights([w / 2 for w in self.model.get_weights()])

    file = tmp_path / "last.weights.h5"
    checkpoint = keras.callbacks.ModelCheckpoint(str(file), monitor="val_loss", save_weights_only=True)
    checkpoint.save_best_only = True
    diagnosis, model, x, y = fit(tmp_path, Halve(), checkpoint)
    (entry,) = diagnosis.saved
    assert (entry.verdict, entry.version) == ("replaced", None)
    model.load_weights(file)
    plain = model.evaluate(x[:8], y[:8], verbose=0)
    assert entry.value == pytest.approx(plain, rel=1e-5)


def test_nothing_is_said_where_nothing_was_saved(tmp_path: Path) -> None:
    assert fit(tmp_path)[0].saved == ()


def test_it_is_in_the_json_and_in_the_page(tmp_path: Path) -> None:
    from diagnose.result.codec import from_dict, to_dict

    checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"), monitor="loss", save_best_only=True)
    diagnosis, _, _, _ = fit(tmp_path, checkpoint)
    assert from_dict(to_dict(diagnosis)).saved == diagnosis.saved
    diagnosis.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "best.keras" in page and str(tmp_path) not in page

"""What checkpoint files hold: against the files themselves, loaded by Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer, read_trace
from diagnose.decide.kept import kept_by, kept_epoch
from diagnose.decide.watched import watchers


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


class Grades(keras.callbacks.Callback):  # type: ignore[misc]
    """Gives a value in the first two epochs only; Keras's checkpoint saves whatever comes where there is none."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch < 2:
            logs["val_grade"] = 1.0 - epoch


def test_the_event_tells_what_was_kept_not_a_value_that_is_equal(tmp_path: Path) -> None:
    file = tmp_path / "best.weights.h5"
    checkpoint = keras.callbacks.ModelCheckpoint(
        str(file), monitor="val_grade", mode="max", save_best_only=True, save_weights_only=True
    )
    _, model, _, _ = fit(tmp_path, Grades(), checkpoint, batch=16)
    last = [np.array(w) for w in model.get_weights()]
    model.set_weights([np.zeros_like(w) for w in last])
    model.load_weights(file)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), last, strict=True)), "the file is the last's"
    with read_trace(tmp_path / "fit.diag") as trace:
        (watcher,) = watchers(trace)
        assert watcher.best == trace.epochs[0].logs["val_grade"]
        kept = kept_by(trace, watcher)
        assert kept is not None and (kept.epoch.epoch, kept.version, kept.known_by) == (3, 9, "event")
        assert kept.state is not None and kept.state.weights == trace.states[trace.epochs[2].state].weights
        assert kept_epoch(trace, watcher) == 3
        # Without the event, as of a place that is no local file, the value has to do, and that is said.
        trace.events = tuple(e for e in trace.events if e.kind != "file-saved")
        kept = kept_by(trace, watcher)
        assert kept is not None and (kept.epoch.epoch, kept.known_by) == (1, "equal-values")
        assert kept.state is not None and kept.state.weights == trace.states[trace.epochs[0].state].weights


def test_a_best_from_before_the_fit_is_no_epochs(tmp_path: Path) -> None:
    checkpoint = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "best.keras"), monitor="val_grade", mode="max", save_best_only=True, initial_value_threshold=1.0
    )

    class All(Grades):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["val_grade"] = 1.0 - epoch

    fit(tmp_path, All(), checkpoint, batch=16)
    assert not (tmp_path / "best.keras").exists()
    with read_trace(tmp_path / "fit.diag") as trace:
        (watcher,) = watchers(trace)
        assert watcher.best == trace.epochs[0].logs["val_grade"] and kept_by(trace, watcher) is None

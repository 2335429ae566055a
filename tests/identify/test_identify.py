"""`trace.identify`: files as Keras writes them, and models, against copies of the weights that the test kept itself."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from diagnose import DiagnoseError, Trace, Tracer, read_trace
from diagnose.identify.identification import Identification, text
from diagnose.tracefile.jsontext import to_json

STEPS, EPOCHS = 3, 5
Weights = list[np.ndarray]


class Copies(keras.callbacks.Callback):
    """The weights after each update, and at the end of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.after: list[Weights] = []
        self.ends: list[Weights] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.after.append([np.array(w) for w in self.model.get_weights()])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.ends.append([np.array(w) for w in self.model.get_weights()])


@dataclass
class Run:
    folder: Path
    model: Any
    trace: Trace
    copies: Copies
    history: dict[str, list[float]]
    final: Weights

    def identify(self, what: Any) -> Identification:
        found = self.trace.identify(self.folder / what if isinstance(what, str) else what)
        assert json.loads(to_json(found.to_dict()))["kind"] == found.kind
        assert str(found) == text(found)
        return found

    def saved(self, weights: Weights) -> Identification:
        """Of a file that Keras saves from the model with these weights."""
        self.model.set_weights(weights)
        self.model.save_weights(self.folder / "saved.weights.h5")
        return self.identify("saved.weights.h5")


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(24, 4)).astype("float32")
    return x, (x[:, :1] > 0).astype("float32")


def build(**optimizer: Any) -> Any:
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(6), keras.layers.BatchNormalization(momentum=0.5), keras.layers.Dropout(0.2)]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.Adam(0.02, **optimizer), "binary_crossentropy", metrics=["accuracy"])
    return model


def fit(folder: Path, model: Any, *callbacks: Any, weights: Any = "auto", epochs: int = EPOCHS) -> Run:
    x, y = data()
    copies, tracer = Copies(), Tracer(folder / "fit.diag", weights=weights)
    history = model.fit(
        x, y, batch_size=8, epochs=epochs, verbose=0, validation_data=(x, y), callbacks=[*callbacks, copies, tracer]
    )
    final = [np.array(w) for w in model.get_weights()]
    return Run(folder, model, read_trace(tracer.runs[-1].path), copies, history.history, final)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    saving = keras.callbacks.ModelCheckpoint
    best = {"monitor": "val_loss", "mode": "max", "save_best_only": True}  # an epoch that is not the last one
    run = fit(
        folder,
        build(),
        saving(folder / "{epoch}.weights.h5", save_weights_only=True),
        saving(folder / "{epoch}.keras"),
        saving(folder / "{epoch}.h5"),
        saving(folder / "best.keras", **best),
        saving(folder / "best.weights.h5", save_weights_only=True, **best),
        keras.callbacks.EarlyStopping("val_loss", mode="max", patience=99, restore_best_weights=True),
    )
    run.model.save_weights(folder / "after.weights.h5")
    return run


def versions(places: Any) -> list[int]:
    return [p.version for p in places]


# ── files that Keras writes ──


@pytest.mark.parametrize("kind", ["weights.h5", "keras", "h5"])
@pytest.mark.parametrize("epoch", [1, 3, EPOCHS])
def test_checkpoint_of_an_epoch_is_the_version_that_ends_it(run: Run, epoch: int, kind: str) -> None:
    found = run.identify(f"{epoch}.{kind}")
    assert (found.kind, found.matched, found.differences) == ("exact", 8, ())
    assert [(p.version, p.epoch, p.ends) for p in found.places] == [(epoch * STEPS, epoch, True)]


@pytest.mark.parametrize("kind", ["weights.h5", "keras"])
def test_best_checkpoint_is_the_version_of_the_best_epoch(run: Run, kind: str) -> None:
    best = 1 + int(np.argmax(run.history["val_loss"]))
    assert best != EPOCHS
    found = run.identify(f"best.{kind}")
    assert [(p.version, p.epoch) for p in found.places] == [(best * STEPS, best)]
    assert f"version {best * STEPS}, the end of epoch {best}." in str(found).splitlines()[0]


@pytest.mark.parametrize("kind", ["weights.h5", "keras"])
def test_optimizer_state_in_a_checkpoint_is_that_of_its_epoch(run: Run, kind: str) -> None:
    optimizer = run.identify(f"2.{kind}").optimizer
    assert optimizer is not None
    assert (optimizer.variables, optimizer.epochs, optimizer.after_fit) == (2 + 2 * 6, (2,), False)


def test_saved_after_restore_has_the_weights_of_one_epoch_and_the_optimizer_of_the_last(run: Run) -> None:
    best = 1 + int(np.argmax(run.history["val_loss"]))
    found = run.identify("after.weights.h5")
    assert versions(found.places) == [best * STEPS] and found.after_fit is True
    assert found.optimizer is not None and found.optimizer.epochs == (EPOCHS,) and found.optimizer.after_fit
    assert f"the one recorded at the end of epoch {EPOCHS}" in str(found)


def test_any_update_is_found_not_only_ends_of_epochs(run: Run) -> None:
    for version in (1, 5, 7):
        found = run.saved(run.copies.after[version - 1])
        assert [(p.version, p.epoch, p.ends) for p in found.places] == [(version, 1 + (version - 1) // STEPS, False)]
        assert found.after_fit is False


def test_model_is_identified_and_left_as_it_is(run: Run) -> None:
    run.model.set_weights(run.copies.ends[1])
    found = run.identify(run.model)
    assert (found.source, versions(found.places)) == ("The model", [2 * STEPS])
    for now, before in zip(run.model.get_weights(), run.copies.ends[1], strict=True):
        np.testing.assert_array_equal(now, before)


def test_version_that_was_not_kept_is_known_by_digest(tmp_path: Path) -> None:
    run = fit(tmp_path, build(), weights="epochs", epochs=2)
    assert run.trace.version(2) is not None and not run.trace.version(2).kept  # type: ignore[union-attr]
    assert versions(run.saved(run.copies.after[1]).places) == [2]
    changed = run.copies.after[1]
    changed[0] = changed[0] + 1
    (difference,) = run.saved(changed).differences
    assert difference.different is None and "kernel: differs; recorded in no version" in str(run.identify(run.model))


def test_versions_of_equal_weights_are_all_named(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    found = fit(tmp_path, model, epochs=2).identify(model)
    assert found.kind == "exact" and versions(found.places) == list(range(2 * STEPS + 1))
    assert "versions 0–6, which are equal in this (before the first update to the end of epoch 2)" in str(found)


# ── part of a version ──


def test_change_of_one_layer_is_counted_by_element(run: Run) -> None:
    weights = [np.array(w) for w in run.copies.ends[3]]
    weights[6].flat[[1, 4]] += 0.5
    found = run.saved(weights)
    assert (found.kind, versions(found.places), found.matched) == ("partial", [4 * STEPS], 7)
    (d,) = found.differences
    assert d.variable == run.model.layers[-1].kernel.path
    assert (d.different, d.elements, d.versions, d.group) == (2, 6, (), "trainable")
    assert "version 12, the end of epoch 4, but for 1 of 8 variables" in str(found)
    assert "2 of 6 elements differ" in str(found)


def test_kernels_of_one_epoch_with_batch_norm_statistics_of_another(run: Run) -> None:
    kernels, statistics = run.copies.ends[0], run.copies.ends[2]
    mixed = [statistics[i] if i in (4, 5) else kernels[i] for i in range(8)]
    found = run.saved(mixed)
    assert found.kind == "partial"
    assert versions(found.trainable) == [STEPS] and versions(found.non_trainable) == [3 * STEPS]
    assert [d.versions for d in found.differences] == [(3 * STEPS,)] * 2
    first = str(found).splitlines()[0]
    assert "trainable weights are those of version 3, the end of epoch 1" in first
    assert "those of version 9, the end of epoch 3" in first


def test_layers_of_one_shape_that_were_swapped_are_no_version(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    run = fit(tmp_path, model, epochs=1)
    a, b, *rest = run.final[:2], run.final[2:4], run.final[4:]
    found = run.saved([*b, *a, *rest[0]])
    assert found.kind == "partial" and len(found.differences) == 4 and found.matched == 2


# ── averages ──


def test_moving_averages_of_the_optimizer(tmp_path: Path) -> None:
    model = build(use_ema=True, ema_momentum=0.9)
    run = fit(tmp_path, model, epochs=2)
    assert not np.array_equal(run.final[0], run.copies.ends[-1][0])
    model.save_weights(tmp_path / "ema.weights.h5")
    for found in (run.identify(model), run.identify("ema.weights.h5")):
        assert found.kind == "average" and found.average is not None
        assert (found.average.kind, found.average.epochs, found.average.momentum) == ("optimizer", (2,), 0.9)
        assert found.places == () and versions(found.non_trainable) == [2 * STEPS] and found.after_fit
    assert versions(run.saved(run.copies.ends[0]).places) == [STEPS]


def test_moving_averages_swapped_in_for_a_checkpoint(tmp_path: Path) -> None:
    model = build(use_ema=True, ema_momentum=0.9)
    saving = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True)
    run = fit(tmp_path, model, keras.callbacks.SwapEMAWeights(swap_on_epoch=True), saving, epochs=2)
    found = run.identify("1.weights.h5")
    assert found.kind == "average" and found.average is not None and found.average.epochs == (1,)


def test_mean_over_ends_of_epochs(run: Run) -> None:
    mean = [np.mean([e[i] for e in run.copies.ends[1:4]], axis=0, dtype="float32") for i in range(8)]
    found = run.saved(mean)
    assert found.kind == "average" and found.average is not None
    assert (found.average.kind, found.average.epochs) == ("mean", (2, 3, 4))
    assert "the mean of the weights at the ends of epochs 2–4" in str(found)
    mean[0] = mean[0] + np.float32(1e-4)
    assert run.saved(mean).kind == "none"


# ── none ──


def test_nearest_version_by_distance(run: Run) -> None:
    weights = [w + np.float32(0.01) for w in run.copies.after[6]]
    found = run.saved(weights)
    assert found.kind == "none" and found.nearest is not None and found.matched == 0
    flat = np.concatenate([w.ravel() for w in weights]).astype(float)
    everything = [np.concatenate([w.ravel() for w in c]).astype(float) for c in run.copies.after]
    distances = [np.linalg.norm(flat - c) / np.linalg.norm(c) for c in everything]
    assert found.nearest.place.version == 1 + int(np.argmin(distances)) == 7
    assert found.nearest.distance == pytest.approx(min(distances), rel=1e-6)
    assert found.nearest.compared == EPOCHS * STEPS + 1


def test_other_architecture_is_an_error(run: Run, tmp_path: Path) -> None:
    other = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    other.save_weights(tmp_path / "other.weights.h5")
    for what in (other, tmp_path / "other.weights.h5"):
        with pytest.raises(DiagnoseError, match=r"another architecture .*2 arrays of weights against 8 recorded"):
            run.trace.identify(what)


# ── files that others write ──


def by_path(run: Run, weights: Weights) -> dict[str, np.ndarray]:
    return {v.path.replace("/", "."): w for v, w in zip(run.model.weights, weights, strict=True)}


def test_safetensors_written_by_hand(run: Run, tmp_path: Path) -> None:
    header, content = {}, b""
    for name, array in by_path(run, run.copies.after[4]).items():
        at = len(content)
        content += array.tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [at, len(content)]}
    head = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + content)
    found = run.identify(tmp_path / "a.safetensors")
    assert (found.kind, versions(found.places), found.optimizer) == ("exact", [5], None)


@pytest.mark.parametrize("how", ["by order", "by path", "by content", "in float64"])
def test_npz(run: Run, tmp_path: Path, how: str) -> None:
    weights = run.copies.after[4]
    if how == "by order":
        np.savez(tmp_path / "a.npz", *weights)
    elif how == "by path":
        np.savez(tmp_path / "a.npz", **by_path(run, weights))
    elif how == "by content":
        np.savez_compressed(tmp_path / "a.npz", **{f"w{-i}": w for i, w in enumerate(weights)})
    else:
        np.savez(tmp_path / "a.npz", *[w.astype("float64") for w in weights])
    found = run.identify(tmp_path / "a.npz")
    assert (found.kind, versions(found.places)) == ("exact", [5])
    assert any("float64" in note for note in found.notes) == (how == "in float64")


def test_arrays_that_could_be_several_variables_are_named_not_guessed(run: Run, tmp_path: Path) -> None:
    weights = [np.array(w) for w in run.copies.after[4]]
    for i in (2, 3):  # gamma and beta, both of shape (6,), with contents that were never recorded
        weights[i] = weights[i] + np.float32(0.5)
    np.savez(tmp_path / "a.npz", **{f"w{i}": w for i, w in enumerate(weights)})
    found = run.identify(tmp_path / "a.npz")
    assert found.kind == "partial" and set(found.unassigned) == {"w2", "w3"} and found.matched == 6
    assert "2 arrays of it could be several variables" in str(found)


def test_file_with_a_part_of_the_weights(run: Run, tmp_path: Path) -> None:
    names = by_path(run, run.copies.after[4])
    np.savez(tmp_path / "a.npz", **dict(list(names.items())[:2]))
    found = run.identify(tmp_path / "a.npz")
    assert (found.kind, versions(found.places), found.matched) == ("partial", [5], 2)
    assert any("6 recorded variables are not in it" in note for note in found.notes)
    assert "holds 2 of 8 variables of version 5, within epoch 2: 6 are not in it." in str(found)


def test_variables_of_other_shapes_are_not_said_to_be_held(run: Run, tmp_path: Path) -> None:
    """As `load_weights(skip_mismatch=True)` leaves a model with a wider layer: one that matches, one that differs."""
    names = by_path(run, run.copies.after[4])
    found: dict[str, np.ndarray] = dict(list(names.items())[:1])
    second, *others = list(names)[1:]
    found[second] = names[second] + np.float32(1)
    found |= {name: np.zeros((*names[name].shape, 2), "float32") for name in others}
    np.savez(tmp_path / "a.npz", **found)
    said = run.identify(tmp_path / "a.npz")
    assert (said.matched, len(said.differences)) == (1, 1)
    assert "holds 1 of 8 variables of version" in str(said) and ": 1 is another, 6 are not in it" in str(said)


# ── where Keras puts a variable ──


@keras.saving.register_keras_serializable("test")
class Own(keras.Model):
    """Layers as attributes, in a list, in a dict, in a private one, and one that has two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = keras.layers.Dense(4)
        self.blocks = [keras.layers.Dense(4), [keras.layers.Dense(4)], keras.layers.LayerNormalization()]
        self.by_name = {"a": keras.layers.Dense(4)}
        self._hidden = keras.layers.Dense(4)
        self.again = self.first
        self.inner = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(4)])

    def call(self, x: Any) -> Any:
        for layer in (self.first, *self.blocks[:1], *self.blocks[1], self.blocks[2], self.by_name["a"], self._hidden):
            x = layer(x)
        return self.inner(self.again(x))


def layered() -> Any:
    inputs = keras.Input((6, 4))
    shared = keras.layers.Dense(4)
    x = keras.layers.MultiHeadAttention(2, 3)(inputs, inputs)
    x = shared(shared(x))
    x = keras.layers.Bidirectional(keras.layers.GRU(3, return_sequences=True))(x)
    x = keras.layers.RNN([keras.layers.LSTMCell(3), keras.layers.LSTMCell(2)], return_sequences=True)(x)
    x = keras.layers.TimeDistributed(keras.layers.Dense(5))(x)
    x = keras.layers.SeparableConv1D(4, 2)(x)
    x = keras.Sequential([keras.layers.Conv1D(3, 2), keras.layers.Dense(3)], name="mine")(x)
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x)))


@pytest.mark.parametrize("kind", ["layered", "own"])
def test_recorded_places_are_those_in_a_file_of_keras(tmp_path: Path, kind: str) -> None:
    model = layered() if kind == "layered" else Own()
    x = np.random.default_rng(0).normal(size=(8, 6, 4) if kind == "layered" else (8, 4)).astype("float32")
    if kind == "own":
        model(x)
    for v in model.weights:  # contents that tell each variable from all others
        v.assign(np.random.default_rng(len(v.path)).normal(size=v.shape) + 10 * id(v) % 97)
    model.compile("sgd", "mse")
    tracer = Tracer(tmp_path / "a.diag")
    model.fit(x, np.zeros((8, 1), "float32"), verbose=0, callbacks=[tracer])
    model.save_weights(tmp_path / "a.weights.h5")
    trace = read_trace(tmp_path / "a.diag")
    listed = [v for v in trace.info["variables"] if v["group"] in ("trainable", "non_trainable")]
    with h5py.File(tmp_path / "a.weights.h5") as file:
        for described, variable in zip(listed, model.weights, strict=True):
            assert described["saved_as"] is not None, described
            np.testing.assert_array_equal(file[described["saved_as"]][()], variable.numpy())
    assert trace.identify(tmp_path / "a.weights.h5").kind == "exact"

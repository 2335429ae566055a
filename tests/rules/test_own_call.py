"""Advice is the user's own call with named changes: what is pasted keeps every other setting, and does what it says."""

from __future__ import annotations

import ast
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from diagnose.decide.watched import watchers
from diagnose.rules.own_call import Code, own_call
from diagnose.tracefile.reader import read_trace
from tests.rules.advice import blocks

rng = np.random.default_rng(3)
X = rng.normal(size=(120, 6)).astype("float32")
Y = (X @ rng.normal(size=(6, 1)) + 0.6 * rng.normal(size=(120, 1))).astype("float32")


class RMSE(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.values.append(rmse(self.model))
        logs["val_rmse"] = self.values[-1]


def rmse(model: Any) -> float:
    return float(np.sqrt(((model.predict(X[80:], verbose=0) - Y[80:]) ** 2).mean()))


def trained(callbacks: list[Any], **arguments: Any) -> Any:
    """A fit that overfits: its error on the other rows falls, then rises."""
    keras.utils.set_random_seed(4)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.03), "mse")
    model.fit(X[:40], Y[:40], epochs=12, batch_size=10, verbose=0, callbacks=callbacks, **arguments)
    return model


def test_pasted_advice_keeps_the_best_epoch_of_an_error() -> None:
    """A callback that logs an error behind EarlyStopping: smaller is better, as the user's own call says."""
    tracer, seen = Tracer(), RMSE()
    stop = keras.callbacks.EarlyStopping("val_rmse", mode="min", patience=3, restore_best_weights=True)
    trained([stop, seen, tracer])
    finding = next(f for f in tracer.diagnose().findings if f.rule == "missing-monitor")
    assert finding.status == "failed" and "behind it (RMSE)" in finding.title
    # It does restore, so the same call with `restore_best_weights=True` is no advice.
    assert next(f for f in tracer.diagnose().findings if f.rule == "no-restore").status == "not-applicable"
    again = RMSE()
    code = blocks(finding.advice)[0].replace("adds_the_value = ...", "adds_the_value = again")
    names: dict[str, Any] = {"keras": keras, "again": again}
    exec(code, names)
    (_, pasted) = names["callbacks"]
    assert (pasted.mode, pasted.patience, pasted.restore_best_weights) == ("min", 3, True)
    model = trained(names["callbacks"])
    assert len(again.values) < 12 and min(again.values) < again.values[-1] - 1e-3  # it stopped, past the best
    assert rmse(model) == pytest.approx(min(again.values), rel=1e-6)


@pytest.mark.parametrize(
    "made",
    [
        'keras.callbacks.EarlyStopping(monitor="val_loss", mode="min", min_delta=0.25, patience=3, baseline=2.5, '
        "restore_best_weights=True, start_from_epoch=1, verbose=0)",
        'keras.callbacks.ModelCheckpoint("kept.weights.h5", monitor="val_loss", mode="min", save_best_only=True, '
        "save_weights_only=True)",
        'keras.callbacks.ReduceLROnPlateau(monitor="val_loss", mode="min", factor=0.5, patience=2, min_delta=0.01, '
        "cooldown=1, min_lr=0.001)",
    ],
)
def test_every_setting_of_the_users_call_is_in_it(made: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the call itself, parsed. After a fit, when Keras has changed some of the attributes."""
    monkeypatch.chdir(tmp_path)
    tracer = Tracer(tmp_path / "run.diag")
    trained([eval(made), tracer], validation_data=(X[80:], Y[80:]))
    with read_trace(tracer.path) as trace:
        (watcher,) = watchers(trace)
        found = parsed(own_call(watcher))
        changed = parsed(own_call(watcher, monitor="val_other", patience=Code("...")))
    wanted = parsed(made)
    wanted[1].pop("verbose", None)  # as by default
    if "mode" not in found[1]:  # Keras 3.8's ModelCheckpoint keeps only how it compares
        wanted[1].pop("mode")
    assert found == wanted
    if "patience" in wanted[1]:
        assert changed == (wanted[0], {**wanted[1], "monitor": "val_other", "patience": ...})


def parsed(call: str) -> tuple[list[Any], dict[str, Any]]:
    node = ast.parse(call, mode="eval").body
    assert isinstance(node, ast.Call)
    return (
        [ast.unparse(node.func), *map(ast.literal_eval, node.args)],
        {str(k.arg): ast.literal_eval(k.value) for k in node.keywords},
    )


def test_an_absolute_path_is_not_passed_on(tmp_path: Any) -> None:
    tracer = Tracer(tmp_path / "run.diag")
    saving = keras.callbacks.ModelCheckpoint(str(tmp_path / "best.weights.h5"), "loss", save_best_only=True,
                                             save_weights_only=True)  # fmt: skip
    trained([saving, tracer])
    with read_trace(tracer.path) as trace:
        (watcher,) = watchers(trace)
        assert own_call(watcher).startswith('keras.callbacks.ModelCheckpoint("best.weights.h5", monitor="loss"')

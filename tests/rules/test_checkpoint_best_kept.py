from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest

from diagnose import Tracer
from tests.rules.advice import blocks
from tests.rules.runs import data, fit

RULE = "checkpoint-best-kept"


def checkpoint(folder: Path, **arguments: Any) -> Any:
    arguments = {"monitor": "val_loss", "save_best_only": True, "save_weights_only": True, **arguments}
    return keras.callbacks.ModelCheckpoint(str(folder / "best.weights.h5"), **arguments)


def test_fails_where_the_file_stays_the_first_fits(tmp_path: Path) -> None:
    callback = checkpoint(tmp_path)
    first = fit(callback, rate=1.0, validation=True)
    written = (tmp_path / "best.weights.h5").read_bytes()
    second = fit(callback, rate=0.001, validation=True)
    assert (tmp_path / "best.weights.h5").read_bytes() == written
    best, values = min(log["val_loss"] for log in first.witness.logs), [x["val_loss"] for x in second.witness.logs]
    finding = second.finding(RULE)
    assert finding.status == "failed"
    assert finding.evidence["saved_epochs"] == []
    assert finding.evidence["best_at_start"] == best
    assert finding.evidence["own_best_logged"] == min(values)
    assert finding.effect == min(values) - best
    assert str(tmp_path / "best.weights.h5") in finding.title
    blocks(finding.advice)


@pytest.mark.recorded
def test_control_the_second_fit_is_better_and_saved(tmp_path: Path) -> None:
    callback = checkpoint(tmp_path)
    fit(callback, rate=0.001, validation=True)
    second = fit(callback, rate=1.0, validation=True)
    finding = second.finding(RULE)
    assert finding.status == "passed"
    assert finding.evidence["saved_epochs"], "the file was written in this fit"


@pytest.mark.recorded
def test_control_a_new_callback_for_each_fit(tmp_path: Path) -> None:
    fit(checkpoint(tmp_path), rate=1.0, validation=True)
    finding = fit(checkpoint(tmp_path), rate=0.001, validation=True).finding(RULE)
    assert finding.status == "not-applicable"
    assert "without a best" in finding.title


@pytest.mark.recorded
def test_control_training_goes_on(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    x, y = data()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    callback, tracer = checkpoint(tmp_path), Tracer()
    for rate in (1.0, 50.0):
        model.compile(keras.optimizers.SGD(rate), "binary_crossentropy")
        model.fit(x, y, batch_size=16, epochs=4, verbose=0, validation_data=(x, y), callbacks=[callback, tracer])
    finding = next(f for f in tracer.diagnose().findings if f.rule == RULE)
    assert finding.evidence["own_best_logged"] > finding.evidence["best_at_start"], "the second fit must be worse"
    assert finding.status == "passed"


def test_fails_for_the_next_fold_from_the_same_first_weights(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    x, y = data()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    first = model.get_weights()
    callback, tracer = checkpoint(tmp_path), Tracer()
    for labels, rate in ((y, 1.0), (1 - y, 0.001)):
        model.set_weights(first)
        model.compile(keras.optimizers.SGD(rate), "binary_crossentropy")
        callbacks = [callback, tracer]
        model.fit(x, labels, batch_size=16, epochs=3, verbose=0, validation_data=(x, labels), callbacks=callbacks)
    assert next(f for f in tracer.diagnose().findings if f.rule == RULE).status == "failed"


@pytest.mark.recorded
def test_a_threshold_the_script_gave_is_none_of_this(tmp_path: Path) -> None:
    finding = fit(checkpoint(tmp_path, initial_value_threshold=1e-6), validation=True).finding(RULE)
    assert finding.status == "not-applicable"
    assert "initial_value_threshold" in finding.title


@pytest.mark.recorded
@pytest.mark.parametrize("arguments", [{"save_best_only": False}])
def test_what_saves_in_any_case_keeps_no_best(tmp_path: Path, arguments: dict[str, Any]) -> None:
    assert fit(checkpoint(tmp_path, **arguments), validation=True).finding(RULE).status == "not-applicable"

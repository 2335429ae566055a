from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer, read_trace
from diagnose.decide.watched import decisions
from diagnose.rules import checkpoint_on_training_metric
from diagnose.rules.facts import Facts
from tests.rules.advice import blocks
from tests.rules.runs import Seen, Witness, data, fit

RULE = "checkpoint-on-training-metric"


def checkpoint(folder: Path, monitor: str = "loss", **settings: Any) -> Any:
    return keras.callbacks.ModelCheckpoint(
        str(folder / "best.weights.h5"), monitor=monitor, save_best_only=True, save_weights_only=True, **settings
    )


def from_file(seen: Seen, folder: Path) -> dict[str, float]:
    """Keras's own evaluate with the weights that are in the file."""
    copy = keras.models.clone_model(seen.model)
    copy.load_weights(folder / "best.weights.h5")
    return seen.evaluate(copy.get_weights())


@pytest.mark.parametrize("batch", [16, 64], ids=["many batches", "one batch"])
def test_fails_where_the_file_does_not_have_the_logged_best(batch: int, tmp_path: Path) -> None:
    seen = fit(checkpoint(tmp_path), rate=3.0, batch=batch, epochs=7)
    logged = [log["loss"] for log in seen.witness.logs]
    best = int(np.argmin(logged))
    finding = seen.finding(RULE)
    assert finding.status == "failed"
    assert (finding.evidence["epoch"], finding.evidence["logged"]) == (best + 1, logged[best])
    value = from_file(seen, tmp_path)["loss"]
    assert finding.evidence["saved_weights"] == pytest.approx(value, rel=1e-5)
    assert finding.effect == pytest.approx(abs(value - logged[best]), rel=1e-4)
    assert finding.metric == "loss"
    assert 'monitor="val_loss"' in blocks(finding.advice)[0]


def test_a_value_that_should_grow_is_followed_upwards(tmp_path: Path) -> None:
    seen = fit(checkpoint(tmp_path, "accuracy", mode="max"), rate=3.0, epochs=7)
    logged = [log["accuracy"] for log in seen.witness.logs]
    finding = seen.finding(RULE)
    assert finding.evidence["epoch"] == int(np.argmax(logged)) + 1
    assert finding.evidence["saved_weights"] == pytest.approx(from_file(seen, tmp_path)["accuracy"], rel=1e-5)
    assert 'mode="max"' in finding.advice or finding.status == "passed"


@pytest.mark.recorded
def test_control_a_validation_value(tmp_path: Path) -> None:
    assert fit(checkpoint(tmp_path, "val_loss"), rate=3.0, validation=True).finding(RULE).status == "passed"


@pytest.mark.recorded
def test_control_the_file_reproduces_the_value(tmp_path: Path) -> None:
    finding = fit(checkpoint(tmp_path), rate=0.0).finding(RULE)
    assert finding.status == "passed"
    assert finding.evidence["saved_weights"] == pytest.approx(finding.evidence["logged"], rel=1e-6)


@pytest.mark.recorded
def test_without_a_checkpoint_there_is_nothing_to_judge() -> None:
    assert fit().finding(RULE).status == "not-applicable"


@pytest.mark.recorded
def test_a_best_from_before_this_fit_is_not_an_epoch_of_it(tmp_path: Path) -> None:
    finding = fit(checkpoint(tmp_path, initial_value_threshold=-1.0)).finding(RULE)
    assert finding.status == "not-applicable"
    assert "saved no epoch of this fit" in finding.title


def test_files_written_within_epochs_are_not_those_of_their_ends(tmp_path: Path) -> None:
    # More than there are: Keras 3.15.1 raises in the second batch it saves after with `save_best_only`.
    finding = fit(checkpoint(tmp_path, save_freq=1000)).finding(RULE)
    assert finding.status == "not-applicable"
    assert "every 1000 batches" in finding.title


class Shrinks(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.set_weights([0.5 * w for w in self.model.get_weights()])


@pytest.mark.recorded
def test_weights_that_another_callback_changed_at_the_end_are_left_alone(tmp_path: Path) -> None:
    finding = fit(checkpoint(tmp_path), Shrinks(), epochs=2).finding(RULE)
    assert finding.status == "not-applicable"
    assert "Shrinks changed the weights" in finding.title


def test_other_rows_are_not_taken_for_the_difference(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    x, y = data()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy")
    tracer = Tracer(tmp_path / "fit.diag")
    model.fit(x, y, batch_size=16, epochs=3, verbose=0, callbacks=[checkpoint(tmp_path), Witness(), tracer])
    far = float(model.evaluate(5 * x, 1 - y, verbose=0))
    diagnosis = tracer.diagnose(evaluate=(5 * x, 1 - y))
    assert abs(far - diagnosis.epoch_rows[-1].logged["loss"]) > 0.5, "the other rows must give another loss"
    finding = next(f for f in diagnosis.findings if f.rule == RULE)
    assert finding.status != "failed"


def test_an_epoch_that_was_not_evaluated_is_no_finding(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    x, y = data()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.SGD(3.0), "binary_crossentropy")
    tracer = Tracer(tmp_path / "fit.diag")
    model.fit(x, y, batch_size=16, epochs=3, verbose=0, callbacks=[checkpoint(tmp_path), tracer])
    with read_trace(tracer.path) as trace:
        finding = checkpoint_on_training_metric.check(Facts(trace, decisions(trace), None))
    assert finding.status == "not-applicable"
    assert "not analysed" in finding.title

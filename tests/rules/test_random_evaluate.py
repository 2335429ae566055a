from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from diagnose import Tracer
from diagnose.rules import random_evaluate
from diagnose.rules.facts import Facts
from diagnose.tracefile.reader import read_trace
from tests.rules.advice import cures, paste

RULE = random_evaluate.NAME


class MonteCarlo(keras.layers.Dropout):  # type: ignore[misc]
    """Drops units in inference, too."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        return super().call(inputs, training=True)


class Noise(keras.layers.Layer):  # type: ignore[misc]
    """Draws in inference, too, with a seed of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(3)

    def call(self, inputs: Any) -> Any:
        return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.seed_generator)


class Unseeded(keras.layers.Layer):  # type: ignore[misc]
    """Draws from Keras's global generator, which is no variable of the model."""

    def call(self, inputs: Any) -> Any:
        return inputs + keras.random.normal(keras.ops.shape(inputs))


def built(*layers: Any) -> tuple[Any, Any, Any]:
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype("float32")
    y = (x[:, :1] > 0).astype("float32")
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(8, activation="relu")(inputs)
    for layer in layers:
        hidden = layer(hidden)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(keras.optimizers.SGD(0.001), "binary_crossentropy", metrics=["accuracy"])
    return model, x, y


def fit(*layers: Any) -> tuple[Any, Any, Any, Any]:
    model, x, y = built(*layers)
    tracer = Tracer()
    model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=[tracer])
    return tracer.diagnose(), model, x, y


def finding(diagnosis: Any, rule: str = RULE) -> Any:
    return next(f for f in diagnosis.findings if f.rule == rule)


@pytest.mark.parametrize("kind", ["dropout", "own seed", "global seed"])
def test_fails_where_evaluate_draws_and_nothing_else_is_blamed(kind: str) -> None:
    layer = {"dropout": MonteCarlo(0.5), "own seed": Noise(), "global seed": Unseeded()}[kind]
    diagnosis, model, x, y = fit(layer)
    values = {model.evaluate(x, y, verbose=0, return_dict=True)["loss"] for _ in range(3)}
    assert len(values) == 3, "Keras itself"
    found = finding(diagnosis)
    assert found.status == "failed" and found.evidence["first_value"] != found.evidence["second_value"]
    assert diagnosis.headline == found.title
    assert not [e for ledger in diagnosis.ledgers for e in ledger.entries if e.factor == "aggregation"]
    assert finding(diagnosis, "batch-averaged-metric").status != "failed"
    assert finding(diagnosis, "moving-average-of-weights").status != "failed"


def test_no_factor_lies_between_the_log_and_a_call_that_draws() -> None:
    """In other batches than fit's: what that makes cannot be told from the draws."""
    with diagnose.trace() as session:
        model, x, y = built(Noise())
        model.fit(x, y, batch_size=16, epochs=2, verbose=0, validation_data=(x[:32], y[:32]))
        model.evaluate(x[:32], y[:32], batch_size=5, verbose=0)
        (found,) = session.diagnose()
    (call,) = found.calls
    values = [call, *call.others]
    assert not any(each.entries for each in values) and all(each.residual is None for each in values)
    assert "rows are batched" not in found.headline


def test_passes_for_dropout_that_keras_switches_off() -> None:
    diagnosis, model, x, y = fit(keras.layers.Dropout(0.5))
    assert len({model.evaluate(x, y, verbose=0, return_dict=True)["loss"] for _ in range(3)}) == 1
    found = finding(diagnosis)
    assert found.status == "passed" and diagnosis.ledgers


def test_passes_without_a_layer_that_draws() -> None:
    assert finding(fit()[0]).status == "passed"


def test_does_not_apply_where_nothing_was_evaluated(tmp_path: Path) -> None:
    """A trace alone, without the model."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 1)), np.ones((4, 1)), verbose=0, callbacks=[Tracer(tmp_path / "a.diag")])
    with read_trace(tmp_path / "a.diag") as trace:
        assert random_evaluate.check(Facts(trace, (), None)).status == "not-applicable"


@cures(RULE)
def test_advice_draws_in_training_only_and_says_the_spread(capsys: pytest.CaptureFixture[str]) -> None:
    diagnosis, model, x, y = fit(Noise())
    found = finding(diagnosis)
    capsys.readouterr()
    paste(found.advice, block=1, model=model, x=x, y=y)
    mean, low, high = map(float, capsys.readouterr().out.split())
    drawn = [model.evaluate(x, y, verbose=0, return_dict=True)[found.metric] for _ in range(20)]
    assert low < mean < high and abs(mean - float(np.mean(drawn))) < float(np.std(drawn))
    layer = paste(found.advice)["Noise"](1.0)
    cured, model, x, y = fit(layer)
    assert len({model.evaluate(x, y, verbose=0, return_dict=True)["loss"] for _ in range(3)}) == 1
    assert finding(cured).status == "passed"
    ones = np.ones((3, 2), "float32")
    assert not np.array_equal(keras.ops.convert_to_numpy(layer(ones, training=True)), ones)

"""A rule judges by what could be replayed, and is silent only where nothing could."""

from __future__ import annotations

import keras
import pytest

from diagnose import Tracer
from tests.rules.runs import data


@pytest.mark.skipif(keras.config.backend() == "jax", reason="JAX builds the model before the first step")
def test_a_model_built_in_its_first_step_is_judged_by_the_other_epochs() -> None:
    keras.utils.set_random_seed(3)
    x, y = data()
    model = keras.Sequential([keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy", metrics=["accuracy"])
    assert not model.built
    tracer = Tracer()
    model.fit(x, y, batch_size=16, epochs=4, verbose=0, callbacks=[tracer])
    diagnosis = tracer.diagnose()
    if diagnosis.notice is not None:  # where Keras built the model before the first step, there is nothing to say
        assert "give it an Input" in diagnosis.notice
        assert diagnosis.replay is not None and diagnosis.replay.epochs == (2, 3, 4)
    finding = next(f for f in diagnosis.findings if f.rule == "moving-average-of-weights")
    assert finding.status == "passed" and "compares it with no evaluate" in finding.title
    assert finding.evidence["epoch"] == 4

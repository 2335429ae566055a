from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from tests.rules.advice import blocks, cures, paste

RULE = "loaded-model-differs"


def build(width: int = 6) -> Any:
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, name="a"), keras.layers.Dense(width, name="b")])
    made = keras.Sequential([*made.layers, keras.layers.Dense(1, name="c")])
    made.build((None, 4))
    made.compile("adam", "mse")
    return made


def run(other: Callable[[Any], Any]) -> tuple[Any, Any, Any]:
    """The finding, the trained model, and the other one, which is evaluated."""
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 4)).astype("float32"), rng.normal(size=(24, 1)).astype("float32")
    with diagnose.trace() as session:
        model = build()
        model.fit(x, y, batch_size=8, epochs=2, verbose=0)
        used = other(model)
        if used is not None:
            used.evaluate(x, y, verbose=0)
        (found,) = session.diagnose()
    return next(f for f in found.findings if f.rule == RULE), model, used


def with_parts(width: int) -> Callable[[Any], Any]:
    """As `skip_mismatch` loads: what fits, layer by layer."""

    def made(model: Any) -> Any:
        fresh = build(width)
        fresh.get_layer("a").set_weights(model.get_layer("a").get_weights())
        return fresh

    return made


@pytest.mark.parametrize("width", [6, 7], ids=["same shapes", "another width"])
def test_a_model_that_holds_a_part_is_named_with_what_it_lacks(width: int) -> None:
    finding, model, used = run(with_parts(width))
    lacks = [
        v.path
        for v, w in zip(model.variables, used.variables, strict=True)
        if v.shape != w.shape or not np.array_equal(*(keras.ops.convert_to_numpy(each) for each in (v, w)))
    ]
    assert finding.status == "failed" and finding.evidence["names"] == lacks
    assert "holds 2 of this fit's 6 variables" in finding.title and blocks(finding.advice)
    pairs = list(zip(model.variables, used.variables, strict=True))
    absent = [v.path for v, w in pairs if v.shape != w.shape]
    differing = [v.path for v, w in pairs if v.shape == w.shape and v.path in lacks]
    assert finding.evidence["absent"] == absent and finding.evidence["differing"] == differing
    assert finding.evidence["loaded"] == [v.path for v in model.variables][:2]
    said = [f"; {len(differing)} {'is' if len(differing) == 1 else 'are'} there with other contents ("]
    said += [f"; {len(absent)} are not in it"] if absent else []
    assert all(part in finding.title for part in said) and ("not in it" in finding.title) == bool(absent)


@cures(RULE)
def test_advice_loads_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways give a model that returns what the trained one returns; the part did not."""
    monkeypatch.chdir(tmp_path)
    finding, model, used = run(with_parts(6))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 4)).astype("float32"), rng.normal(size=(24, 1)).astype("float32")
    value = model.evaluate(x, y, verbose=0)
    assert used.evaluate(x, y, verbose=0) != pytest.approx(value, rel=1e-3)
    for block in range(2):
        scope = paste(finding.advice, block=block, model=model, build_model=build, x_val=x, y_val=y)
        assert scope["loaded"].evaluate(x, y, verbose=0) == pytest.approx(value, rel=1e-5)
    with pytest.raises((ValueError, OSError)):
        paste(finding.advice, block=1, model=model, build_model=lambda: build(7))


def all_of_it(model: Any) -> Any:
    fresh = build()
    fresh.set_weights(model.get_weights())
    return fresh


def test_control_all_was_loaded() -> None:
    assert run(all_of_it)[0].status == "passed"


def other_layers(model: Any) -> Any:
    """As `by_name` loads: the layers of that name, in a model with more of them."""
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, name="a"), keras.layers.Dense(3, name="new")])
    made = keras.Sequential([*made.layers, keras.layers.Dense(2, name="more"), keras.layers.Dense(1, name="last")])
    made.build((None, 4))
    made.compile("adam", "mse")
    made.get_layer("a").set_weights(model.get_layer("a").get_weights())
    return made


def test_a_model_of_other_layers_is_told_what_it_holds() -> None:
    finding, model, used = run(other_layers)
    kept = {keras.ops.convert_to_numpy(v).tobytes() for v in model.variables}
    lacks = [v.path for v in used.variables if keras.ops.convert_to_numpy(v).tobytes() not in kept]
    assert finding.status == "failed" and finding.evidence["names"] == lacks
    assert "holds 2 of this fit's 6 variables" in finding.title and finding.severity == "wrong"
    assert [path.partition("/")[2] for path in finding.evidence["loaded"]] == ["a/kernel", "a/bias"]
    assert len(finding.evidence["absent"]) == 4 and finding.evidence["differing"] == []


def compiled(loss: Any, *, loaded: bool) -> Callable[[Any], Any]:
    def made(model: Any) -> Any:
        used = all_of_it(model) if loaded else model
        used.compile("sgd", loss)
        return used

    return made


@pytest.mark.parametrize("loaded", [True, False], ids=["another model", "the same"])
def test_a_value_of_the_same_name_that_something_else_computes(loaded: bool) -> None:
    finding, _, used = run(compiled("mae", loaded=loaded))
    by_fit, here = finding.evidence["fit"], finding.evidence["here"]
    assert (finding.status, finding.severity, finding.metric) == ("failed", "notable", "loss")
    assert by_fit.startswith("mean_squared_error(") and here.startswith("mean_absolute_error(")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 4)).astype("float32"), rng.normal(size=(24, 1)).astype("float32")
    away = np.asarray(used.predict(x, verbose=0)) - y
    amount = float(np.abs(away).mean() - (away**2).mean())
    assert finding.evidence["amount"] == pytest.approx(amount, rel=1e-4) and blocks(finding.advice)


@pytest.mark.parametrize("loaded", [True, False], ids=["another model", "the same"])
def test_control_compiled_again_as_it_was(loaded: bool) -> None:
    assert run(compiled(keras.losses.MeanSquaredError(), loaded=loaded))[0].status != "failed"


@pytest.mark.parametrize("other", [lambda m: None, lambda m: m, lambda m: build()], ids=["none", "itself", "fresh"])
def test_without_weights_of_this_fit_in_another_model_it_does_not_apply(other: Any) -> None:
    assert run(other)[0].status == "not-applicable"

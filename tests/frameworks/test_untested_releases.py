"""A Keras that was not tested: the user is told, and whatever it lacks, the fit goes on as it would have."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer, read_trace
from diagnose.analysis.analyze import analyse
from diagnose.frameworks.keras import releases
from diagnose.frameworks.keras.relied_on import RELIED_ON
from diagnose.record.guard import TracingStopped
from tests.frameworks.test_relied_on import HOME, found, last

BACKEND = keras.backend.backend()
SENTENCE = "Keras 3.99.0 was not tested with this release of diagnose (tested: 3.8.0 to 3.15.1)."


@pytest.mark.parametrize("version", ["3.8.0", "3.9.2", "3.12.1", "3.15.0", "3.15.1"])
def test_from_the_oldest_to_the_newest_all_releases_count_as_tested(version: str) -> None:
    assert releases.tested(version) and releases.untested(version) is None


@pytest.mark.parametrize(
    "version", ["3.7.0", "2.15.0", "3.15.2", "3.16.0", "4.0.0", "3.15.1rc1", "3.12.0.dev2025092303", "3.15", "", "?"]
)
def test_others_do_not_development_versions_and_later_patches_included(version: str) -> None:
    assert not releases.tested(version)
    assert releases.untested(version) == f"Keras {version} {SENTENCE.partition('3.99.0 ')[2]}"


def test_an_unknown_version_is_not_spoken_of() -> None:
    assert releases.untested(None) is None


def make() -> Any:
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(2), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5, seed=1)]
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"], run_eagerly=BACKEND == "tensorflow")
    return model


def train(*callbacks: Any) -> tuple[Any, dict[str, list[float]]]:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)).astype("float32"), rng.normal(size=(8, 1)).astype("float32")
    model = make()
    history = model.fit(
        x, y, batch_size=4, epochs=1, shuffle=False, validation_data=(x, y), verbose=0, callbacks=list(callbacks)
    )
    return model, history.history


def test_the_report_of_a_fit_on_such_a_release_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras, "__version__", "3.99.0")
    tracer = Tracer(tmp_path / "fit.diag")
    train(tracer)
    diagnosis = tracer.diagnose()
    assert diagnosis.keras == "3.99.0" and diagnosis.notice == SENTENCE
    assert diagnosis.problems == ()  # nothing is missing for it
    assert SENTENCE in " ".join(str(diagnosis).split())
    diagnosis.to_json(tmp_path / "diagnosis.json")
    assert json.loads((tmp_path / "diagnosis.json").read_text())["fits"][0]["notice"] == SENTENCE
    diagnosis.to_html(tmp_path / "report.html")
    assert SENTENCE in (tmp_path / "report.html").read_text("utf-8")


def test_so_does_one_that_is_made_elsewhere_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as there:
        there.setattr(keras, "__version__", "3.99.0")
        train(Tracer(tmp_path / "fit.diag"))
    with read_trace(tmp_path / "fit.diag") as trace:
        assert str(analyse(trace).notice).endswith(SENTENCE)


def test_and_a_replay_on_one_of_a_fit_on_a_tested_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = train(Tracer(tmp_path / "fit.diag"))
    monkeypatch.setattr(keras, "__version__", "3.99.0")
    with read_trace(tmp_path / "fit.diag") as trace:
        assert str(analyse(trace, model).notice).endswith(SENTENCE)
    with read_trace(tmp_path / "fit.diag") as trace:
        assert SENTENCE not in str(analyse(trace).notice)  # nothing of this Keras was used


# ── names that are gone ──

ATTRIBUTES = [
    relied.name
    for relied in RELIED_ON
    if BACKEND in relied.backends and ":" not in relied.name and not last(relied)[0].isupper()
    if relied.name.rpartition(".")[2][0] == "_" and not relied.name.startswith("tensorflow")
]


@pytest.fixture(scope="module")
def untraced() -> tuple[list[Any], dict[str, list[float]]]:
    model, history = train()
    return model.get_weights(), history


def take_away(name: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Instances of its class lack the attribute, for `frameworks/keras` alone. Returns who asked."""
    owner, attribute = found(name.rpartition(".")[0]), name.rpartition(".")[2]
    original, asked = owner.__getattribute__, []

    def without(self: Any, wanted: str) -> Any:
        code = sys._getframe(1).f_code
        if wanted == attribute and code.co_filename.startswith(str(HOME)):
            asked.append(code.co_name)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")
        return original(self, wanted)

    monkeypatch.setattr(owner, "__getattribute__", without)
    return asked


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_name_that_is_gone_costs_the_trace_at_most(
    name: str, untraced: tuple[list[Any], dict[str, list[float]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras, "__version__", "3.99.0")
    tracer = Tracer(tmp_path / "fit.diag")
    with monkeypatch.context() as there, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TracingStopped)
        asked = take_away(name, there)
        traced, logged = train(tracer)
        said = [str(w.message) for w in caught if issubclass(w.category, TracingStopped)]
        diagnosis = tracer.diagnose()
    assert logged == untraced[1]
    assert all(np.array_equal(a, b) for a, b in zip(untraced[0], traced.get_weights(), strict=True))
    if said:
        assert len(said) == 1 and asked and f"'{name.rpartition('.')[2]}'" in said[0] and said[0].endswith(SENTENCE)
    assert str(diagnosis.notice).endswith(SENTENCE)
    assert ("Tracing stopped" in str(diagnosis.notice)) is bool(said)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the others' functions get each batch")
def test_so_does_one_that_is_asked_of_the_class(
    untraced: tuple[list[Any], dict[str, list[float]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diagnose.record.backends import tensorflow_source

    def gone(epoch_iterator: Any) -> Any:
        return type(epoch_iterator)._get_iterator_by_another_name(epoch_iterator)

    monkeypatch.setattr(tensorflow_source, "drawn_from", gone)
    with pytest.warns(TracingStopped, match="_get_iterator_by_another_name"):
        traced, logged = train(Tracer(tmp_path / "fit.diag"))
    assert logged == untraced[1]
    assert all(np.array_equal(a, b) for a, b in zip(untraced[0], traced.get_weights(), strict=True))

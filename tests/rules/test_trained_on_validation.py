from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from diagnose import Tracer
from diagnose.rules import trained_on_validation
from diagnose.tracefile.events import TrainedBefore
from diagnose.tracefile.reader import read_trace
from tests.rules.advice import blocks, cures, paste

RULE = trained_on_validation.NAME


def model() -> Any:
    keras.utils.set_random_seed(2)
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    made.compile(keras.optimizers.SGD(0.01), "mse")
    return made


def rows(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    return rng.normal(size=(count, 3)).astype("float32"), rng.normal(size=(count, 1)).astype("float32")


def fit(x: Any, y: Any, validation: Any, made: Any = None, epochs: int = 2, **arguments: Any) -> Any:
    tracer = Tracer()
    made = model() if made is None else made
    made.fit(x, y, validation_data=validation, epochs=epochs, batch_size=8, verbose=0, callbacks=[tracer], **arguments)
    return next(f for f in tracer.diagnose().findings if f.rule == RULE)


def equal_rows(a: np.ndarray, b: np.ndarray) -> int:
    """Rows of `a` that are in `b`, by a plain loop."""
    return sum(any(np.array_equal(one, other) for other in b) for one in a)


@pytest.mark.recorded
def test_fails_where_two_splits_overlap() -> None:
    x, y = rows()
    training = np.random.default_rng(1).permutation(60)[:45]
    held = np.random.default_rng(2).permutation(60)[:15]
    finding = fit(x[training], y[training], (x[held], y[held]))
    assert finding.status == "failed" and finding.role == "spoils-values"
    assert finding.evidence["validation_rows"] == 15
    assert finding.evidence["validation_rows_trained_on_before"] == equal_rows(x[held], x[training]) > 3


def test_says_so_first() -> None:
    x, y = rows()
    tracer = Tracer()
    model().fit(x, y, validation_data=(x[:20], y[:20]), epochs=2, verbose=0, callbacks=[tracer])
    diagnosis = tracer.diagnose()
    assert diagnosis.headline == next(f for f in diagnosis.findings if f.rule == RULE).title
    assert "20 of the 20 validation rows (100%)" in diagnosis.headline


@pytest.mark.recorded
def test_passes_for_one_split_and_one_copy_in_it() -> None:
    x, y = rows()
    assert fit(x[:45], y[:45], (x[45:], y[45:])).title.startswith("No row of validation")
    x[50], y[50] = x[3], y[3]
    finding = fit(x[:45], y[:45], (x[45:], y[45:]))
    assert finding.status == "passed" and finding.evidence["validation_rows_trained_on_before"] == 1


@pytest.mark.recorded
def test_does_not_apply_to_the_training_data_given_for_validation() -> None:
    x, y = rows()
    for validation in ((x, y), (x.copy()[::-1], y.copy()[::-1])):
        finding = fit(x, y, validation)
        assert finding.status == "not-applicable" and "is the training data, all 60 rows" in finding.title
    assert fit(x, y, None).status == "not-applicable"


@pytest.mark.recorded
def test_passes_for_rows_of_few_possible_values() -> None:
    """Eight values of x and two of y: any two samples have nearly all rows in common."""
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 2, (200, 3)).astype("float32"), rng.integers(0, 2, (200, 1)).astype("float32")
    finding = fit(x[:150], y[:150], (x[150:], y[150:]))
    assert finding.status == "passed" and finding.evidence["validation_rows_trained_on_before"] >= 45
    # And where only some rows have an equal one: as many as by chance.
    x = rng.integers(0, 200, (300, 1)).astype("float32") * np.ones((1, 3), "float32")
    finding = fit(x[:200], x[:200, :1], (x[200:], x[200:, :1]))
    assert finding.status == "passed" and 20 < finding.evidence["validation_rows_trained_on_before"] < 90


@pytest.mark.recorded
def test_fails_for_copies_made_before_the_split() -> None:
    """A rare class, oversampled: within the training data there are as many copies as across the split."""
    rng = np.random.default_rng(3)
    x, y = rows(100)
    x, y = np.concatenate([x, *[x[:20]] * 4]), np.concatenate([y, *[y[:20]] * 4])
    order = rng.permutation(len(x))
    x, y = x[order], y[order]
    finding = fit(x[:140], y[:140], (x[140:], y[140:]))
    assert finding.status == "failed"
    assert finding.evidence["validation_rows_trained_on_before"] == equal_rows(x[140:], x[:140])
    scope: dict[str, Any] = {"np": np, "x": x, "y": y}
    exec(blocks(finding.advice)[0], scope)
    assert len(scope["x"]) == len(scope["y"]) == 100
    assert fit(scope["x"][:70], scope["y"][:70], (scope["x"][70:], scope["y"][70:])).status == "passed"


@pytest.mark.recorded
def test_fails_for_folds_with_one_model_and_not_for_a_model_each() -> None:
    x, y = rows()
    folds = np.arange(60) % 3
    made = model()
    for fold in range(3):
        train, held = folds != fold, folds == fold
        finding = fit(x[train], y[train], (x[held], y[held]), made)
        assert finding.status == ("failed" if fold else "passed"), fold
    assert finding.evidence["validation_rows_trained_on_in_earlier_fits"] == 20
    assert "earlier fit" in finding.title and "build_model" in blocks(finding.advice)[0]
    for fold in range(2):
        train, held = folds != fold, folds == fold
        assert fit(x[train], y[train], (x[held], y[held])).status == "passed"


def test_folds_that_begin_with_the_first_weights_again_are_apart() -> None:
    x, y = rows()
    made = model()
    initial = made.get_weights()
    for part in (slice(0, 30), slice(30, 60)):
        made.set_weights(initial)
        other = slice(30, 60) if part.start == 0 else slice(0, 30)
        assert fit(x[part], y[part], (x[other], y[other]), made).status == "passed"


def test_rows_used_only_after_the_epoch_whose_weights_are_taken_up_are_not_counted(tmp_path: Path) -> None:
    """The first fit sees half of the rows in its first epoch and the rest in its second; the weights of the first are
    put back. A third fit goes on from there."""
    x, y = rows(32)
    made, kept = model(), []
    tracer = Tracer(tmp_path / "a.diag")
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(made.get_weights()))
    parts = [(x[:16], y[:16]), (x[16:], y[16:])]
    batches = (part for part in parts)
    made.fit(batches, steps_per_epoch=1, epochs=2, verbose=0, callbacks=[keep, tracer])
    counts = []
    for number, weights in enumerate(kept):
        made.set_weights(weights)
        path = tmp_path / f"{number}.diag"
        made.fit(x[:4], y[:4], validation_data=(x[12:28], y[12:28]), epochs=1, verbose=0, callbacks=[Tracer(path)])
        with read_trace(path) as trace:
            counts.append([e.detail.rows for e in trace.events_of(TrainedBefore)])
    assert counts == [[4], [16]]


class Fits:
    """In the place of a model: the rows that it is given, of one fit after the other."""

    def __init__(self) -> None:
        self.given: list[tuple[set[Any], set[Any]]] = []

    def fit(self, x: Any, y: Any = None, *, epochs: int, validation_data: Any) -> None:
        self.given.append((self.rows(x), self.rows(validation_data[0] if y is not None else validation_data)))

    def rows(self, data: Any) -> set[Any]:
        if isinstance(data, np.ndarray):
            return {row.tobytes() for row in data}
        return {row.tobytes() for batch in data for row in np.asarray(batch[0])}


@cures(RULE)
def test_advice_trains_on_none_of_the_validation_rows() -> None:
    """By equal rows, in the place of the fit; the other kinds of advice are run below and beside it."""
    x, y = rows()
    finding = fit(x[:45], y[:45], (x[30:], y[30:]))
    model = Fits()
    paste(finding.advice, model=model, x=x, y=y)
    ((trained, held),) = model.given
    assert len(trained) == 48 and len(held) == 12 and not trained & held


def test_advice_for_folds_trains_a_model_for_each() -> None:
    x, y = rows()
    numbers, made = np.arange(60) % 3, model()
    for fold in range(2):
        finding = fit(x[numbers != fold], y[numbers != fold], (x[numbers == fold], y[numbers == fold]), made)
    models: list[Fits] = []

    def build_model() -> Fits:
        models.append(Fits())
        return models[-1]

    folds = [(np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold)) for fold in range(3)]
    paste(finding.advice, build_model=build_model, folds=folds, x=x, y=y)
    assert len(models) == 3
    for one in models:
        ((trained, held),) = one.given
        assert len(held) == 20 and not trained & held


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data")
def test_advice_for_datasets_splits_rows_in_one_order() -> None:
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(rows())
    finding = fit_dataset(data.batch(10).skip(1), data.batch(10).take(3))
    assert finding.status == "failed" and finding.evidence["validation_rows_trained_on_before"] == 20
    model = Fits()
    paste(finding.advice, model=model, dataset=data, rows=60, validation_rows=15, batch_size=10)
    ((trained, held),) = model.given
    assert len(trained) == 45 and len(held) == 15 and not trained & held


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data")
def test_advice_for_images_makes_both_parts_in_one_call(tmp_path: Path) -> None:
    """A directory whose parts were loaded by two calls with two seeds."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(10):
            keras.utils.save_img(tmp_path / name / f"{i}.png", rng.integers(0, 255, (8, 8, 3)).astype("uint8"))

    def part(subset: str, seed: int) -> Any:
        return keras.utils.image_dataset_from_directory(
            tmp_path, validation_split=0.2, subset=subset, seed=seed, image_size=(8, 8), batch_size=4, verbose=False
        )

    keras.utils.set_random_seed(2)
    made = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
    made.compile(keras.optimizers.SGD(1e-9), "mse")
    tracer = Tracer()
    made.fit(part("training", 1), validation_data=part("validation", 2), verbose=0, callbacks=[tracer])
    finding = next(f for f in tracer.diagnose().findings if f.rule == RULE)
    assert finding.status == "failed"
    model = Fits()
    paste(finding.advice, fill={"seed=0": "seed=0, verbose=False"}, model=model, directory=tmp_path)
    ((trained, held),) = model.given
    assert len(trained) == 16 and len(held) == 4 and not trained & held


def fit_dataset(training: Any, validation: Any) -> Any:
    tracer = Tracer()
    model().fit(training, validation_data=validation, epochs=2, verbose=0, callbacks=[tracer])
    return next(f for f in tracer.diagnose().findings if f.rule == RULE)


def scored_over(held: np.ndarray, trained: np.ndarray) -> Any:
    """The finding of a fit without validation, behind which the script evaluates other rows."""
    x, y = rows()
    with diagnose.trace() as session:
        made = model()
        made.fit(x[trained], y[trained], epochs=1, batch_size=8, verbose=0)
        made.evaluate(x[held], y[held], verbose=0)
        (diagnosis,) = session.diagnose()
    return next(f for f in diagnosis.findings if f.rule == RULE)


def test_fails_for_a_test_set_of_another_split() -> None:
    x, y = rows()
    trained, held = np.arange(45), np.arange(35, 55)
    finding = scored_over(held, trained)
    assert finding.status == "failed" and "of which 10 (50%) had been trained on" in finding.title
    given = Fits()
    given.evaluate = lambda x, y: given.given.append((set(), given.rows(x)))  # type: ignore[attr-defined]
    given.fit = lambda x, y, epochs: given.given.append((given.rows(x), set()))  # type: ignore[method-assign]
    paste(finding.advice, model=given, x=x, y=y)
    (trained_on, _), (_, over) = given.given
    assert len(over) == 12 and not trained_on & over


@pytest.mark.parametrize(
    "held", [np.arange(45, 60), np.arange(45), np.arange(60)], ids=["unseen", "training", "all there is"]
)
def test_does_not_apply_to_unseen_rows_or_to_all_that_was_trained_on(held: np.ndarray) -> None:
    assert scored_over(held, np.arange(45)).status == "not-applicable"


def scores(made: Any, folds: list[tuple[np.ndarray, np.ndarray]], x: np.ndarray, y: np.ndarray) -> list[Any]:
    """The findings of fits on the first of each pair, and an evaluate on the second after each."""
    with diagnose.trace() as session:
        for train, held in folds:
            scored = model() if made is None else made
            scored.fit(x[train], y[train], epochs=2, batch_size=8, verbose=0)
            scored.evaluate(x[held], y[held], verbose=0)
        return [next(f for f in d.findings if f.rule == RULE) for d in session.diagnose()]


def test_rows_scored_after_fit_that_an_earlier_fold_had_trained_on() -> None:
    """Without validation data: folds of one model, each scored with `evaluate`."""
    x, y = rows()
    folds = [(np.setdiff1d(np.arange(60), held), held) for held in np.split(np.arange(60), 3)]
    first, second, third = scores(model(), folds, x, y)
    assert first.status == "not-applicable", "nothing came before it"
    for finding, (_, held) in zip((second, third), folds[1:], strict=True):
        assert finding.status == "failed" and finding.role == "spoils-values" and "earlier fit" in finding.title
        # All of these rows were in the training part of the first fold.
        assert finding.evidence["rows_trained_on_before"] == equal_rows(x[held], x[folds[0][0]]) == 20
    assert "build_model()" in blocks(finding.advice)[0]
    assert {f.status for f in scores(None, folds, x, y)} == {"not-applicable"}, "a new model for each fold"


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data")
@pytest.mark.parametrize("reshuffled", [True, False])
def test_rows_scored_after_fit_of_a_split_that_is_drawn_anew(reshuffled: bool) -> None:
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(rows()).shuffle(60, seed=1, reshuffle_each_iteration=reshuffled)
    made = model()
    with diagnose.trace() as session:
        made.fit(data.skip(20).batch(8), epochs=6, verbose=0)
        made.evaluate(data.take(20).batch(10), verbose=0)
        finding = next(f for f in session.diagnose()[0].findings if f.rule == RULE)
    assert (finding.status == "failed") == reshuffled
    if reshuffled:
        assert finding.evidence["rows_trained_on_before"] == 20 and "drawn anew" in finding.title


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data")
def test_the_data_of_fit_itself_is_no_held_out_part() -> None:
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(rows()).batch(10).repeat()
    made = model()
    with diagnose.trace() as session:
        made.fit(data, steps_per_epoch=4, epochs=3, verbose=0)
        made.evaluate(data, steps=3, verbose=0)
        finding = next(f for f in session.diagnose()[0].findings if f.rule == RULE)
    assert finding.status != "failed"

"""What is said of the script's own calls: compared with what the script got, with plain `evaluate`, and with NumPy."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from diagnose import DiagnoseError, Diagnosis, Tracer
from diagnose.analysis.analyze import analyse_file
from diagnose.report import html
from diagnose.report.json import dumps, loads
from diagnose.result.calls import Call

ROWS, BATCH, EPOCHS = 48, 8, 3


def data(seed: int, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4)).astype("float32")
    return x, (x[:, 0] + 0.5 * rng.normal(size=rows) > 0).astype("int64")


def build() -> Any:
    keras.utils.set_random_seed(3)
    layers = [keras.Input((4,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dropout(0.5)]
    model = keras.Sequential([*layers, keras.layers.Dense(2, activation="softmax")])
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Made:
    """A script, what it got, and what is said of it."""

    def __init__(self, folder: Path) -> None:
        x, y = data(0)
        val, other = data(1, 20), data(2, 12)
        self.path = folder / "model.keras"
        self.inside: list[float] = []

        def evaluates(epoch: int, logs: Any) -> None:
            self.inside.append(model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"])

        with diagnose.trace(folder / "traces") as session:
            model = build()
            fit = model.fit(
                x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0, validation_data=val,
                callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=evaluates)],
            )  # fmt: skip
            self.history = fit.history
            self.training = model.evaluate(x, y, verbose=0)
            model.evaluate(*val, batch_size=7, verbose=0)
            model.evaluate(*other, sample_weight=np.linspace(0.1, 2, 12), verbose=0)
            self.predicted = model.predict(val[0], verbose=0)
            model.save(self.path)
            keras.models.load_model(self.path).evaluate(x[:5], y[:5], verbose=0)
            model.layers[-1].set_weights([2 * w for w in model.layers[-1].get_weights()])
            self.changed = model.evaluate(x, y, verbose=0)
            model.test_on_batch(x[:10], y[:10])
            self.labels = val[1]
            (self.diagnosis,) = session.diagnose()
            self.trace = session.runs[0].path
        self.calls = self.diagnosis.calls


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("made"))


def adds_up(call: Call, value: float) -> None:
    assert call.compared_with is not None and call.residual is not None
    total = math.fsum([call.compared_with.logged, *(e.amount for e in call.entries), call.residual])
    assert total == pytest.approx(value, abs=1e-12)


def test_every_call_is_there_in_order_and_its_values_come_out_of_replay(made: Made) -> None:
    kinds = ["evaluate"] * EPOCHS + ["evaluate"] * 3 + ["predict"] + ["evaluate"] * 2 + ["test_on_batch"]
    assert [c.call for c in made.calls] == kinds
    assert [c.reproduced for c in made.calls] == [None if c.call == "predict" else True for c in made.calls]
    assert {c.file for c in made.calls} == {"test_calls.py"}


def test_training_rows_after_the_fit_are_compared_with_the_last_epochs_log(made: Made) -> None:
    call = made.calls[EPOCHS]
    assert (call.version, call.ends_epoch, call.after_fit, call.epoch) == (18, 3, True, None)
    assert call.rows is not None
    assert (call.rows.kind, call.rows.count, call.rows.same, call.rows.known) == ("training", ROWS, ROWS, ROWS)
    assert call.batch_size == 32
    assert call.compared_with is not None
    assert call.compared_with.metric == "accuracy" and call.compared_with.logged == made.history["accuracy"][-1]
    assert "dropout" in {e.factor for e in call.entries}
    adds_up(call, made.training[1])
    (loss,) = call.others
    assert (loss.compared_with.metric, loss.compared_with.logged) == ("loss", made.history["loss"][-1])
    assert loss.value == made.training[0] and abs(loss.residual or 0.0) < 1e-5
    total = math.fsum([loss.compared_with.logged, *(e.amount for e in loss.entries), loss.residual or 0.0])
    assert total == pytest.approx(made.training[0], abs=1e-12)
    assert abs(call.residual or 0.0) < 1e-6


def test_a_call_in_a_callback_has_the_weights_of_its_epoch(made: Made) -> None:
    for number, call in enumerate(made.calls[:EPOCHS], 1):
        assert (call.epoch, call.ends_epoch, call.version) == (number, number, 6 * number)
        assert call.after_fit == (number == EPOCHS) and call.returned["accuracy"] == made.inside[number - 1]
        assert call.compared_with is not None and call.compared_with.epoch == number
        assert call.compared_with.logged == made.history["accuracy"][number - 1]
    second = made.calls[1]
    if second.residual is not None:
        adds_up(second, made.inside[1])


def test_validation_rows_are_compared_with_the_validation_log(made: Made) -> None:
    call = made.calls[EPOCHS + 1]
    assert call.rows is not None and (call.rows.kind, call.rows.known) == ("validation", 20)
    assert call.compared_with is not None and call.compared_with.metric == "val_accuracy"
    assert call.compared_with.logged == made.history["val_accuracy"][-1] and call.batch_size == 7
    adds_up(call, call.returned["accuracy"])
    assert call.entries == ()


def test_other_rows_are_said_to_be_other(made: Made) -> None:
    call = made.calls[EPOCHS + 2]
    assert call.rows is not None and (call.rows.kind, call.rows.count, call.rows.same) == ("other", 12, 0)
    assert call.compared_with is None and call.weighted


def test_predictions_are_given_the_value_that_their_labels_give(made: Made) -> None:
    call = made.calls[EPOCHS + 3]
    own = float((made.predicted.argmax(1) == made.labels).mean())
    assert call.returned == {} and call.replayed["accuracy"] == pytest.approx(own)
    assert call.rows is not None and call.rows.kind == "validation"


def test_a_loaded_model_is_matched_by_content_and_a_part_of_the_rows_is_named(made: Made) -> None:
    call = made.calls[EPOCHS + 4]
    assert not call.same_model and call.after_fit and call.version == 18
    assert call.rows is not None and (call.rows.kind, call.rows.count, call.rows.known) == ("training", 5, ROWS)
    amounts = {e.factor: e.amount for e in call.entries}
    whole = made.training[["loss", "accuracy"].index(call.metric)]
    assert amounts["other-rows"] == pytest.approx(call.returned[call.metric] - whole, abs=1e-6) != 0
    adds_up(call, call.returned[call.metric])


def test_weights_set_by_hand_are_no_version(made: Made) -> None:
    call = made.calls[EPOCHS + 5]
    assert (call.version, call.ends_epoch, call.after_fit, call.changed) == (None, None, False, 2)
    adds_up(call, made.changed[1])
    assert call.residual == pytest.approx(0, abs=1e-6)


def test_they_go_through_json_and_stay_when_the_trace_is_analysed_again(made: Made) -> None:
    (again,) = loads(dumps([made.diagnosis]))
    assert again.calls == made.calls
    reread = analyse_file(made.trace)
    assert reread.calls == made.calls


def test_a_line_for_each_in_terminal_and_page(made: Made) -> None:
    text, page = str(made.diagnosis), html.render([made.diagnosis])
    site = f"test_calls.py:{made.calls[-1].line} test_on_batch returned {made.calls[-1].metric}"
    assert site in text and site in page
    assert (
        "version 18, the end of epoch 3, as after fit" in page
        and "the 48 fit trained on, in order, batches of 32" in page
    )
    assert "no version of this fit (2 variables are not as after fit)" in page


def test_the_contract_of_its_keys(made: Made) -> None:
    (document,) = json.loads(dumps([made.diagnosis]))["fits"]
    call = document["calls"][EPOCHS]
    keys = ["call", "file", "line", "epoch", "returned", "version", "rows", "batch_size", "compared_with", "entries"]
    assert [key for key in call if key in keys] == keys and {"residual", "reproduced"} <= set(call)
    assert {"kind", "count", "same", "map"} <= set(call["rows"])
    assert list(call["compared_with"]) == ["epoch", "metric", "logged"]
    assert list(call["entries"][0]) == ["factor", "amount"]


def test_the_headline_is_about_the_scripts_own_number(made: Made) -> None:
    """The weights that were set by hand moved the loss and the accuracy; the largest difference comes first."""
    after = [
        c
        for c in made.calls
        if c.epoch is None and c.compared_with is not None and c.residual is not None and c.returned
    ]
    gaps = {
        c.line: abs(c.returned[c.metric] / c.compared_with.logged - 1) for c in after if c.compared_with is not None
    }
    line = max(gaps, key=lambda n: gaps[n])
    assert made.diagnosis.headline.startswith(f"test_calls.py:{line}: ")
    assert " where fit logged " in made.diagnosis.headline and "mostly because" in made.diagnosis.headline


def test_another_compile_is_named() -> None:
    x, y = data(0)
    with diagnose.trace() as session:
        model = build()
        model.fit(x, y, batch_size=BATCH, verbose=0)
        model.compile(
            "adam", "sparse_categorical_crossentropy", metrics=[keras.metrics.MeanMetricWrapper(ones, "accuracy")]
        )
        model.evaluate(x, y, verbose=0)
        (found,) = session.diagnose()
    (call,) = found.calls
    assert call.same_compile is False and call.returned["accuracy"] == 1.0 and call.reproduced is True
    assert call.recompiled == {"accuracy": pytest.approx(1.0)} and call.metric == "accuracy"
    assert dict((e.factor, e.amount) for e in call.entries)["other-compile"] == pytest.approx(
        1.0 - call.replayed["accuracy"]
    )
    adds_up(call, 1.0)
    assert call.residual == pytest.approx(0.0, abs=1e-6)


def ones(y_true: Any, y_pred: Any) -> Any:
    return keras.ops.ones_like(y_pred[:, 0])


def explained(tmp_path: Path) -> tuple[Any, Tracer]:
    tracer = Tracer(tmp_path / "fit.diag")
    model = build()
    model.fit(*data(0), batch_size=BATCH, epochs=2, verbose=0, callbacks=[tracer])
    return model, tracer


def test_a_tracer_explains_a_number_seen_later(tmp_path: Path) -> None:
    model, tracer = explained(tmp_path)
    x, y = data(0)
    values = model.evaluate(x, y, verbose=0)
    for returned in (values, dict(zip(("loss", "accuracy"), values, strict=True)), {"accuracy": values[1]}):
        call = tracer.explain(returned, x, y)
        assert call.reproduced and call.returned["accuracy"] == values[1] and call.after_fit
        assert "evaluate returned accuracy" in str(call) and str(call).startswith("test_calls.py:")
    diagnosis: Diagnosis = tracer.diagnose()
    assert len(diagnosis.calls) == 3
    wrong = tracer.explain([values[0], 0.123], x, y)
    assert wrong.reproduced is False and "replay gives accuracy" in str(wrong)


@pytest.mark.parametrize("returned", [[0.1], [0.1, 0.2, 0.3], {"auc": 0.5}, {}, 0.3])
def test_values_that_fit_no_metric_are_refused(returned: Any, tmp_path: Path) -> None:
    _, tracer = explained(tmp_path)
    with pytest.raises(DiagnoseError, match="which are loss, accuracy"):
        tracer.explain(returned, *data(0))
    assert tracer.runs[0].calls.made == []


def test_weights_that_were_put_back_are_those_of_their_own_version(tmp_path: Path) -> None:
    """A restore leaves the version it went back to, not the last one; the call is compared with that epoch's log."""
    x, y = data(0)
    stop = keras.callbacks.EarlyStopping("loss", mode="max", patience=1, restore_best_weights=True)  # keeps the worst
    with diagnose.trace(tmp_path) as session:
        model = build()
        logged = model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[stop]).history["loss"]
        model.evaluate(x, y, verbose=0)
        (diagnosis,) = session.diagnose()
    kept = stop.best_epoch + 1
    assert kept < len(logged)
    (call,) = diagnosis.calls
    assert (call.version, call.ends_epoch, call.after_fit) == (kept * ROWS // BATCH, kept, True)
    assert call.compared_with is not None and call.compared_with.epoch == kept
    adds_up(call, call.returned["accuracy"])


def test_rows_in_another_order_are_not_said_to_be_in_order(tmp_path: Path) -> None:
    x, y = data(0)
    with diagnose.trace(tmp_path) as session:
        model = build()
        model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
        for rows in (slice(None), slice(None, None, -1), slice(0, 8), slice(8, 16)):
            model.evaluate(x[rows], y[rows], verbose=0)
            model.predict(x[rows], verbose=0)
        (diagnosis,) = session.diagnose()
    ordered = [call.rows and call.rows.ordered for call in diagnosis.calls]
    assert ordered == [True, True, False, False, True, True, False, False]


def test_validation_rows_whose_labels_have_another_dtype(tmp_path: Path) -> None:
    """They are rows of another signature than those that were trained on."""
    with diagnose.trace(tmp_path) as session:
        model = build()
        x, y = data(0)
        xv, yv = data(1, 20)
        yv = yv.astype("int32")
        model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0, validation_data=(xv, yv))
        returned = model.evaluate(xv, yv, verbose=0)
        model.predict(xv, verbose=0)
        (diagnosis,) = session.diagnose()
    evaluated, predicted = diagnosis.calls
    assert evaluated.rows is not None and predicted.rows is not None
    assert (evaluated.rows.kind, predicted.rows.kind) == ("validation", "validation")
    assert evaluated.returned["loss"] == pytest.approx(returned[0], abs=0)
    assert evaluated.reproduced


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="other backends have no strings")
def test_a_prediction_beside_batches_that_are_kept_in_one_piece(tmp_path: Path) -> None:
    import tensorflow as tf

    words = np.array(["a", "b", "c", "b"])
    labels = np.array([0.0, 1.0, 0.0, 1.0], "float32")
    inputs = keras.Input((1,), dtype="string")
    found = keras.layers.StringLookup(vocabulary=["a", "b", "c"], output_mode="one_hot")(inputs)
    with diagnose.trace(tmp_path) as session:
        model = keras.Model(inputs, keras.layers.Dense(1)(found))
        model.compile("sgd", "mse")
        model.fit(tf.data.Dataset.from_tensor_slices((words[:, None], labels)).batch(2), epochs=1, verbose=0)
        model.predict(tf.constant([["b"]]), verbose=0)
        (diagnosis,) = session.diagnose()
    assert diagnosis.replay is not None and (diagnosis.replay.steps, diagnosis.replay.reproduced) == (2, 2)
    assert [call.call for call in diagnosis.calls] == ["predict"]


@pytest.mark.skipif(keras.config.backend() == "jax", reason="own steps take other arguments there")
def test_evaluate_hands_x_on_by_itself_to_a_step_of_the_models_own(tmp_path: Path) -> None:
    class Coder(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(4)
            self.mean_loss = keras.metrics.Mean(name="loss")

        @property
        def metrics(self) -> Any:
            return [self.mean_loss]

        def call(self, x: Any) -> Any:
            return self.dense(x)

        def test_step(self, data: Any) -> Any:
            bare = not isinstance(data, (tuple, list))
            x = data if bare else data[0]
            self.mean_loss.update_state(keras.ops.mean((self.dense(x) - x) ** 2) + (0.0 if bare else 100.0))
            return {"loss": self.mean_loss.result()}

        train_step = test_step

    x = data(0, 12)[0]
    with diagnose.trace(tmp_path) as session:
        keras.utils.set_random_seed(1)
        model = Coder()
        model(x[:1])
        model.compile(optimizer="sgd")
        model.fit(x, batch_size=4, epochs=1, verbose=0)
        returned = model.evaluate(x, batch_size=4, verbose=0, return_dict=True)["loss"]
        (diagnosis,) = session.diagnose()
    assert returned < 100
    (call,) = diagnosis.calls
    assert call.reproduced
    adds_up(call, returned)


class Numbered(keras.utils.PyDataset):
    """Rows in batches that are asked for by number."""

    def __init__(self, x: np.ndarray, y: np.ndarray, size: int) -> None:
        super().__init__()
        self.x, self.y, self.size = x, y, size

    def __len__(self) -> int:
        return -(-len(self.x) // self.size)

    def __getitem__(self, index: int) -> Any:
        at = slice(index * self.size, (index + 1) * self.size)
        return self.x[at], self.y[at]


def test_rows_that_are_drawn_in_the_call_are_known_by_content(tmp_path: Path) -> None:
    """And predictions of them are held against their labels, whatever order they come in."""
    x, y = data(0)
    order = np.random.default_rng(5).permutation(ROWS)
    with diagnose.trace(tmp_path) as session:
        model = build()
        model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0)
        value = model.evaluate(Numbered(x, y, 10), verbose=0)
        model.evaluate(((x[i : i + 16], y[i : i + 16]) for i in (0, 16, 32)), steps=3, verbose=0)
        if keras.backend.backend() != "torch":  # which knows only one; others run several batches in a call
            model.steps_per_execution, model.predict_function = 2, None
        predicted = model.predict(Numbered(x[order], y[order], 7), verbose=0)
        model.steps_per_execution = 1
        model.evaluate(Numbered(3 * x + 1, y, 10), verbose=0)
        (diagnosis,) = session.diagnose()
    numbered, generator, predict, scaled = diagnosis.calls
    for call, size in ((numbered, 10), (generator, 16)):
        assert call.rows is not None and (call.rows.kind, call.rows.count, call.rows.ordered) == (
            "training",
            ROWS,
            True,
        )
        assert (call.batch_size, call.reproduced) == (size, True)
        adds_up(call, call.returned[call.metric])
    assert numbered.returned == dict(zip(("loss", "accuracy"), value, strict=True))
    assert predict.rows is not None and predict.rows.ordered is False and predict.batch_size == 7
    assert predict.scored is not None
    right = predicted.argmax(1)
    assert predict.scored.values == {"accuracy": pytest.approx((right == y[order]).mean())}
    assert predict.scored.in_order == pytest.approx((right == y).mean())
    assert scaled.rows is not None and (scaled.rows.map, scaled.rows.of) == ("scaled", "training")


def test_calls_that_were_not_noted_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data(0)
    monkeypatch.setattr("diagnose.record.calls.FREE_SECONDS", -1.0)
    monkeypatch.setattr("diagnose.record.calls.SHARE", 0.0)
    with diagnose.trace(tmp_path) as session:
        model = build()
        model.fit(x, y, batch_size=BATCH, verbose=0)
        model.evaluate(x, y, verbose=0)
        model.predict(x, verbose=0)
        (diagnosis,) = session.diagnose()
    assert diagnosis.calls == () and diagnosis.notice is not None and "2 were passed over" in diagnosis.notice


def test_labels_in_another_encoding_are_named_and_undone(tmp_path: Path) -> None:
    x, y = data(0)
    order = np.random.default_rng(5).permutation(ROWS)
    with diagnose.trace(tmp_path) as session:
        model = build()
        model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0)
        plain = model.evaluate(x, y, verbose=0)
        turned = model.evaluate(x, 1 - y, verbose=0)
        model.evaluate(x[order], y, verbose=0)
        shuffled = model.evaluate(x, y[order], verbose=0)
        model.evaluate(x, y.astype("float32"), verbose=0)
        (diagnosis,) = session.diagnose()
    _, other, moved, labels, cast = diagnosis.calls
    names = ["labels-permuted", "labels-in-order", "labels-moved", None]
    assert [c.rows and c.rows.map for c in (other, moved, labels, cast)] == names
    assert {e.factor: e.amount for e in labels.entries}["rows-changed"] == pytest.approx(
        shuffled[at := ["loss", "accuracy"].index(labels.metric)] - plain[at], abs=1e-6
    )
    at = ["loss", "accuracy"].index(other.metric)
    amounts = {e.factor: e.amount for e in other.entries}
    assert amounts["rows-changed"] == pytest.approx(turned[at] - plain[at], abs=1e-6)
    adds_up(other, turned[at])
    assert cast.rows is not None and cast.rows.kind == "training"
    finding = next(f for f in diagnosis.findings if f.rule == "preprocessing-differs")
    assert finding.status == "failed" and "classes numbered otherwise" in finding.title


def test_sample_weights_of_a_call_are_an_amount_of_their_own(tmp_path: Path) -> None:
    x, y = data(0)
    weight = np.where(y == 1, 9.0, 1.0)
    with diagnose.trace(tmp_path) as session:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0)
        plain = model.evaluate(x, y, verbose=0)
        weighted = model.evaluate(x, y, sample_weight=weight, verbose=0)
        (diagnosis,) = session.diagnose()
    amounts = {e.factor: e.amount for e in diagnosis.calls[1].entries}
    assert amounts["class-weights"] == pytest.approx(weighted - plain, abs=1e-6) != 0
    assert "batching" not in amounts and "other-rows" not in amounts
    adds_up(diagnosis.calls[1], weighted)

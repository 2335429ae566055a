from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from diagnose.rules import metric_mismatch, metric_pairs
from tests.rules.advice import blocks

RULE = metric_mismatch.NAME
BACKEND = keras.backend.backend()


def fit(y: Any, metric: Any, units: int = 1, loss: Any = "mse", model: Any = None, x: Any = None) -> tuple[Any, Any]:
    keras.utils.set_random_seed(2)
    if x is None:
        x = np.random.default_rng(1).normal(size=(48, 3)).astype("float32")
    activation = "softmax" if units > 1 else "sigmoid"
    model = model or keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, activation=activation)])
    model.compile(keras.optimizers.SGD(0.01), loss, metrics=[metric])
    tracer = Tracer()
    history = model.fit(x, y, epochs=2, batch_size=16, shuffle=False, verbose=0, callbacks=[tracer]).history
    return next(f for f in tracer.diagnose().findings if f.rule == RULE), history


def binary(shape: tuple[int, ...] = (48, 1)) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 2, shape)


def classes(shape: tuple[int, ...] = (48, 1)) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 3, shape)


@pytest.mark.recorded
def test_categorical_accuracy_of_one_unit_is_always_one() -> None:
    finding, history = fit(binary(), "categorical_accuracy")
    assert finding.status == "failed" and finding.metric == "categorical_accuracy" and finding.effect is None
    assert history["categorical_accuracy"] == [1.0, 1.0]
    assert finding.evidence["whatever_is_predicted"] and finding.evidence["predicted_values"] == [1.0]
    assert "BinaryAccuracy" in blocks(finding.advice)[0]


@pytest.mark.recorded
def test_categorical_accuracy_of_class_numbers_ignores_the_labels() -> None:
    finding, _ = fit(classes(), "categorical_accuracy", 3, "sparse_categorical_crossentropy")
    assert finding.status == "failed"
    # Keras itself: other labels, same predictions, same value.
    predicted = np.random.default_rng(0).random((48, 3))
    for y in (classes(), (classes() + 1) % 3):
        value = float(keras.metrics.CategoricalAccuracy()(y, predicted))
        assert value == pytest.approx(np.mean(predicted.argmax(1) == 0))
    assert "SparseCategoricalAccuracy" in blocks(finding.advice)[0]


@pytest.mark.recorded
def test_categorical_accuracy_of_flat_class_numbers_compares_with_a_place_in_the_batch() -> None:
    y = classes((48,))
    finding, history = fit(y, "categorical_accuracy", 1)
    assert finding.status == "failed"
    by_hand = [float(batch.argmax() == 0) for batch in np.split(y, 3)]
    assert history["categorical_accuracy"][0] == pytest.approx(np.mean(by_hand))
    assert finding.evidence["predicted_values"] == sorted(set(by_hand))


@pytest.mark.recorded
@pytest.mark.skipif(BACKEND == "torch", reason="torch refuses k above the number of classes")
@pytest.mark.parametrize("name", ["top_k_categorical_accuracy", "sparse_top_k_categorical_accuracy"])
def test_top_k_of_fewer_classes_than_k(name: str) -> None:
    y = classes() if name.startswith("sparse") else np.eye(3, dtype="float32")[classes((48,))]
    finding, history = fit(y, name, 3, f"{'sparse_' if name.startswith('sparse') else ''}categorical_crossentropy")
    assert finding.status == "failed" and history[name] == [1.0, 1.0]
    expected = "SparseCategoricalAccuracy" if name.startswith("sparse") else ".CategoricalAccuracy"
    assert expected in blocks(finding.advice)[0]


@pytest.mark.recorded
def test_sparse_accuracy_of_one_unit_is_the_share_of_zeros() -> None:
    y = binary()
    finding, history = fit(y, "sparse_categorical_accuracy")
    assert finding.status == "failed"
    assert history["sparse_categorical_accuracy"] == pytest.approx([np.mean(y == 0)] * 2)


@pytest.mark.recorded
def test_accuracy_of_quantities_is_always_zero() -> None:
    finding, history = fit(np.random.default_rng(4).normal(size=(48, 1)).astype("float32"), "accuracy")
    assert finding.status == "failed" and history["accuracy"] == [0.0, 0.0]
    assert finding.evidence["whatever_is_predicted"]
    assert "MeanAbsoluteError" in blocks(finding.advice)[0]


def test_accuracy_of_signs_cannot_count_the_negative_ones() -> None:
    y = (2 * binary() - 1).astype("float32")
    finding, history = fit(y, "accuracy", loss="hinge")
    assert finding.status == "failed" and not finding.evidence["whatever_is_predicted"]
    assert max(history["accuracy"]) <= np.mean(y == 1)
    scope: dict[str, Any] = {"keras": keras}
    exec(blocks(finding.advice)[0].split("model.compile")[0], scope)
    predicted = np.random.default_rng(0).normal(size=(48, 1)).astype("float32")
    counted = np.mean(np.asarray(keras.ops.convert_to_numpy(scope["sign_accuracy"](y, predicted))))
    assert counted == pytest.approx(np.mean(np.sign(predicted) == y))


@pytest.mark.parametrize("kind", ["one column", "flat", "soft"])
def test_keras_itself_stays_within_the_bounds_for_any_predictions(kind: str) -> None:
    """The pairs, against Keras on random predictions."""
    rng = np.random.default_rng(0)
    y = {"one column": binary(), "flat": binary((48,)), "soft": rng.random((48, 1)).astype("float32")}[kind]
    tried = 0
    for cls in ("CategoricalAccuracy", "SparseCategoricalAccuracy", "BinaryAccuracy", "SparseTopKCategoricalAccuracy"):
        metric = getattr(keras.metrics, cls)()
        if cls.startswith("SparseTopK") and BACKEND == "torch":
            continue
        for units in (1, 3):
            case = metric_pairs.Case("m", units, 5, [y])
            found = metric_pairs.PAIRS[metric._fn.__name__](case)
            if found is None:
                continue
            ((low, high),) = found.bounds
            for scale in (-3.0, 0.0, 3.0):
                metric.reset_state()
                predicted = (rng.normal(size=(48, units)) + scale).astype("float32")
                metric.update_state(y, predicted)
                assert low - 1e-6 <= float(metric.result()) <= high + 1e-6, (cls, units)
                tried += 1
    assert tried >= 6


@pytest.mark.recorded
def test_passes_for_a_perfect_model_with_the_right_metric() -> None:
    y = binary()
    x = np.where(y, 9.0, -9.0).astype("float32") * np.ones((1, 3), "float32")
    ones = keras.layers.Dense(1, activation="sigmoid", kernel_initializer="ones")
    finding, history = fit(y, "binary_accuracy", x=x, model=keras.Sequential([keras.Input((3,)), ones]))
    assert history["binary_accuracy"] == [1.0, 1.0] and finding.status == "passed"


@pytest.mark.recorded
@pytest.mark.parametrize(
    ("metric", "units"), [("accuracy", 1), ("accuracy", 3), ("sparse_categorical_accuracy", 3), ("acc", 3)]
)
def test_passes_for_metrics_that_fit(metric: str, units: int) -> None:
    loss = "binary_crossentropy" if units == 1 else "sparse_categorical_crossentropy"
    assert fit(binary() if units == 1 else classes(), metric, units, loss)[0].status == "passed"


@pytest.mark.recorded
def test_does_not_apply_without_such_a_metric() -> None:
    assert fit(binary(), "mae")[0].status == "not-applicable"


@pytest.mark.recorded
def test_names_the_output_of_several() -> None:
    keras.utils.set_random_seed(2)
    inputs = keras.Input((3,))
    outputs = {
        "a": keras.layers.Dense(3, activation="softmax", name="a")(inputs),
        "b": keras.layers.Dense(1, activation="sigmoid", name="b")(inputs),
    }
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse", metrics={"a": ["categorical_accuracy"], "b": ["categorical_accuracy"]})
    x = np.random.default_rng(1).normal(size=(48, 3)).astype("float32")
    tracer = Tracer()
    y = {"b": binary().astype("float32"), "a": np.eye(3, dtype="float32")[classes((48,))]}
    model.fit(x, y, epochs=2, verbose=0, callbacks=[tracer])
    finding = next(f for f in tracer.diagnose().findings if f.rule == RULE)
    assert finding.status == "failed" and finding.metric == "b_categorical_accuracy"


def one_hot(width: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    y = np.eye(width, dtype="float32")[rng.integers(0, width, 48)]
    return (y @ rng.normal(size=(width, 3)) + rng.normal(size=(48, 3))).astype("float32"), y


def test_binary_accuracy_of_one_hot_classes_counts_cells() -> None:
    x, y = one_hot()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5, activation="softmax")])
    finding, _ = fit(y, "binary_accuracy", loss="binary_crossentropy", model=model, x=x)
    predicted = model.predict(x, verbose=0)
    rows, cells = np.mean(predicted.argmax(1) == y.argmax(1)), np.mean((predicted > 0.5) == (y == 1))
    assert cells > rows + 0.2
    assert finding.status == "failed" and finding.effect == pytest.approx(cells - rows)
    assert finding.evidence["rows_right"] == pytest.approx(rows) and finding.evidence["cells_right"] == pytest.approx(
        cells
    )
    assert "CategoricalAccuracy" in blocks(finding.advice)[0]


@pytest.mark.recorded
def test_binary_accuracy_passes_for_several_labels_a_row_and_for_a_metric_of_rows() -> None:
    x, y = one_hot()
    several = np.maximum(y, np.roll(y, 1, axis=0))
    assert fit(several, "binary_accuracy", 5, "binary_crossentropy", x=x)[0].status == "passed"
    soft = 0.9 * y + 0.02
    assert fit(soft, "accuracy", 5, "categorical_crossentropy", x=x)[0].status == "passed"
    assert fit(y, "categorical_accuracy", 5, "binary_crossentropy", x=x)[0].status == "passed"


def test_binary_accuracy_of_one_hot_classes_passes_where_all_rows_are_right() -> None:
    _, y = one_hot()
    sharp = keras.layers.Dense(5, activation="softmax", kernel_initializer=keras.initializers.Constant(0.0))
    model = keras.Sequential([keras.Input((5,)), sharp])
    sharp.set_weights([40 * np.eye(5, dtype="float32"), np.zeros(5, "float32")])
    assert fit(y, "binary_accuracy", loss="binary_crossentropy", model=model, x=y)[0].status == "passed"


def test_accuracy_of_several_labels_a_row_asks_for_the_first_of_them() -> None:
    """Keras takes `"accuracy"` of labels with as many columns as outputs for that of one class a row."""
    x, y = one_hot()
    several = np.maximum(y, np.roll(y, 1, axis=1))
    finding, history = fit(several, "accuracy", 5, "binary_crossentropy", x=x)
    assert finding.status == "failed" and "100% of the rows have several labels that are 1" in finding.title
    assert "BinaryAccuracy" in blocks(finding.advice)[0] and 0.0 < history["accuracy"][-1] < 1.0
    # Keras itself: right for all labels, and only the place of the first one counts.
    predicted = np.where(several == 1, 0.8, 0.1)
    predicted[(several == 1) & (several.cumsum(axis=1) == 2)] = 0.9
    assert float(keras.metrics.CategoricalAccuracy()(several, predicted)) < 0.5
    assert float(keras.metrics.BinaryAccuracy()(several, predicted)) == 1.0


def test_accuracy_of_several_quantities_a_row() -> None:
    y = np.random.default_rng(4).normal(size=(48, 3)).astype("float32")
    finding, _ = fit(y, "accuracy", 3)
    assert finding.status == "failed" and "labels that are quantities" in finding.title
    assert "MeanAbsoluteError" in blocks(finding.advice)[0]


def linear(units: int) -> Any:
    keras.utils.set_random_seed(2)
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)])


def two_classes() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(1).normal(size=(48, 3)).astype("float32")
    return x, (x[:, :1] > 0).astype("float32")


@pytest.mark.parametrize("units", [1, 2])
def test_a_crossentropy_of_probabilities_over_logits_is_named_and_its_advice_cures(units: int) -> None:
    x, y = two_classes()
    y = y if units == 1 else y[:, 0].astype("int32")
    model, loss = linear(units), "binary_crossentropy" if units == 1 else "sparse_categorical_crossentropy"
    finding, _ = fit(y, "mse" if units == 1 else "sparse_categorical_accuracy", units, loss, model=model, x=x)
    out = np.asarray(keras.ops.convert_to_numpy(model(x)), "float64")
    assert finding.status == "failed" and finding.metric == "loss"
    assert finding.evidence["lowest_output"] == pytest.approx(out.min(), rel=1e-4)
    code = blocks(finding.advice)[0].replace("optimizer=...", "optimizer='sgd'").replace("[...]", "[]")
    exec(code, {"keras": keras, "model": model})
    logits = np.concatenate([np.zeros_like(out), out], axis=1) if units == 1 else out
    log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    wanted = -log[np.arange(48), y.reshape(-1).astype(int)].mean()
    assert model.evaluate(x, y, verbose=0) == pytest.approx(wanted, rel=1e-5)


def test_a_border_of_one_half_between_logits_is_named_and_its_advice_cures() -> None:
    x, y = two_classes()
    model = linear(1)
    model.layers[0].set_weights([np.array([[0.9], [0.0], [0.0]]), np.zeros(1)])
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    finding, _ = fit(y, "accuracy", 1, loss, model=model, x=x)
    out = np.asarray(keras.ops.convert_to_numpy(model(x)))
    assert (finding.status, finding.severity, finding.metric) == ("failed", "notable", "accuracy")
    assert finding.evidence["cells_right"] == pytest.approx(np.mean((out > 0.5) == (y == 1)))
    assert finding.evidence["rows_right"] == pytest.approx(right := np.mean((out > 0) == (y == 1)))
    code = blocks(finding.advice)[0].replace("optimizer=..., loss=...", "optimizer='sgd', loss='mse'")
    exec(code, {"keras": keras, "model": model})
    assert model.evaluate(x, y, verbose=0)[1] == pytest.approx(right)
    told = fit(y, keras.metrics.BinaryAccuracy(threshold=0.0), 1, loss, model=model, x=x)[0]
    assert told.status == "passed", told.title


def test_logits_that_the_loss_is_told_of_pass() -> None:
    x, y = two_classes()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    finding, _ = fit(y[:, 0].astype("int32"), "accuracy", 2, loss, model=linear(2), x=x)
    assert finding.status == "passed"


def test_a_softmax_over_one_unit_is_one() -> None:
    x, y = two_classes()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="softmax")])
    finding, history = fit(y, "accuracy", 1, "binary_crossentropy", model=model, x=x)
    assert history["accuracy"] == pytest.approx([float(y.mean())] * 2)
    assert finding.status == "failed" and "softmax over one unit" in finding.title
    assert np.all(np.asarray(keras.ops.convert_to_numpy(model(x))) == 1.0)


@pytest.mark.parametrize("kind", ["one-hot", "one unit", "several labels"])
def test_accuracy_of_fractions_compares_them_as_they_are(kind: str) -> None:
    """`keras.metrics.Accuracy` is not what "accuracy" stands for in `compile`."""
    x = np.random.default_rng(1).normal(size=(48, 3)).astype("float32")
    y = np.eye(3, dtype="float32")[x.argmax(1)]
    y = {"one-hot": y, "one unit": y[:, 0], "several labels": (x > 0).astype("float32")}[kind]
    units = 1 if kind == "one unit" else 3
    activation = "softmax" if kind == "one-hot" else "sigmoid"
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, activation=activation)])
    finding, history = fit(y, keras.metrics.Accuracy(), units, "binary_crossentropy", model, x)
    assert history["accuracy"] == [0.0, 0.0]
    assert finding.status == "failed" and "digit for digit" in finding.title
    predicted = np.asarray(model.predict(x, verbose=0))
    right = predicted.argmax(1) == y.argmax(-1) if kind == "one-hot" else (predicted > 0.5) == (y.reshape(48, -1) == 1)
    told = {"one-hot": "CategoricalAccuracy", "one unit": "BinaryAccuracy", "several labels": "BinaryAccuracy"}[kind]
    assert f"metrics.{told}()" in blocks(finding.advice)[0]
    assert (f"{right.mean():.1%} of the rows" in finding.title) == (kind != "several labels")


def test_accuracy_of_whole_numbers_passes() -> None:
    """A model that gives 0 or 1 may be compared as it is."""
    i = keras.Input((3,))
    step = keras.layers.Lambda(lambda z: keras.ops.clip(1e6 * z, 0.0, 1.0))
    model = keras.Model(i, step(keras.layers.Dense(1)(i)))
    finding, history = fit(binary(), keras.metrics.Accuracy(), model=model)
    assert history["accuracy"][0] > 0.2 and finding.status != "failed"

"""The forms in which users give losses and metrics, each held against Keras's own `evaluate` and against NumPy."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from tests.metrics.proof import Proof, assert_everything_explained, assert_explained, assert_replayed, factors, prove

ops = keras.ops
ROWS, BATCH = 11, 4
PARTS = [slice(i, i + BATCH) for i in range(0, ROWS, BATCH)]


def features(width: int = 4) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(ROWS, width)).astype("float32")


def quantities(width: int = 2) -> np.ndarray:
    rng = np.random.default_rng(8)
    return (features() @ rng.normal(size=(4, width)) + rng.normal(size=(ROWS, width))).astype("float32")


def binary() -> np.ndarray:
    return (quantities(1) > 0).astype("float32")


def classes() -> np.ndarray:
    return quantities(3).argmax(axis=1).astype("int32")


def dense(units: int, activation: str | None = None, name: str | None = None, **arguments: Any) -> Any:
    start = keras.initializers.GlorotUniform(seed=2)
    return keras.layers.Dense(units, activation=activation, name=name, kernel_initializer=start, **arguments)


def network(units: int = 2, activation: str | None = None, *, make: Any = keras.Model, **compiled: Any) -> Any:
    x = keras.Input((4,))
    model = make(x, dense(units, activation)(dense(6, "tanh")(x)))
    model.compile(**{"optimizer": keras.optimizers.SGD(0.2), "loss": "mse", **compiled})
    return model


def predictions(proof: Proof, x: Any) -> Any:
    return keras.tree.map_structure(keras.ops.convert_to_numpy, proof.copy(x, training=False))


# ── functions ──


def row_error(y_true: Any, y_pred: Any) -> Any:
    return ops.mean(ops.abs(y_true - y_pred), axis=-1)


def spread(y_true: Any, y_pred: Any) -> Any:
    """One number per batch, that depends on which rows are together."""
    return ops.max(y_pred) - ops.min(y_pred)


def total(y_true: Any, y_pred: Any) -> Any:
    return ops.sum(ops.abs(y_true - y_pred))


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Proof:
    make = functools.partial(network, metrics=[row_error, spread, total])
    return prove(tmp_path_factory.mktemp("functions"), make, features(), quantities())


def test_function_metrics_are_explained(functions: Proof) -> None:
    assert_everything_explained(functions)


def test_a_function_of_rows_is_their_mean_and_a_function_of_batches_the_mean_over_batches(functions: Proof) -> None:
    p, y = predictions(functions, features()), quantities()
    # Keras 3 weights a batch's one number by nothing: each batch counts once.
    each = [float(p[part].max() - p[part].min()) for part in PARTS]
    sums = [float(np.abs(y - p)[part].sum()) for part in PARTS]
    assert functions.ledger("row_error").evaluated == pytest.approx(float(np.mean(np.abs(y - p))), rel=1e-5)
    assert functions.ledger("spread").evaluated == pytest.approx(float(np.mean(each)), rel=1e-5)
    assert functions.ledger("total").evaluated == pytest.approx(float(np.mean(sums)), rel=1e-5)


def test_evaluating_in_other_batches_is_an_aggregation_of_the_function_of_batches_only(tmp_path: Path) -> None:
    x, y = features(), quantities()
    keras.utils.set_random_seed(5)
    model = network(metrics=[row_error, total], optimizer=keras.optimizers.SGD(0.0))
    tracer = Tracer(tmp_path / "fit.diag")
    model.fit(x, y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0, callbacks=[tracer])
    found = {ledger.metric: ledger for ledger in tracer.diagnose(evaluate=(x, y)).ledgers}  # one batch of 11
    error = np.abs(y - keras.ops.convert_to_numpy(model(x)))
    amount = float(error.sum() - np.mean([error[part].sum() for part in PARTS]))
    assert {name for name, ledger in found.items() if "aggregation" in factors(ledger)} == {"total"}
    (entry,) = [e for e in found["total"].entries if e.amount]
    assert entry.amount == pytest.approx(amount, rel=1e-5)
    assert all(abs(ledger.residual) <= 1e-5 * abs(ledger.evaluated) for ledger in found.values())


# ── weights ──


def test_weighted_metrics_know_the_weights_and_metrics_do_not(tmp_path: Path) -> None:
    x, y = features(), (features()[:, :1] > 0).astype("float32")
    weights = np.linspace(0.2, 3, ROWS).astype("float32")
    weighted = ["accuracy", "mse"]
    make = functools.partial(
        network,
        1,
        "sigmoid",
        loss="binary_crossentropy",
        optimizer=keras.optimizers.SGD(0.0),
        metrics=["mae"],
        weighted_metrics=weighted,
    )
    proof = prove(tmp_path, make, x, y, sample_weight=weights)
    ledgers = assert_everything_explained(proof)
    assert set(ledgers) == {"loss", "mae", *weighted}
    assert {name for name, ledger in ledgers.items() if "class-weights" in factors(ledger)} == {"loss", *weighted}
    p = predictions(proof, x).astype(float)
    w = weights.astype(float)[:, None]
    squares = (y - p) ** 2
    assert ledgers["mse"].logged == pytest.approx(float(np.sum(w * squares) / np.sum(w)), rel=1e-5)
    # The loss divides by rows, not by weights.
    losses = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert ledgers["loss"].logged == pytest.approx(float(np.mean(w * losses)), rel=1e-5)
    for name, amount in (
        ("mse", np.mean(squares) - np.sum(w * squares) / np.sum(w)),
        ("loss", np.mean(losses) - np.mean(w * losses)),
    ):
        (entry,) = [e for e in ledgers[name].entries if e.amount]
        assert (entry.factor, entry.amount) == ("class-weights", pytest.approx(float(amount), rel=1e-4))


def test_class_weights_for_one_hot_and_for_integer_labels_are_the_same_factor(tmp_path: Path) -> None:
    weights = {0: 1.0, 1: 4.0, 2: 0.5}
    amounts = []
    for loss, y in (
        ("sparse_categorical_crossentropy", classes()),
        ("categorical_crossentropy", np.eye(3, dtype="float32")[classes()]),
    ):
        make = functools.partial(network, 3, "softmax", loss=loss, metrics=["accuracy"])
        (tmp_path / loss).mkdir()
        proof = prove(tmp_path / loss, make, features(), y, class_weight=weights)
        ledgers = assert_everything_explained(proof, exact=("accuracy",))
        amounts.append({e.factor: e.amount for e in ledgers["loss"].entries})
        assert "class-weights" in amounts[-1] and "class-weights" not in factors(ledgers["accuracy"])
    assert amounts[0] == {factor: pytest.approx(amount, rel=1e-4) for factor, amount in amounts[1].items()}


# ── names ──


@pytest.mark.parametrize(
    ("units", "activation", "loss", "labels"),
    [
        (1, "sigmoid", "binary_crossentropy", binary),
        (3, "softmax", "sparse_categorical_crossentropy", classes),
        (3, "softmax", "categorical_crossentropy", lambda: np.eye(3, dtype="float32")[classes()]),
    ],
    ids=["binary", "sparse", "one-hot"],
)
def test_accuracy_by_name_is_a_count_for_each_kind_of_labels(
    units: int, activation: str, loss: str, labels: Callable[[], np.ndarray], tmp_path: Path
) -> None:
    x, y = features(), labels()
    make = functools.partial(network, units, activation, loss=loss, metrics=["accuracy"])
    proof = prove(tmp_path, make, x, y)
    ledgers = assert_everything_explained(proof, exact=("accuracy",))
    p = predictions(proof, x)
    if units == 1:
        right = (p > 0.5) == (y > 0.5)
    else:
        right = p.argmax(axis=1) == (y if y.ndim == 1 else y.argmax(axis=1))
    assert ledgers["accuracy"].evaluated == pytest.approx(float(np.mean(right)), rel=1e-6)


# ── several outputs ──


def two_outputs(**compiled: Any) -> Any:
    x = keras.Input((4,))
    h = dense(6, "tanh")(x)
    model = keras.Model(x, {"size": dense(2, name="size")(h), "sign": dense(1, "sigmoid", name="sign")(h)})
    model.compile(keras.optimizers.SGD(0.2), **compiled)
    return model


def listed_outputs(**compiled: Any) -> Any:
    x = keras.Input((4,))
    h = dense(6, "tanh")(x)
    model = keras.Model(x, [dense(2, name="size")(h), dense(1, "sigmoid", name="sign")(h)])
    model.compile(keras.optimizers.SGD(0.2), **compiled)
    return model


def numpy_losses(size: Any, sign: Any) -> tuple[np.ndarray, np.ndarray]:
    """Of each row."""
    y, t, p = quantities(), binary(), sign.astype(float)
    mse = np.mean((size.astype(float) - y) ** 2, axis=1)
    return mse, -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p), axis=1)


def mean_of_batches(values: np.ndarray) -> float:
    """Keras weights the batches' losses of one output by the number of rows where it is compiled for that number, and
    not at all where it is compiled for any (CompileLoss.call, 3.8 to 3.15)."""
    each, weights = [float(values[part].mean()) for part in PARTS], [len(values[part]) for part in PARTS]
    return float(np.average(each, weights=None if keras.config.backend() == "tensorflow" else weights))


def test_several_outputs_by_name_have_losses_of_their_own_and_weights(tmp_path: Path) -> None:
    def make() -> Any:
        return two_outputs(
            loss={"size": "mse", "sign": "binary_crossentropy"},
            loss_weights={"size": 0.5, "sign": 2.0},
            # Made here: a metric that two models share is not reset before the first batch of the second.
            metrics={"size": ["mae"], "sign": ["accuracy", keras.metrics.AUC(name="auc")]},
        )

    proof = prove(tmp_path, make, features(), {"size": quantities(), "sign": binary()})
    ledgers = assert_everything_explained(proof, exact=("sign_accuracy",))
    assert set(ledgers) == {"loss", "size_loss", "sign_loss", "size_mae", "sign_accuracy", "sign_auc"}
    found = predictions(proof, features())
    size, sign = numpy_losses(found["size"], found["sign"])
    assert ledgers["loss"].evaluated == pytest.approx(float(np.mean(0.5 * size + 2 * sign)), rel=1e-5)
    assert ledgers["sign_loss"].evaluated == pytest.approx(mean_of_batches(sign), rel=1e-5)


def test_several_outputs_in_a_list_have_losses_and_weights_of_their_own(tmp_path: Path) -> None:
    make = functools.partial(
        listed_outputs,
        loss=["mse", "binary_crossentropy"],
        loss_weights=[0.5, 2.0],
        metrics=[["mae"], ["accuracy"]],
    )
    proof = prove(tmp_path, make, features(), [quantities(), binary()])
    ledgers = assert_everything_explained(proof)
    size, sign = numpy_losses(*predictions(proof, features()))
    assert ledgers["loss"].evaluated == pytest.approx(float(np.mean(0.5 * size + 2 * sign)), rel=1e-5)
    assert len(ledgers) == 5


@pytest.mark.parametrize("form", ["by name", "one array for all"])
def test_sample_weights_of_several_outputs_are_a_factor(form: str, tmp_path: Path) -> None:
    weights = np.linspace(0.2, 3, ROWS).astype("float32")
    by_name = {"size": weights, "sign": np.ones_like(weights)}
    make = functools.partial(
        two_outputs,
        loss={"size": "mse", "sign": "binary_crossentropy"},
        metrics={"size": ["mae"]},
        weighted_metrics={"size": ["mse"]},
    )
    data = {"size": quantities(), "sign": binary()}
    given = by_name if form == "by name" else weights
    ledgers = assert_everything_explained(prove(tmp_path, make, features(), data, sample_weight=given))
    weighted = {name for name, ledger in ledgers.items() if "class-weights" in factors(ledger)}
    assert weighted == {"loss", "size_loss", "size_mse"} | ({"sign_loss"} if form == "one array for all" else set())


def test_an_output_without_a_loss_has_metrics_all_the_same(tmp_path: Path) -> None:
    make = functools.partial(two_outputs, loss={"size": "mse"}, metrics={"sign": ["accuracy"], "size": ["mae"]})
    ledgers = assert_everything_explained(prove(tmp_path, make, features(), {"size": quantities(), "sign": binary()}))
    assert {"loss", "sign_accuracy", "size_mae"} <= set(ledgers)


# ── losses that the model adds ──


class Adds(keras.layers.Layer):
    """A loss that depends on the batch."""

    def call(self, x: Any) -> Any:
        self.add_loss(0.1 * ops.mean(ops.square(x)))
        return x


def test_added_losses_are_in_the_loss_at_both_ends(tmp_path: Path) -> None:
    def make() -> Any:
        x = keras.Input((4,))
        h = Adds()(dense(6, "tanh", kernel_regularizer=keras.regularizers.L2(0.05))(x))
        model = keras.Model(x, dense(2)(h))
        model.compile(keras.optimizers.SGD(0.2), "mse", metrics=["mse"])
        return model

    proof = prove(tmp_path, make, features(), quantities())
    ledgers = assert_everything_explained(proof)
    kernel, bias = (np.asarray(w, float) for w in proof.model.get_weights()[:2])
    h = np.tanh(features().astype(float) @ kernel + bias)
    added = np.average([0.1 * np.mean(h[p] ** 2) for p in PARTS], weights=[len(h[p]) for p in PARTS])
    penalties = float(added + 0.05 * np.sum(kernel**2))
    assert ledgers["loss"].evaluated - ledgers["mse"].evaluated == pytest.approx(penalties, rel=1e-4)


class OwnLoss(keras.Model):
    """Overrides `compute_loss`, and weights what it is given."""

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *args: Any, **kwargs: Any) -> Any:
        return 0.5 * ops.mean(ops.abs(y - y_pred)) + 0.01 * ops.sum(ops.square(self.trainable_variables[0]))


def test_an_overridden_compute_loss_is_replayed(tmp_path: Path) -> None:
    proof = prove(tmp_path, functools.partial(network, make=OwnLoss, metrics=["mae"]), features(), quantities())
    ledgers = assert_everything_explained(proof)
    kernel = np.asarray(proof.model.get_weights()[0], float)
    expected = 0.5 * ledgers["mae"].evaluated + 0.01 * float(np.sum(kernel**2))
    assert ledgers["loss"].evaluated == pytest.approx(expected, rel=1e-5)


# ── metrics that the model makes ──


class OwnMetrics(keras.Model):
    """Holds a metric, and updates it where Keras lets a model do so."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.largest = keras.metrics.Mean(name="largest")

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        self.largest.update_state(ops.max(ops.abs(y_pred)))
        return {**super().compute_metrics(x, y, y_pred, sample_weight), "largest": self.largest.result()}


def test_metrics_made_in_compute_metrics_are_explained(tmp_path: Path) -> None:
    proof = prove(tmp_path, functools.partial(network, make=OwnMetrics, metrics=["mae"]), features(), quantities())
    ledgers = assert_everything_explained(proof)
    p = np.abs(predictions(proof, features()))
    assert ledgers["largest"].evaluated == pytest.approx(float(np.mean([p[s].max() for s in PARTS])), rel=1e-5)


class OnlyItsOwn(keras.Model):
    """Returns numbers that no metric of Keras holds."""

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return {**super().compute_metrics(x, y, y_pred, sample_weight), "last": ops.mean(y_pred)}


def test_a_number_that_no_metric_holds_is_replayed_or_left_out_never_wrong(tmp_path: Path) -> None:
    """It is that of the last batch alone."""
    proof = prove(tmp_path, functools.partial(network, make=OnlyItsOwn, metrics=["mae"]), features(), quantities())
    assert_replayed(proof)
    for name in {x.metric for x in proof.diagnosis.ledgers}:
        assert_explained(proof, name)
    assert {"loss", "mae"} <= {x.metric for x in proof.diagnosis.ledgers}


class Largest(keras.metrics.Metric):
    """A user's metric: the largest error seen, which is no sum. It returns its variable itself where Keras takes that
    (not on JAX)."""

    def __init__(self, name: str = "largest_error", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.value = self.add_weight(shape=(), initializer="zeros", name="value")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.value.assign(ops.maximum(self.value, ops.max(ops.abs(y_true - y_pred))))

    def result(self) -> Any:
        return self.value.value if keras.config.backend() == "jax" else self.value


class FromOne(keras.metrics.Metric):
    """A user's metric whose reset does not give zeros."""

    def __init__(self, name: str = "from_one", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.product = self.add_weight(shape=(), initializer="ones", name="product")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.product.assign(self.product * (1 + ops.mean(ops.square(y_true - y_pred))))

    def reset_state(self) -> None:
        self.product.assign(1.0)

    def result(self) -> Any:
        return ops.log(self.product)


def test_metrics_of_the_users_are_explained_whatever_they_keep(tmp_path: Path) -> None:
    def make() -> Any:
        return network(metrics=[Largest(), FromOne()])

    proof = prove(tmp_path, make, features(), quantities())
    ledgers = assert_everything_explained(proof)
    p, y = predictions(proof, features()), quantities()
    error = np.abs(y - p)
    assert ledgers["largest_error"].evaluated == pytest.approx(float(error.max()), rel=1e-5)
    logs = math.log(math.prod(1 + float(np.mean(error[s] ** 2)) for s in PARTS))
    assert ledgers["from_one"].evaluated == pytest.approx(logs, rel=1e-5)


class Several(keras.metrics.Metric):
    """A user's metric that gives several numbers by name."""

    def __init__(self, name: str = "several", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.low = self.add_weight(shape=(), initializer="zeros", name="low")
        self.high = self.add_weight(shape=(), initializer="zeros", name="high")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.low.assign_add(ops.min(y_pred))
        self.high.assign_add(ops.max(y_pred))

    def result(self) -> Any:
        return {"low": self.low.value, "high": self.high.value}


class Holds(keras.Model):
    """Keeps such a metric itself: Keras logs each of its numbers by its own name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.several = Several()

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        self.several.update_state(y, y_pred)
        return super().compute_metrics(x, y, y_pred, sample_weight)


def test_each_number_of_a_metric_that_a_model_holds_has_a_ledger(tmp_path: Path) -> None:
    proof = prove(tmp_path, functools.partial(network, make=Holds), features(), quantities())
    ledgers = assert_everything_explained(proof)
    p = predictions(proof, features())
    assert set(ledgers) == {"loss", "low", "high"}
    for name, find in (("low", np.min), ("high", np.max)):
        assert ledgers[name].evaluated == pytest.approx(sum(float(find(p[s])) for s in PARTS), rel=1e-5)


def test_a_compiled_metric_of_several_numbers_disturbs_no_other(tmp_path: Path) -> None:
    """Keras logs it as a dict in the logs."""
    proof = prove(tmp_path, lambda: network(metrics=["mae", Several()]), features(), quantities())
    assert_replayed(proof)
    for name in ("loss", "mae"):
        assert_explained(proof, name)


# ── masks ──


@pytest.mark.parametrize("layer", ["LSTM", "GRU"])
def test_masked_sequences_are_explained(layer: str, tmp_path: Path) -> None:
    """Rows of different lengths; loss and metrics count only the steps that are there."""
    rng = np.random.default_rng(1)
    lengths = np.array([1, 5, 2, 4, 3, 5, 1, 2, 5, 3, 4])
    there = np.arange(5) < lengths[:, None]
    tokens = np.where(there, rng.integers(1, 9, size=(ROWS, 5)), 0).astype("int32")
    tags = np.where(there, tokens % 3, 0).astype("int32")

    def make() -> Any:
        x = keras.Input((5,), dtype="int32")
        start = keras.initializers.GlorotUniform(seed=2)
        h = keras.layers.Embedding(9, 4, mask_zero=True, embeddings_initializer=start)(x)
        h = getattr(keras.layers, layer)(5, return_sequences=True, kernel_initializer=start)(h)
        model = keras.Model(x, dense(3, "softmax")(h))
        model.compile(
            keras.optimizers.Adam(0.05),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
            weighted_metrics=[keras.metrics.SparseCategoricalCrossentropy(name="crossentropy")],
        )
        return model

    proof = prove(tmp_path, make, tokens, tags)
    ledgers = assert_everything_explained(proof, exact=("accuracy",))
    p = predictions(proof, tokens)
    right = (p.argmax(axis=-1) == tags)[there]
    losses = -np.log(np.take_along_axis(p.astype(float), tags[..., None], axis=-1)[..., 0])[there]
    assert ledgers["accuracy"].evaluated == pytest.approx(float(np.mean(right)), rel=1e-5)
    assert ledgers["crossentropy"].evaluated == pytest.approx(float(np.mean(losses)), rel=1e-4)


# ── not finite ──


def undefined(y_true: Any, y_pred: Any) -> Any:
    """NaN in every batch."""
    return ops.mean(ops.log(-ops.abs(y_pred) - 1.0), axis=-1)


def infinite(y_true: Any, y_pred: Any) -> Any:
    return ops.mean(ops.abs(y_pred), axis=-1) / (0.0 * ops.mean(ops.abs(y_pred), axis=-1))


def test_metrics_that_are_not_finite_disturb_no_other(tmp_path: Path) -> None:
    proof = prove(tmp_path, functools.partial(network, metrics=["mae", undefined, infinite]), features(), quantities())
    assert_replayed(proof)
    assert math.isnan(proof.history["undefined"][-1]) and math.isinf(proof.history["infinite"][-1])
    for name in ("loss", "mae"):
        assert_explained(proof, name)
    for ledger in proof.diagnosis.ledgers:
        if ledger.metric in ("undefined", "infinite"):
            # Nothing is explained, and nothing looks as if it were.
            assert not any(math.isfinite(e.amount) and e.amount for e in ledger.entries), ledger


def test_a_loss_that_becomes_nan_is_reproduced(tmp_path: Path) -> None:
    """A rate so high that the weights overflow."""
    make = functools.partial(network, optimizer=keras.optimizers.SGD(1e30), metrics=["mae"])
    proof = prove(tmp_path, make, features(), quantities())
    assert not math.isfinite(proof.history["loss"][-1])
    assert_replayed(proof)


# ── metrics used before ──


def test_what_a_metric_counted_before_it_was_compiled_again_is_not_passed_off_as_explained(tmp_path: Path) -> None:
    """Keras on TensorFlow does not reset it before the first batch, so the first epoch counts twice (3.15.1)."""
    x, y = features(), 1 - binary()
    keras.utils.set_random_seed(5)
    model = network(1, "sigmoid")
    count = keras.metrics.TruePositives(name="hits")
    for number in (1, 2):
        model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy", metrics=[count])
        tracer = Tracer(tmp_path / f"{number}.diag")
        model.fit(x, y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0, callbacks=[tracer])
    diagnosis = tracer.diagnose()
    hits = int(np.sum((keras.ops.convert_to_numpy(model(x)) > 0.5) & (y == 1)))
    (ledger,) = [found for found in diagnosis.ledgers if found.metric == "hits"]
    assert hits and ledger.evaluated == hits and diagnosis.replay is not None
    left = ledger.logged - hits
    assert left == (hits if keras.config.backend() == "tensorflow" else 0)
    assert ledger.residual == -left
    assert (diagnosis.replay.reproduced == diagnosis.replay.steps) == (left == 0)


# ── without metrics ──


def test_a_model_without_metrics_has_a_ledger_of_its_loss(tmp_path: Path) -> None:
    proof = prove(tmp_path, network, features(), quantities())
    (ledger,) = assert_everything_explained(proof).values()
    p = predictions(proof, features())
    assert ledger.evaluated == pytest.approx(float(np.mean((p - quantities()) ** 2)), rel=1e-5)


def test_data_without_labels_is_replayed(tmp_path: Path) -> None:
    """The loss is what the model adds."""

    def make() -> Any:
        x = keras.Input((4,))
        model = keras.Model(x, Adds()(dense(3)(x)))
        model.compile(keras.optimizers.SGD(0.2))
        return model

    assert_everything_explained(prove(tmp_path, make, features(), None))

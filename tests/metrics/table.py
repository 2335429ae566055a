"""How each metric class that Keras exports is made, and the small fits they are watched in. One line each, and no
default: a class that is not here is not handled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np

ROWS = 11
"""In batches of 4: the last is short."""

M = keras.metrics
Kind = Literal["binary", "exact", "signs", "one-hot", "sparse", "quantities", "own"]
Result = Literal["count", "number", "vector"]
"""What `result` gives: a number that comes from whole counts alone, another number, or several numbers."""


@dataclass(frozen=True)
class Case:
    """A metric class, the fit it is watched in, and its arguments."""

    name: str
    kind: Kind
    result: Result
    arguments: dict[str, Any]
    part: str = ""
    """Tells apart several lines of one class."""

    @property
    def logged(self) -> str:
        """The name in the logs."""
        return f"{self.name}_{self.part}".lower().rstrip("_")

    def make(self) -> Any:
        return getattr(M, self.name)(**self.arguments, name=self.logged)


def squared_error(y_true: Any, y_pred: Any) -> Any:
    return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


TABLE = (
    Case("AUC", "binary", "number", {}),
    Case("AUC", "binary", "number", {"curve": "PR", "num_thresholds": 20}, "pr"),
    Case("BinaryAccuracy", "binary", "count", {}),
    Case("BinaryCrossentropy", "binary", "number", {}),
    Case("BinaryIoU", "binary", "count", {}),
    Case("FalseNegatives", "binary", "count", {}),
    Case("FalsePositives", "binary", "count", {}),
    Case("TrueNegatives", "binary", "count", {}),
    Case("TruePositives", "binary", "count", {}),
    Case("TruePositives", "binary", "vector", {"thresholds": [0.4, 0.6]}, "two"),
    Case("Precision", "binary", "count", {}),
    Case("Recall", "binary", "count", {}),
    Case("PrecisionAtRecall", "binary", "count", {"recall": 0.5}),
    Case("RecallAtPrecision", "binary", "count", {"precision": 0.5}),
    Case("SensitivityAtSpecificity", "binary", "count", {"specificity": 0.5}),
    Case("SpecificityAtSensitivity", "binary", "count", {"sensitivity": 0.5}),
    Case("MeanMetricWrapper", "binary", "number", {"fn": squared_error}),
    Case("Accuracy", "exact", "count", {}),
    Case("Hinge", "signs", "number", {}),
    Case("SquaredHinge", "signs", "number", {}),
    Case("CategoricalAccuracy", "one-hot", "count", {}),
    Case("CategoricalCrossentropy", "one-hot", "number", {}),
    Case("CategoricalHinge", "one-hot", "number", {}),
    Case("KLDivergence", "one-hot", "number", {}),
    Case("TopKCategoricalAccuracy", "one-hot", "count", {"k": 2}),
    Case("F1Score", "one-hot", "vector", {}),
    Case("F1Score", "one-hot", "count", {"average": "macro"}, "macro"),
    Case("FBetaScore", "one-hot", "vector", {"beta": 2.0}),
    Case("FBetaScore", "one-hot", "count", {"beta": 2.0, "average": "weighted"}, "weighted"),
    Case("OneHotIoU", "one-hot", "count", {"num_classes": 3, "target_class_ids": [0, 2]}),
    Case("OneHotMeanIoU", "one-hot", "count", {"num_classes": 3}),
    Case("SparseCategoricalAccuracy", "sparse", "count", {}),
    Case("SparseCategoricalCrossentropy", "sparse", "number", {}),
    Case("SparseTopKCategoricalAccuracy", "sparse", "count", {"k": 2}),
    Case("IoU", "sparse", "count", {"num_classes": 3, "target_class_ids": [1], "sparse_y_pred": False}),
    Case("MeanIoU", "sparse", "count", {"num_classes": 3, "sparse_y_pred": False}),
    Case("ConcordanceCorrelation", "quantities", "number", {}),
    Case("PearsonCorrelation", "quantities", "number", {}),
    Case("CosineSimilarity", "quantities", "number", {}),
    Case("LogCoshError", "quantities", "number", {}),
    Case("MeanAbsoluteError", "quantities", "number", {}),
    Case("MeanAbsolutePercentageError", "quantities", "number", {}),
    Case("MeanSquaredError", "quantities", "number", {}),
    Case("MeanSquaredLogarithmicError", "quantities", "number", {}),
    Case("Poisson", "quantities", "number", {}),
    Case("R2Score", "quantities", "number", {}),
    Case("R2Score", "quantities", "vector", {"class_aggregation": None}, "each"),
    Case("RootMeanSquaredError", "quantities", "number", {}),
    # `update_state` of these takes values, not labels and predictions: a model gives them values itself.
    Case("Mean", "own", "number", {}),
    Case("Sum", "own", "number", {}),
)

ABSTRACT = ("Metric",)
"""Has no `result`; what a user derives from it is in test_metric_forms.py."""


def features() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(ROWS, 4)).astype("float32")


def labels(kind: Kind) -> np.ndarray:
    rng = np.random.default_rng(4)
    score = features() @ rng.normal(size=(4, 3)) + rng.normal(size=(ROWS, 3))
    classes = score.argmax(axis=1)
    if kind in ("binary", "exact"):
        return (score[:, :1] > 0).astype("float32")
    if kind == "signs":
        return np.sign(score[:, :1]).astype("float32")
    if kind == "one-hot":
        return np.eye(3, dtype="float32")[classes]
    if kind == "sparse":
        return classes.astype("int32")
    return np.abs(score).astype("float32") + 0.1


OUTPUTS: dict[Kind, tuple[Callable[[], Any], str]] = {
    "binary": (lambda: keras.layers.Dense(1, activation="sigmoid"), "binary_crossentropy"),
    # Saturates: some predictions are exactly 0 or 1.
    "exact": (lambda: keras.layers.Dense(1, activation="hard_sigmoid", kernel_initializer=_large()), "mse"),
    "signs": (lambda: keras.layers.Dense(1, activation="tanh"), "hinge"),
    "one-hot": (lambda: keras.layers.Dense(3, activation="softmax"), "categorical_crossentropy"),
    "sparse": (lambda: keras.layers.Dense(3, activation="softmax"), "sparse_categorical_crossentropy"),
    "quantities": (lambda: keras.layers.Dense(3, activation="softplus"), "mse"),
    "own": (lambda: keras.layers.Dense(3, activation="softplus"), "mse"),
}


def _large() -> Any:
    return keras.initializers.RandomNormal(stddev=8.0, seed=1)


class Reports(keras.Model):
    """Gives metrics of its own the size of its predictions."""

    def __init__(self, *args: Any, own: list[Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.own = own

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        for metric in self.own:
            metric.update_state(keras.ops.abs(y_pred))
        return super().compute_metrics(x, y, y_pred, sample_weight)


def cases(kind: Kind) -> list[Case]:
    return [case for case in TABLE if case.kind == kind]


def make(kind: Kind) -> Any:
    """A small network with dropout, which watches every metric of its kind."""
    layer, loss = OUTPUTS[kind]
    x = keras.Input((4,))
    h = keras.layers.Dense(6, activation="tanh", kernel_initializer=keras.initializers.GlorotUniform(seed=2))(x)
    y = layer()(keras.layers.Dropout(0.3, seed=6)(h))
    metrics = [case.make() for case in cases(kind)]
    model = Reports(x, y, own=metrics) if kind == "own" else keras.Model(x, y)
    model.compile(keras.optimizers.SGD(0.3), loss, metrics=[] if kind == "own" else metrics)
    return model

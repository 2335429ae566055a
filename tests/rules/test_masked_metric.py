from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras.src import losses as keras_losses

from tests.rules.advice import blocks
from tests.rules.traced import Traced, numpy, traced

RULE = "masked-metric"
UNSEEN = keras.backend.backend() == "jax"
"""In `fit` on JAX predictions reach the metrics without their mask."""
seen_in_fit = pytest.mark.skipif(UNSEEN, reason="the metrics of fit do not see the mask on JAX")
STEPS = 6
rng = np.random.default_rng(3)


def rows(lengths: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Token sequences, labels that grow with a sequence's length, and which steps are real."""
    lengths = np.asarray(lengths)
    real = np.arange(STEPS) < lengths[:, None]
    x = (rng.integers(1, 9, size=real.shape) * real).astype("int32")
    y = (rng.normal(size=real.shape) * lengths[:, None] + 1).astype("float32")[..., None]
    return x, y, real


SORTED = rows(np.repeat([1, 2, 4, 6], 5))


def model(metrics: Any = ("mse",), masked: bool = True, **dense: Any) -> Any:
    keras.utils.set_random_seed(1)
    made = keras.Sequential(
        [
            keras.Input((STEPS,), dtype="int32"),
            keras.layers.Embedding(9, 3, mask_zero=masked),
            keras.layers.Dense(1, **dense),
        ]
    )
    made.compile(keras.optimizers.SGD(0.0), "mse", metrics=list(metrics))
    return made


def run(of: Any, data: Any = SORTED, batch_size: int = 8, **arguments: Any) -> Traced:
    return traced(of, data[0], data[1], batch_size=batch_size, **arguments)


def expected(of: Any, data: Any = SORTED, size: int = 8) -> tuple[float, float, float]:
    """Loss and metric by plain loops over real steps, and the metric with masked steps taken for real ones."""
    x, y, real = data
    error = (numpy(of(x)).astype(np.float64) - y)[..., 0] ** 2
    loss = sum(
        len(x[i : i + size]) * error[i : i + size][real[i : i + size]].mean() for i in range(0, len(x), size)
    ) / len(x)
    return float(loss), float(error[real].mean()), float(error.mean())


@seen_in_fit
def test_loss_averages_batches_and_the_metric_steps() -> None:
    made = model()
    loss, mse, _ = expected(made)
    assert abs(loss - mse) > 0.1 * mse
    seen = run(made)
    assert seen.history["loss"][0] == pytest.approx(loss, rel=1e-5)
    assert seen.history["mse"][0] == pytest.approx(mse, rel=1e-5)
    finding = seen.finding(RULE)
    assert finding.status == "failed"
    embedding = next(layer.name for layer in made.layers if isinstance(layer, keras.layers.Embedding))
    assert (finding.evidence["way"], finding.evidence["masking_layers"]) == ("pooled", [embedding])
    assert finding.effect == pytest.approx(mse - loss, rel=1e-3)
    fewest, most = finding.evidence["batches"]
    assert (fewest["rows"], fewest["counted_by_the_loss"]) == (8, 8.0)
    assert fewest["counted_by_the_metric"] == pytest.approx(SORTED[2][:8].sum() / STEPS, rel=1e-5)
    assert most["counted_by_the_metric"] / most["rows"] == pytest.approx(SORTED[2][16:].mean(), rel=1e-5)


@seen_in_fit
def test_advice_makes_the_two_agree() -> None:
    made = model()
    (code,) = blocks(run(made).finding(RULE).advice)
    values = eval(code, {"model": made, "x": SORTED[0], "y": SORTED[1]})
    assert values["loss"] == pytest.approx(values["mse"], rel=1e-5)
    assert values["mse"] == pytest.approx(expected(made)[1], rel=1e-5)


def test_masking_layer() -> None:
    keras.utils.set_random_seed(1)
    made = keras.Sequential([keras.Input((STEPS, 1)), keras.layers.Masking(), keras.layers.Dense(1)])
    made.compile(keras.optimizers.SGD(0.01), "mae", metrics=["mae"])
    x, y, _ = SORTED
    finding = traced(made, x[..., None].astype("float32"), y, batch_size=8, epochs=3).finding(RULE)
    assert finding.status == "failed"
    assert (finding.metric, finding.evidence["masking_layers"]) == ("mae", [made.layers[0].name])


def test_a_metric_that_takes_no_notice_of_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `MeanMetricWrapper.update_state` is in Keras 3.8, where the mask counts only along with sample weights, and
    as fit on JAX is in any case."""

    def update(self: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        mask = keras.src.backend.get_keras_mask(y_pred)
        values = self._fn(y_true, y_pred, **self._fn_kwargs)
        if sample_weight is not None and mask is not None:
            sample_weight = keras_losses.loss.apply_mask(sample_weight, mask, dtype=self.dtype, reduction="sum")
        keras.metrics.Mean.update_state(self, values, sample_weight=sample_weight)

    if not UNSEEN:
        monkeypatch.setattr(keras.metrics.MeanMetricWrapper, "update_state", update)
    made = model()
    loss, _, ignoring = expected(made)
    seen = run(made)
    assert seen.history["mse"][0] == pytest.approx(ignoring, rel=1e-5)
    finding = seen.finding(RULE)
    assert (finding.status, finding.evidence["way"]) == ("failed", "ignored")
    assert finding.effect == pytest.approx(abs(loss - ignoring), rel=1e-4)
    scope: dict[str, Any] = {"model": made, "x": SORTED[0], "y": SORTED[1]}
    (code,) = blocks(finding.advice)
    exec(code.replace("sample_weight=real", "sample_weight=real, verbose=0, batch_size=8, shuffle=False"), scope)
    values = made.get_metrics_result()
    assert float(values["loss"]) == pytest.approx(loss, rel=1e-5)
    assert float(values["mean_squared_error"]) == pytest.approx(expected(made)[1], rel=1e-5)
    # Where penalties may be the reason, it is not put down to the mask.
    assert run(model(kernel_regularizer=keras.regularizers.L2(0.3))).finding(RULE).status == "not-applicable"


@pytest.mark.recorded
@seen_in_fit
@pytest.mark.parametrize(
    ("made", "data", "size"),
    [(model, rows(np.full(20, 3)), 8), (model, SORTED, 20)],
    ids=["one length", "one batch"],
)
def test_control_nothing_to_count_differently(made: Any, data: Any, size: int) -> None:
    finding = run(made(), data, size).finding(RULE)
    assert finding.status == "passed"
    assert finding.evidence["way"] == "pooled"


@pytest.mark.recorded
@pytest.mark.parametrize(
    "made",
    [
        lambda: model(masked=False),
        lambda: model(metrics=["mae"]),
        lambda: model(metrics=[]),
        lambda: model(kernel_regularizer=keras.regularizers.L2(0.3)),
    ],
    ids=["no mask", "another function", "no metric", "penalties"],
)
def test_does_not_apply(made: Any) -> None:
    assert run(made()).finding(RULE).status == "not-applicable"


@pytest.mark.recorded
def test_sample_weights_are_not_put_down_to_the_mask() -> None:
    weights = np.linspace(0.1, 3, 20).astype("float32")[:, None] * np.ones((1, STEPS), "float32")
    assert run(model(), sample_weight=weights).finding(RULE).status == "not-applicable"

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from diagnose.rules import validation_changes
from tests.rules import test_reshuffled_split as split
from tests.rules.advice import cures, paste
from tests.rules.test_reshuffled_split import Passes, rows

RULE = validation_changes.NAME


def fit(monkeypatch: Any, validation: Any, epochs: int = 4, **arguments: Any) -> Any:
    x, y = rows()
    monkeypatch.setattr(split, "RULE", RULE)
    return split.fit(Passes([np.arange(20)] * epochs, x, y), validation, epochs, **arguments)


def test_fails_for_a_sample_drawn_in_each_epoch(monkeypatch: Any) -> None:
    x, y = rows()
    rng = np.random.default_rng(1)
    held = [20 + rng.permutation(40)[:10] for _ in range(4)]
    finding = fit(monkeypatch, Passes(held, x, y))
    assert finding.status == "failed"
    assert finding.evidence["different_rows"] == len(set(np.concatenate(held).tolist()))
    assert finding.evidence["rows_in_every_pass"] == len(set(held[0]).intersection(*held[1:]))


class Sampled(keras.utils.PyDataset):  # type: ignore[misc]
    """Two batches of other rows in each epoch; like all such, it has no end of its own when it is iterated over."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.y = rows()
        self.rng = np.random.default_rng(1)
        self.on_epoch_end()

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        part = self.rows[5 * (index % 2) :][:5]
        return self.x[part], self.y[part]

    def on_epoch_end(self) -> None:
        self.rows = 20 + self.rng.permutation(40)[:10]


@cures(RULE)
def test_advice_validates_over_the_same_rows(monkeypatch: Any) -> None:
    """With a rate of 0 nothing but the rows changes: the value does, and with the advice it does not."""
    x, y = rows()

    def still() -> Any:
        keras.utils.set_random_seed(2)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.0), "mse")
        return model

    model, tracer = still(), Tracer()
    arguments: dict[str, Any] = {"epochs": 3, "verbose": 0}
    history = model.fit(x[:20], y[:20], validation_data=Sampled(), callbacks=[tracer], **arguments).history
    finding = next(f for f in tracer.diagnose().findings if f.rule == RULE)
    assert finding.status == "failed" and len(set(history["val_loss"])) == 3
    fill = {"epochs=...": "epochs=3, verbose=0"}
    scope = paste(finding.advice, fill=fill, validation=Sampled(), model=still(), x=x[:20], y=y[:20])
    assert len(set(scope["model"].history.history["val_loss"])) == 1
    taken = Sampled().rows
    assert np.array_equal(scope["x_val"], x[taken]) and np.array_equal(scope["y_val"], y[taken])


def test_fails_where_validation_steps_draw_from_data_without_an_end(monkeypatch: Any) -> None:
    """`validation_steps` alone proves no part of the data, so this is not left to `partial-epoch`, which passes."""
    x, y = rows()
    rng = np.random.default_rng(1)
    held = [20 + rng.permutation(40)[:10] for _ in range(4)]
    finding = fit(monkeypatch, Passes(held, x, y), validation_steps=1)
    assert finding.status == "failed"
    assert finding.evidence["different_rows"] == len(set(np.concatenate(held).tolist()))


@pytest.mark.recorded
def test_fails_for_noise_in_the_validation_rows(monkeypatch: Any) -> None:
    """Every row is another in each pass, as augmentation makes it."""
    x, y = rows()
    finding = fit(monkeypatch, Passes([np.arange(20 + 10 * i, 30 + 10 * i) for i in range(4)], x, y))
    assert finding.status == "failed" and finding.evidence["rows_in_every_pass"] == 0
    assert "none of them in every pass" in finding.title


@pytest.mark.recorded
def test_passes_for_the_same_rows_in_another_order(monkeypatch: Any) -> None:
    x, y = rows()
    rng = np.random.default_rng(1)
    assert fit(monkeypatch, Passes([20 + rng.permutation(30) for _ in range(4)], x, y)).status == "passed"
    assert fit(monkeypatch, (x[30:], y[30:])).status == "passed"


@pytest.mark.recorded
def test_does_not_apply_without_two_passes(monkeypatch: Any) -> None:
    x, y = rows()
    assert fit(monkeypatch, None).status == "not-applicable"
    assert fit(monkeypatch, (x[30:], y[30:]), 1).status == "not-applicable"


@pytest.mark.recorded
def test_does_not_apply_where_the_split_is_drawn_anew(monkeypatch: Any) -> None:
    x, y = rows()
    training, validation = split.drawn(8, 60, 15)
    monkeypatch.setattr(split, "RULE", RULE)
    finding = split.fit(Passes(training, x, y), Passes(validation, x, y))
    assert finding.status == "not-applicable" and "reshuffled-split" in finding.title


def test_fails_where_validation_steps_cut_nothing_off() -> None:
    """As many steps as there are batches: each pass is a sample, and whole."""
    x, y = rows()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    tracer = Tracer()
    model.fit(x[:20], y[:20], validation_data=Sampled(), validation_steps=2, epochs=3, verbose=0, callbacks=[tracer])
    findings = {f.rule: f for f in tracer.diagnose().findings}
    assert findings[RULE].status == "failed" and findings[RULE].evidence["passes"] == 3
    assert findings["partial-epoch"].status != "failed"

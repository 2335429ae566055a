"""What was computed for the rules, as a part of the diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from diagnose.result.kinds import Count, Real


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many steps of an epoch were computed again, and how many came out as recorded."""

    steps: Count
    reproduced: Count


@dataclass(frozen=True, slots=True)
class Scored:
    """An epoch's metrics in inference mode over fit's batches, each batch with the weights before and after its
    update."""

    before: Mapping[str, Real]
    after: Mapping[str, Real]


@dataclass(frozen=True, slots=True)
class Tested:
    """What a test step of the model's own did, computed again, with one batch and metrics that were just reset.
    `unmoved`: the metrics it left so, with what they report then; `returned`: what it returned."""

    unmoved: Mapping[str, Real]
    returned: Mapping[str, Real]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a number first was not finite: in step `step` (from 0), batch `batch` (1-based) of its epoch; of a
    validation pass, None. `cause`: the "weights" the step began with (`name`: who wrote them), "rows", "labels" or
    "sample-weights" that were given to fit, a "layer" (`name`, `kind`), the "loss" (`zeros`: of outputs that hold exact
    zeros), a "metric" (`name`), or the "update". `rows`: from 0, in the arrays given to fit if `given`, else in the
    batch; the first few of `count`. `largest`, `initially`: of the weights' magnitudes then, and at the beginning."""

    cause: Literal["weights", "rows", "labels", "sample-weights", "layer", "loss", "metric", "update"]
    epoch: Count
    step: Count | None = None
    batch: Count | None = None
    rows: tuple[Count, ...] = ()
    count: Count = 0
    given: bool = False
    name: str | None = None
    kind: str | None = None
    zeros: bool = False
    largest: Real | None = None
    initially: Real | None = None


@dataclass(frozen=True, slots=True)
class Measurements:
    """What was computed for the rules, by (1-based) epoch and metric. What could not be computed, or does not exist in
    this fit, is empty.

    `reevaluated`: of the epoch's last version over the evaluation data; of a long fit, only of chosen epochs.
    `evaluated`: what the framework's own `evaluate` returns with the weights after fit.
    `held_validation`: the same over the validation data (names with `val_`).
    `replayed`: the epochs whose steps were computed again.
    `from_zero_state`: `evaluated` again with the states of stateful layers set to zero first.
    `in_default_batches`: `evaluated` again in batches of the size that `evaluate` takes by itself, where that gives
    another value.
    `in_one_batch`: `evaluated` again with all rows in one batch, for metrics that may average over batches.
    `scored`: for models with a train step of their own.
    `started`: the metrics of the weights this fit started from, where it continues an earlier one.
    `ema_values`: metrics of the moving average that Keras put into the model at the end ("average") and of what a
    ModelCheckpoint saved ("saved"), where the optimizer keeps one.
    `end_of_epoch`: over the epoch's own batches, in training mode, all with its last weights.
    `other_loss`: how many steps of an epoch gave all metrics as recorded, computed again, but not the loss.
    `evaluated_twice`: a batch evaluated two times with the weights after fit, for each metric its values ("first",
    "second"): they differ where evaluate draws random numbers.
    `rows_right`: of metrics that count the cells of one-hot labels, the share of "cells" that they count with the
    weights after fit, and of "rows" whose largest output is at their label.
    `as_logits`: of outputs without an activation that a crossentropy is computed of, the lowest and highest ("low",
    "high"), and for two classes the share of rows right by the metric's threshold ("half") and by the sign ("zero").
    `step_returned`: what the last step of a model with a train step of its own returns, computed again.
    `tested`: of a model with a test step of its own.
    `origin`: where a number first was not finite.
    `since_fit`: the version that the script put into the model after the fit.
    `no_replay`: why values that need replay are missing, or None.
    """

    reevaluated: Mapping[int, Mapping[str, Real]] = field(default_factory=dict)
    evaluated: Mapping[str, Real] = field(default_factory=dict)
    held_validation: Mapping[str, Real] = field(default_factory=dict)
    replayed: Mapping[int, Replayed] = field(default_factory=dict)
    from_zero_state: Mapping[str, Real] = field(default_factory=dict)
    in_default_batches: Mapping[str, Real] = field(default_factory=dict)
    in_one_batch: Mapping[str, Real] = field(default_factory=dict)
    scored: Mapping[int, Scored] = field(default_factory=dict)
    started: Mapping[str, Real] = field(default_factory=dict)
    ema_values: Mapping[str, Mapping[str, Real]] = field(default_factory=dict)
    end_of_epoch: Mapping[int, Mapping[str, Real]] = field(default_factory=dict)
    other_loss: Mapping[int, Count] = field(default_factory=dict)
    evaluated_twice: Mapping[str, Mapping[str, Real]] = field(default_factory=dict)
    rows_right: Mapping[str, Mapping[str, Real]] = field(default_factory=dict)
    as_logits: Mapping[str, Real] = field(default_factory=dict)
    step_returned: Mapping[str, Real] = field(default_factory=dict)
    tested: Tested | None = None
    origin: Origin | None = None
    since_fit: Count | None = None
    no_replay: str | None = None

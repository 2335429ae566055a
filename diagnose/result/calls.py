"""The script's own calls of `evaluate`, `predict` and their kin, as a part of the diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from diagnose.result.kinds import Count, Real
from diagnose.result.texts import Said, Text

MAPPED = Text(
    "call.map",
    "{map:select(scaled=scaled otherwise than fit had them (fit's are {scale:.6g} times these{moved:given(, plus "
    "{shift:.6g})})|"
    "scaled-by-column=scaled otherwise than fit had them, column by column|cast=cast to whole numbers|"
    "channels-reversed=with the channels in reverse order|columns-reversed=with the columns in reverse order|"
    "transposed=transposed|channels-moved=with the channels in another place|reshaped=in another shape|"
    "rounded=with numbers that differ by rounding only|"
    "labels-one-hot=with one-hot labels, where fit had class numbers|labels-sparse=with class numbers as labels, where "
    "fit had one-hot ones|labels-shifted=with class numbers that are {shift:+g} off from fit's|labels-permuted=with "
    "their classes numbered otherwise than for fit|labels-moved=with their labels in another order|"
    "labels-in-order=with the inputs in another order, but the labels in "
    "fit's|{map})}",
)

CallKind = Literal["evaluate", "predict", "test_on_batch", "predict_on_batch"]


@dataclass(frozen=True, slots=True)
class CallRows:
    """Which rows a call went over. `kind`: all of them are such as fit trained on, or validated on; "changed": other
    inputs for the labels of these, in their order; else "other". `count`: how many; `same`: of these, those that fit
    trained or validated on; `known`: how many fit trained (or validated) on. `map`: what was done to the inputs, `of`
    which rows these were; fit's inputs are `scale` times these, plus `shift`, where that is one number for all.
    `ordered`: whether they are in the order of the arrays given to fit (None: not known). `before`: how many of them
    earlier fits had trained the weights on that this one began with; `validated`: how many of other rows fit validated
    on and did not train on; `redrawn`: how many fit trained on in some of its
    epochs, but not in all, though they are not from what fit was given."""

    kind: Literal["training", "validation", "other", "changed"]
    count: Count
    same: Count
    known: Count | None = None
    map: str | None = None
    of: Literal["training", "validation"] | None = None
    scale: Real | None = None
    shift: Real | None = None
    ordered: bool | None = None
    before: Count = 0
    validated: Count = 0
    redrawn: Count = 0

    @property
    def mapped(self) -> Said | None:
        """What was done to the inputs, as a clause."""
        return (
            None
            if self.map is None
            else MAPPED(map=self.map, scale=self.scale, shift=self.shift, moved=bool(self.shift))
        )


@dataclass(frozen=True, slots=True)
class ComparedWith:
    """The logged value that a call is compared with."""

    epoch: Count
    metric: str
    logged: Real


@dataclass(frozen=True, slots=True)
class CallEntry:
    """One factor's amount on the way from the logged value to the returned one."""

    factor: str
    amount: Real


@dataclass(frozen=True, slots=True)
class CallLedger:
    """The way to another `value` of the same call."""

    compared_with: ComparedWith
    value: Real
    entries: tuple[CallEntry, ...] = ()
    residual: Real | None = None


@dataclass(frozen=True, slots=True)
class Otherwise:
    """What computes a value in a call, and what computed it in the fit; None: nothing does."""

    here: str | None
    fit: str | None


Does = Literal["pairs", "first", "in-order", "every-step", "some-steps", "log-loss"]


@dataclass(frozen=True, slots=True)
class OwnLine:
    """A line of the script that scores predictions: it compares them as they are with labels ("pairs"), takes the place
    of the largest of a row ("first"), compares every step or row or some of them ("every-step", "some-steps"), with
    labels just as fit or a data set was given them ("in-order"), or takes their logarithm ("log-loss")."""

    line: Count
    does: Does


@dataclass(frozen=True, slots=True)
class Steps:
    """Predictions for sequences. `count`: steps of all rows; `left_out`: those of them that `by` tells: the model's
    "mask", or, where it makes none, "padding", zeros at one end of a row's inputs. The first value over `every` step
    and over the `real` ones, those not left out; `counted`: whether evaluate's own value is the former (None: it is
    neither, or not known)."""

    count: Count
    left_out: Count
    by: Literal["mask", "padding"]
    every: Real
    real: Real
    counted: bool | None


@dataclass(frozen=True, slots=True)
class LogLoss:
    """The `plain` log loss of predictions, and what the compiled loss gives, where that is the same of labels smoothed
    by `smoothing` (0: as they are), with `penalties`, which are no matter of predictions."""

    plain: Real
    compiled: Real
    smoothing: Real
    penalties: Real = 0.0


@dataclass(frozen=True, slots=True)
class Scored:
    """Predictions held against the labels that fit had for these rows. `predictions`, `labels`: their shapes. `values`:
    row by row ("accuracy", or "mse" and "mae"). What slips of NumPy would give in the place of its first: `pairs`, each
    prediction against each label, where shapes (n, 1) and (n,) are compared as they are; `first`, class 0 for all,
    where `argmax` is taken of a single column; `in_order`, with the labels in the order of fit's arrays, where the rows
    are in another. None: that cannot happen here. `steps`: of sequences of which not all steps are real; `log_loss`:
    where the compiled loss smooths labels. `lines`: where the script scores them, as far as its source shows it (None:
    it does not)."""

    predictions: tuple[Count, ...]
    labels: tuple[Count, ...]
    values: Mapping[str, Real]
    pairs: Real | None = None
    first: Real | None = None
    in_order: Real | None = None
    steps: Steps | None = None
    log_loss: LogLoss | None = None
    lines: tuple[OwnLine, ...] | None = None


@dataclass(frozen=True, slots=True)
class OtherScale:
    """The range of a call's inputs and that of fit's. `scale`, `shift`: what takes the first to the second, None: each
    column was brought to the mean and spread of fit's. `values`: what the call would give with such inputs."""

    low: Real
    high: Real
    fit_low: Real
    fit_high: Real
    scale: Real | None = None
    shift: Real | None = None
    values: Mapping[str, Real] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the script's. `file`, `line`: where the script makes it. `epoch`: that it was made in (None: after
    the fit, or before its first epoch). `returned`: by name, for predictions empty. `version`: of training that the
    model held (None: weights that no update made); `ends_epoch`: the epoch which that one ends; `after_fit`: whether
    these are the weights that fit left; `changed`: how many variables are not as after fit; `strange`: of weights that
    no update made, the variables that no version had so, by their paths. Of another model object that no version is,
    the fit's variables that are there as training made them (`loaded`), with other contents (`differing`), or not in
    their place and shape (`absent`). `same_model`: whether it is the model object that was fit; `same_compile`: whether
    its loss and metrics are those of the fit (None: not known), `otherwise`: those that are not, by their names.

    `batch_size`: None where Keras had no say in it. `replayed`: what replay gives for these weights and rows, also for
    predictions; `recompiled`: by what the model was compiled with for the call, where that is something else;
    `reproduced`: whether that is what was returned (None: it could not be replayed). `compared_with`: None where
    nothing was logged over such rows; `entries` and `residual` add up to the difference (residual None: no ledger was
    made); `others`: the same of its other values. `scored`: of predictions, what the recorded labels give for them.
    `scale`: of rows that fit did not have, where their inputs are on another than fit's. `why`: what is not known of
    the call, and why."""

    call: CallKind
    file: str
    line: Count
    epoch: Count | None
    returned: Mapping[str, Real]
    version: Count | None
    ends_epoch: Count | None
    after_fit: bool
    changed: Count
    same_model: bool
    same_compile: bool | None
    rows: CallRows | None
    batch_size: Count | None
    steps: Count | None = None
    weighted: bool = False
    compared_with: ComparedWith | None = None
    entries: tuple[CallEntry, ...] = ()
    residual: Real | None = None
    reproduced: bool | None = None
    replayed: Mapping[str, Real] = field(default_factory=dict)
    recompiled: Mapping[str, Real] = field(default_factory=dict)
    others: tuple[CallLedger, ...] = ()
    why: str | None = None
    strange: tuple[str, ...] = ()
    loaded: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    otherwise: Mapping[str, Otherwise] = field(default_factory=dict)
    scored: Scored | None = None
    scale: OtherScale | None = None

    @property
    def metric(self) -> str:
        """The one that a line is about: that of the comparison, else one like an accuracy, else the first."""
        names = list(self.returned or self.replayed)
        if self.compared_with is not None:
            name = self.compared_with.metric
            return name if name in names else name.removeprefix("val_")
        return next((name for name in names if "acc" in name), names[0] if names else "")

    @property
    def value(self) -> float | None:
        """Its value: as returned, of predictions as replayed."""
        return (self.returned or self.replayed).get(self.metric)

    def __str__(self) -> str:
        from diagnose.report.calls_view import call_line

        return call_line(self).text

"""What analysis returns and reports draw: finished numbers and sentences. Computes nothing that a test would want to
check.

Epochs are 1-based; versions count updates; values are float64 as Keras logged them or as replay computed them. A
value that does not exist is None; a value that is not finite stays so (JSON spells it "NaN", "Infinity",
"-Infinity").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from diagnose.result.calls import Call
from diagnose.result.clocks import Clock as Clock
from diagnose.result.clocks import Source as Source
from diagnose.result.clocks import Span as Span
from diagnose.result.kinds import Count, How, Real, Signed
from diagnose.result.measurements import Measurements
from diagnose.result.spoken import Spoken
from diagnose.result.texts import Texts

if TYPE_CHECKING:
    import os

    import pandas as pd

Status = Literal["failed", "passed", "not-applicable"]
Severity = Literal["wrong", "notable"]
"""Of a failed finding. "wrong": the model, a file or a decision is not what the script takes it for. "notable": it
explains a gap between two numbers, and nothing has to be repaired."""
Verdict = Literal["aligned", "shifted", "no-owner", "not-restored", "replaced", "put-back"]
Role = Literal["explains-gap", "explains-restoration", "explains-stop", "spoils-values"]
"""What a finding explains: the gap between logged and evaluated, which the ledger shows with more of its numbers; why a
restore went as it did, without which the verdict's "best" misleads; why the fit stopped when it did; or why no value of
validation or evaluation, and so no choice by one, says what it is taken for."""


@dataclass(frozen=True, slots=True)
class EpochRow:
    """`logged` as Keras passed it to the callbacks; `reevaluated`: the training metrics of the epoch's last version
    over the evaluation data, inference mode (empty where it could not be computed). `validation_version`: the version
    the last validation pass was computed at. `clocks`: of each logged value, when it was computed. `how`: see `How`."""

    epoch: Count
    first_version: Count
    last_version: Count
    logged: Mapping[str, Real]
    reevaluated: Mapping[str, Real]
    learning_rate: Real | None = None
    validation_version: Count | None = None
    analysed: bool = False
    clocks: Mapping[str, Clock] = field(default_factory=dict)
    how: How | None = None
    why: str | None = None

    @property
    def trained(self) -> Clock | None:
        """The clock of the train steps that the epoch's log covers; of several, the one that covers most."""
        found = [c for c in self.clocks.values() if c.source == "train-steps" and c.span is not None]
        return max(found, key=lambda c: c.batches or 0, default=None)

    @property
    def trained_at(self) -> Span | None:
        """The versions at which these steps computed."""
        return None if self.trained is None else self.trained.span


@dataclass(frozen=True, slots=True)
class StepRow:
    """`values`: the batch's own value of each metric, from metric-state differences; `replayed`: the same computed
    again from recorded weights and rows (None: this step was not replayed); `reproduced`: whether the metric state
    came out the same within tolerance."""

    step: Count
    epoch: Count
    batch_index: Count
    computed_at: Count
    produced: Count
    values: Mapping[str, Real]
    replayed: Mapping[str, Real] | None = None
    reproduced: bool | None = None


@dataclass(frozen=True, slots=True)
class ReplayCheck:
    """How many train steps were computed again, and how many came out as recorded. `max_abs_error` is per metric, on
    the epoch's logged value. `tolerance` is per metric, in the metric's own units. `reason`: why steps are missing
    from the check, or None. `how`: where the weights of these steps come from, see `EpochRow`; "partly" made again."""

    steps: Count
    reproduced: Count
    max_abs_error: Mapping[str, Real]
    tolerance: Mapping[str, Real] = field(default_factory=dict)
    epochs: tuple[Count, ...] = ()
    reason: str | None = None
    how: Literal["recorded", "made-again", "partly"] | None = None


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One factor's share of the gap: the Shapley `amount`, and its `low` and `high` over the orders of the walk."""

    factor: str
    amount: Real
    low: Real
    high: Real


@dataclass(frozen=True, slots=True)
class LossPart:
    """One of the two parts `loss` is the sum of, as replayed at both ends of the walk; amounts by factor add up to
    `evaluated - logged`."""

    logged: Real
    evaluated: Real
    entries: tuple[LedgerEntry, ...]


@dataclass(frozen=True, slots=True)
class LossSplit:
    """`loss` as data loss and penalties (`model.losses`: regularizers, `add_loss`)."""

    data: LossPart
    penalties: LossPart


@dataclass(frozen=True, slots=True)
class Ledger:
    """Carries `logged` to `evaluated`: gap = evaluated - logged = sum of amounts + residual, to float64 rounding.

    `split`: for `loss` of a model with penalties; None otherwise."""

    epoch: Count
    metric: str
    logged: Real
    evaluated: Real
    gap: Real
    entries: tuple[LedgerEntry, ...]
    residual: Real
    split: LossSplit | None = None


@dataclass(frozen=True, slots=True)
class Best:
    epoch: Count
    version: Count
    value: Real


@dataclass(frozen=True, slots=True)
class HeldAverage:
    """A mean or moving average (`momentum`; `ramp`: how it grows to that, by update n) of `members`: ends of epochs (0:
    the start) or versions. `trainable`: only these weights are it."""

    kind: Literal["mean", "moving"]
    of: Literal["epochs", "updates"]
    members: tuple[Count, ...]
    momentum: Real | None = None
    trainable: bool = False
    ramp: str | None = None


@dataclass(frozen=True, slots=True)
class Restoration(Spoken):
    """Which weights the model holds after fit, beside those the logged best was computed at (see `verdict`)."""

    callback: str
    monitor: str
    best_epoch: Count | None
    best_logged: Real | None
    restored_epoch: Count | None
    restored_version: Count | None
    restored_value: Real | None
    computed_at: Span | None
    owner_versions: tuple[Count, ...]
    shift_updates: Signed | None
    verdict: Verdict
    best_by_reevaluation: Best | None
    mode: Literal["min", "max"] | None = None
    confirmed: bool | None = None
    """True: replay at the owner gave the logged best. False: it did not. None: replay was not possible, or there is
    no owner."""
    sentence: str = ""
    written_by: str | None = None
    notes: tuple[str, ...] = ()
    chosen_epoch: Count | None = None
    """The epoch that the callback itself took for its best: with `min_delta` or `start_from_epoch`, it need not be the
    one with the best logged value. None where that is not known."""
    average: HeldAverage | None = None
    """What the weights held are, where no version has them and an average is proven."""
    texts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def put_back(self) -> bool:
        """Whether the weights the model holds are such as were put back."""
        return self.verdict in ("aligned", "shifted", "no-owner", "put-back")


@dataclass(frozen=True, slots=True)
class PolicyRow(Spoken):
    """What one stopping policy would have done in this fit.

    `policy`: as an expression; `own`: whether the run itself went by it. `reason`: why the trace cannot say, and then
    all that follows is None. `stopped_epoch`: None: it trains to the end. `best_epoch`, `best_number`: its own choice
    and its own number for it. `held_epoch`: the epoch whose last weights the model would hold; `held_value`: the
    objective metric of these (None: not known); `optimism`: `best_number - held_value` where both are the same metric.
    `epochs`: how many it trains; `time_saved`: share of the recorded training time."""

    policy: str
    label: str
    monitor: str
    own: bool = False
    reason: str | None = None
    stopped_epoch: Count | None = None
    best_epoch: Count | None = None
    best_number: Real | None = None
    held_epoch: Count | None = None
    held_value: Real | None = None
    optimism: Real | None = None
    epochs: Count | None = None
    time_saved: Real | None = None
    texts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policies(Spoken):
    """Stopping policies by one objective metric (`mode`: which way it is better, None: not known). `best_epoch` and
    `best_value`: the best by it of all epochs whose value is known, which no policy could know beforehand."""

    metric: str
    mode: Literal["min", "max"] | None
    rows: tuple[PolicyRow, ...]
    best_epoch: Count | None = None
    best_value: Real | None = None
    notes: tuple[str, ...] = ()
    texts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A file that a ModelCheckpoint wrote in this fit, and one logged `metric` that it was chosen for or is named by
    (None: neither). `epoch`: the epoch it was written in; `version`: the version of training in it (None: weights that
    no update made) and the epoch that one ends or stands in; `value`: the metric of the weights in it, evaluated again;
    `event`: the number of the recorded event. `verdict` as for a restoration, of the weights in the file."""

    callback: str
    file: str
    epoch: Count | None
    version: Count | None
    version_epoch: Count | None
    event: Count
    metric: str | None = None
    logged: Real | None = None
    value: Real | None = None
    computed_at: Span | None = None
    owner_versions: tuple[Count, ...] = ()
    shift_updates: Signed | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Finding(Spoken):
    """One rule's result. `effect` is the size of what it found in units of `metric`; None where it moves no number.
    `severity`: what a failed one asks of its reader (None: it did not fail). `role`: what a failed finding does for the
    other parts of a report (None: it stands for itself)."""

    rule: str
    status: Status
    title: str
    evidence: Mapping[str, Any]
    advice: str
    metric: str | None = None
    effect: Real | None = None
    role: Role | None = None
    severity: Severity | None = None
    texts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Diagnosis(Spoken):
    """The analysis of one fit.

    `headline`: the verdict in one sentence with its numbers. `notice`: None, or what the reader must know first (an
    interrupted recording and how far it goes, a replay that was not possible and why). `versions`: {"total", "kept",
    "policy"}. `evaluation_data`: {"source", "rows", "batch_size"}, and "by_default"
    where some metrics differ in batches of the size that `evaluate` takes by itself: {"batch_size", metric: value}.
    `environment`: library versions. `model`: {"name", "parameters", "layers": [{"name", "class", "kind"}]}, kind None
    unless the layer behaves differently in training.
    `trace`: {"path", "bytes", "format", "status"}, status "complete" | "failed" | "interrupted". `problems`: one line
    for each thing that could not be computed, with the reason; the first of them are in the `notice`. `texts`, here and
    in findings, restoration and policies: {field: {"id", "params"}} of the sentences, for other languages (`Spoken`).
    `measurements`: what the findings rest on, beside the ledgers. `calls`: the script's own, in their order.
    """

    fit: Count
    keras: str
    backend: str
    steps_total: Count
    headline: str
    epoch_rows: tuple[EpochRow, ...]
    step_rows: tuple[StepRow, ...]
    replay: ReplayCheck | None
    ledgers: tuple[Ledger, ...]
    restoration: Restoration | None
    findings: tuple[Finding, ...]
    name: str = "fit"
    notice: str | None = None
    versions: Mapping[str, Any] = field(default_factory=dict)
    evaluation_data: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    trace: Mapping[str, Any] = field(default_factory=dict)
    policies: Policies | None = None
    saved: tuple[SavedModel, ...] = ()
    problems: tuple[str, ...] = ()
    texts: Mapping[str, Any] = field(default_factory=dict)
    framework: str = "keras"
    measurements: Measurements = field(default_factory=Measurements)
    calls: tuple[Call, ...] = ()

    @property
    def key_metric(self) -> str | None:
        """The logged value this fit was steered by: what a restore monitors, else what a stop at a threshold watches,
        else `loss`, else the first; None where it logged nothing."""
        logged = dict.fromkeys(name for row in self.epoch_rows for name in row.logged if name != "learning_rate")
        stops = (f.metric for f in self.findings if f.role == "explains-stop" and f.status != "not-applicable")
        wanted = (None if self.restoration is None else self.restoration.monitor, *stops, "loss", *logged)
        return next((name for name in wanted if name is not None and name in logged), None)

    @property
    def mismatch(self) -> bool:
        """Whether the model, a file or a decision is not what the script takes it for: what the exit code 3 says. Where
        nothing was replayed for the rules, the verdict on the weights decides."""
        r = self.restoration
        other = r is not None and r.verdict in ("shifted", "no-owner", "replaced")
        return any(f.severity == "wrong" for f in self.findings) or (other and not self.ledgers)

    def to_html(self, path: str | os.PathLike[str], texts: Texts | None = None) -> None:
        """Writes the report of this fit as one self-contained page, in the place of a file of this name; `texts` is
        its language (None: English). Raises DiagnoseError where it cannot be written."""
        from diagnose.report import html
        from diagnose.report.write import write_file

        write_file(path, html.render([self], texts))

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Writes `diagnosis.json` (schema 1) with this one fit, in the place of a file of this name. Raises
        DiagnoseError where it cannot be written."""
        from diagnose.report import json
        from diagnose.report.write import write_file

        write_file(path, json.dumps([self]))

    def ledger(self, metric: str, epoch: int | None = None) -> pd.DataFrame:
        """The ledger of `metric` for `epoch` (1-based; None: the last that has one).

        Returns:
            One row per factor and a last one, `residual`, with columns `factor`, `amount`, `low`, `high` (float64, in
            the metric's units). `attrs` hold `metric`, `epoch`, `logged`, `evaluated` and `gap`; the amounts add up
            to the gap.

        Raises:
            MissingLedgerError: there is no such ledger; a DiagnoseError and a KeyError that names those there are.
        """
        from diagnose.report.frames import ledger_frame

        return ledger_frame(self, metric, epoch)

    @property
    def epochs(self) -> pd.DataFrame:
        """One row per finished epoch: `epoch` (1-based), `first_version`, `last_version`, `logged_<metric>`,
        `reevaluated_<metric>`, `learning_rate`, `validation_version`, `analysed`. NaN or NA where there is no
        value."""
        from diagnose.report.frames import epochs_frame

        return epochs_frame(self)

    @property
    def steps(self) -> pd.DataFrame:
        """One row per train step: `step` (0-based), `epoch`, `batch_index`, `computed_at`, `produced`,
        `value_<metric>` (the batch's own value), `replayed_<metric>`, `reproduced`. Empty for a diagnosis read back
        from a file, which keeps only their number."""
        from diagnose.report.frames import steps_frame

        return steps_frame(self)

    def _repr_html_(self) -> str:
        from diagnose.report import html

        return html.notebook(self)

    def __str__(self) -> str:
        from diagnose.report.terminal import summary

        return summary(self)

    def __repr__(self) -> str:
        return f"<Diagnosis of fit {self.fit}: {self.headline}>"

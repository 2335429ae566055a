"""The header of a trace, typed: one class with one field per row of `info`, made by one codec. A default is what a
trace of format 1 lacks, and what stands for it. Judges nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from diagnose.errors import placed
from diagnose.tracefile.model import DTYPES, Json

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
Number = int | float
_LARGEST = sys.float_info.max
Finite = int | Annotated[float, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]
Dtype = Annotated[str, msgspec.Meta(max_length=max(map(len, DTYPES)) + 8)]
"""Not only those a trace may hold: a model may have variables that cannot be recorded."""
Direction = Literal["min", "max"]
Source = Literal["train-steps", "validation", "end-of-epoch", "own", "learning-rate"]
"""By what a value of the logs was computed; "end-of-epoch": evaluated then by a callback of `diagnose.callbacks`."""
Settings = dict[str, Json]
"""Attributes of an object of the user's, of any type."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the header, or the detail of an event. Keys that it does not know are passed over."""


class Recording(Part, frozen=True, kw_only=True):
    """`id`: 32 hexadecimal digits, drawn for each recording: its process knows the trace again by them."""

    id: str | None = None


class Policy(Part, frozen=True, kw_only=True):
    """What was to be recorded. `every_update`: the weights of each, of models of up to `parameters`; `nbytes`: most
    that the trace may take; `level`: what was looked at while the fit ran (null: of a release without levels)."""

    every_update: bool | None = None
    parameters: Number | None = None
    nbytes: Number | None = None
    rows: str = "keep"
    level: Number | None = None


class Arguments(Part, frozen=True, kw_only=True):
    """The scalar arguments of `fit`, and what is known of its data. `steps` of an epoch; `batches` of the data, which
    `steps_per_epoch` may cut short; `validation_is_training`: one object was given for both."""

    batch_size: Finite | None = None
    epochs: Finite | None = None
    verbose: Json = None
    validation_split: Finite | None = None
    shuffle: Json = None
    initial_epoch: Finite | None = None
    steps_per_epoch: Finite | None = None
    validation_steps: Finite | None = None
    validation_batch_size: Finite | None = None
    validation_freq: Json = None
    class_weight: bool = False
    sample_weight: bool = False
    validation_data: bool = False
    data: str | None = None
    steps: Finite | None = None
    batches: Finite | None = None
    validation_rows: Finite | None = None
    validation_batches: Finite | None = None
    validation_is_training: bool = False


class Fit(Part, frozen=True, kw_only=True):
    """`number` in its process, from 1; `found`: whether the arguments could be read; `loop`: "train_on_batch" where no
    `fit` ran."""

    number: Count = 1
    arguments: Arguments = Arguments()
    found: bool = True
    loop: str | None = None


class Optimizer(Part, frozen=True, kw_only=True):
    class_name: str | None = msgspec.field(name="class", default=None)
    config: Settings | None = None


class Compile(Part, frozen=True, kw_only=True):
    """`custom_train_step`, `custom_test_step`: the model's class has its own."""

    loss: Json = None
    optimizer: Optimizer | None = None
    run_eagerly: bool = False
    jit_compile: bool = False
    steps_per_execution: Count | None = None
    custom_train_step: bool = False
    custom_test_step: bool = False

    @property
    def optimizer_config(self) -> Settings:
        """The optimizer's settings; empty where they are not known."""
        return (None if self.optimizer is None else self.optimizer.config) or {}


class Threshold(Part, frozen=True, kw_only=True):
    """A comparison of `logs[key]` with a number, in the code of a callback; `value` None: not shown there."""

    key: str
    op: str
    value: Number | None
    hook: str | None
    code: str | None


class Callback(Part, frozen=True, kw_only=True):
    """`hooks`: those it defines; `reads`: {hook: keys of the logs that its own code reads}, "*" for all
    of them; None where that is not known."""

    class_name: str = msgspec.field(name="class")
    module: str | None = None
    bases: tuple[str, ...]
    builtin: bool
    settings: Settings
    hooks: tuple[str, ...]
    thresholds: tuple[Threshold, ...]
    reads: dict[str, tuple[str, ...]] | None = None

    @property
    def family(self) -> tuple[str, ...]:
        """Its class and those it is derived from."""
        return (self.class_name, *self.bases)


class AtStart(Part, frozen=True, kw_only=True):
    """A callback after all ran `on_train_begin`. `best_weights`: whether it holds such, None where it has no such
    attribute; `used_before`: an earlier fit used the same object."""

    class_name: str = msgspec.field(name="class")
    settings: Settings
    best_weights: bool | None
    used_before: bool


class Variable(Part, frozen=True, kw_only=True):
    """`group`: "trainable", "non_trainable", "seed", "carried" (states of stateful layers) or "replica" (what replica
    `replica` holds of variable `of`). `saved_as`: its path in a weights file."""

    path: str
    dtype: Dtype
    shape: tuple[Count, ...]
    group: str
    saved_as: str | None = None
    of: Count | None = None
    replica: Count | None = None


class OptimizerVariable(Part, frozen=True, kw_only=True):
    """`role`: "iterations", "learning_rate", "average" (of the weights, of variable `of`) or "slot"; "own": of an
    optimizer that the model has beside the compiled one."""

    path: str
    dtype: Dtype
    shape: tuple[Count, ...]
    role: str | None = None
    of: Count | None = None


class MetricVariable(Part, frozen=True, kw_only=True):
    """`log`: the metric's name in the logs; `of_loss`: Keras keeps it for a loss; `function`: the one whose mean it
    is; `same_as`: the log name of the loss that is the same function. In format 1 the last four may be unknown."""

    metric: str
    name: str
    dtype: Dtype
    shape: tuple[Count, ...]
    log: str | None = None
    of_loss: bool | None = None
    function: str | None = None
    same_as: str | None = None


class Metric(Part, frozen=True, kw_only=True):
    """A compiled metric. `builtin`: its class is Keras's own; `function` and `settings` where it averages one of
    Keras's; `direction`: which way Keras says it is better."""

    name: str
    output: Count | None = None
    weighted: bool = False
    class_name: str = msgspec.field(name="class")
    builtin: bool
    function: str | None = None
    direction: str | None = None
    settings: Settings = {}


class Layer(Part, frozen=True, kw_only=True):
    """`kind`: the ledger's factor, None where it is the same in training and inference. `weights`, `statistics`:
    indices of its own variables, those made to be trained and the others. In format 1, `trainable` may be unknown.
    `normalization`: "adapt", or "given" for a mean and variance passed to `Normalization`."""

    name: str
    class_name: str = msgspec.field(name="class")
    kind: str | None
    trainable: bool | None = None
    weights: tuple[Count, ...] = ()
    statistics: tuple[Count, ...] = ()
    momentum: Number | None = None
    stateful: bool = False
    normalization: str | None = None


class Output(Part, frozen=True, kw_only=True):
    name: str | None
    shape: tuple[Count | None, ...] | None


class Model(Part, frozen=True, kw_only=True):
    """`masking`: names of the layers that make a mask, None where that is not known. `architecture`: what
    `--stored-model` builds from; checked there."""

    name: str = "model"
    class_name: str | None = msgspec.field(name="class", default=None)
    parameters: Count | None = None
    layers: tuple[Layer, ...] = ()
    masking: tuple[str, ...] | None = None
    own_training: bool = False
    outputs: tuple[Output, ...] | None = None
    architecture: Json = None


class OptimizerState(Part, frozen=True, kw_only=True):
    """`slots`: how many variables it keeps beside counter and rate; `same`: these are those of now."""

    iterations: Count | None
    learning_rate: Number | None
    slots: Count
    same: bool


class Previous(Part, frozen=True, kw_only=True):
    """The earlier traced fit whose weights this one began with: those of the end of `epoch` (0: before its first
    step), with the optimizer `then` and at its `end`."""

    trace: str
    epoch: Count
    version: Count
    last_epoch: Count
    logs: dict[str, Json]
    next_logs: dict[str, Json] | None
    then: OptimizerState
    end: OptimizerState
    same_optimizer: bool
    same_settings: bool


class Start(Part, frozen=True, kw_only=True):
    """The optimizer before the first step; `learning_rate` None: a schedule. `updates`: indices of the variables that
    it was built for, and without an error updates no others (None: it was not built yet, or an older trace)."""

    iterations: Count | None
    learning_rate: Number | None
    slots: Count
    updates: tuple[Count, ...] | None = None
    previous: Previous | None = None


class Given(Part, frozen=True, kw_only=True):
    """What `fit` was given. `rows`: where x and y were arrays, the digest of a list of batches, hexadecimal: all of
    their rows that were trained on, in their order, as one batch."""

    rows: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")] | None = None


class Replicas(Part, frozen=True, kw_only=True):
    """`count` replicas trained, `local` of them in the process that recorded."""

    strategy: str
    count: Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]
    local: Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]


class Header(Part, frozen=True, kw_only=True):
    """What `info` holds, by its keys. A row that is missing, or null, is as its default here."""

    recording: Recording = Recording()
    policy: Policy = Policy()
    environment: dict[str, str] = {}
    framework: str = "keras"
    backend: str = "unknown"
    fit: Fit = Fit()
    compile: Compile = Compile()
    callbacks: tuple[Callback, ...] = ()
    callbacks_at_start: tuple[AtStart, ...] = ()
    variables: tuple[Variable, ...] = ()
    optimizer_variables: tuple[OptimizerVariable, ...] = ()
    metric_variables: tuple[MetricVariable, ...] = ()
    metrics: tuple[Metric, ...] | None = None
    model: Model = Model()
    start: Start | None = None
    given: Given = Given()
    replicas: Replicas | None = None
    sources: dict[str, Source] = {}
    redacted: Json = None
    batch_axis: str | None = None
    validation_batch_axis: str | None = None
    sample_weight: Json = None
    """Format 1: what stands with each batch since."""

    @property
    def withheld(self) -> bool:
        """Whether rows are known by their digests only."""
        return self.redacted is not None or self.policy.rows == "digests"


_T = TypeVar("_T")


def typed(value: Json, kind: type[_T], where: str) -> _T:
    """A JSON value, which stands `where` in a trace, as one of these types. Raises ValueError with the place of what is
    wrong."""
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(f"{where}, {placed(error, 'all of it')}") from None


def header(info: Mapping[str, Json]) -> Header:
    """The header of these rows; those of other keys are passed over. Raises ValueError."""
    return typed({key: value for key, value in info.items() if value is not None}, Header, "in its header")


def schema() -> dict[str, Any]:
    """The JSON Schema of the header, as it lies in `docs/trace-header.schema.json`."""
    return msgspec.json.schema(Header)

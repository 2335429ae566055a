"""What everything after the reader relies on in the header, the events and the logs: one table of shapes. Judges
nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from diagnose.tracefile.load import Records
from diagnose.tracefile.model import DTYPES, Json

Shape = Callable[[Json], str | None]
"""None where a value has the shape, else what is wrong with it, such as "[3].class is not a text"."""


def _is(name: str, *types: type) -> Shape:
    return lambda value: None if type(value) in types else f" is not {name}"


TEXT: Final = _is("a text", str)
FLAG: Final = _is("true or false", bool)
NUMBER: Final = _is("a number", int, float)


def anything(value: Json) -> str | None:
    return None


def count(value: Json) -> str | None:
    return None if type(value) is int and 0 <= value < 2**53 else " is not a whole number from 0 up"


def dtype(value: Json) -> str | None:
    # Not only those a trace may hold: a model may have variables that cannot be recorded.
    return None if isinstance(value, str) and len(value) <= max(map(len, DTYPES)) + 8 else " is not a dtype"


def maybe(shape: Shape) -> Shape:
    return lambda value: None if value is None else shape(value)


def each(shape: Shape) -> Shape:
    def check(value: Json) -> str | None:
        if not isinstance(value, list):
            return " is not a list"
        return next((f"[{i}]{wrong}" for i, item in enumerate(value) if (wrong := shape(item)) is not None), None)

    return check


def has(**keys: Shape) -> Shape:
    """An object with these keys; those written with `_` at the end may be missing. Others are not looked at."""
    known = [(name.rstrip("_"), name.endswith("_"), shape) for name, shape in keys.items()]

    def check(value: Json) -> str | None:
        if not isinstance(value, dict):
            return " is not an object"
        for name, optional, shape in known:
            if name not in value:
                if not optional:
                    return f" has no {name!r}"
            elif (wrong := shape(value[name])) is not None:
                return f".{name}{wrong}"
        return None

    return check


def values(shape: Shape) -> Shape:
    """An object whose values all have one shape."""

    def check(value: Json) -> str | None:
        if not isinstance(value, dict):
            return " is not an object"
        return next((f".{key:.40}{wrong}" for key, item in value.items() if (wrong := shape(item)) is not None), None)

    return check


_SETTINGS: Final = has(monitor_op_=maybe(TEXT))
_THRESHOLD: Final = has(key=TEXT, op=TEXT, value=maybe(NUMBER), hook=maybe(TEXT), code=maybe(TEXT))
_CALLBACK: Final = has(
    **{"class": TEXT}, module_=TEXT, bases=each(TEXT), builtin=FLAG, settings=_SETTINGS, hooks=each(TEXT),
    thresholds=each(_THRESHOLD), reads_=values(each(TEXT)),
)  # fmt: skip
_LAYER: Final = has(
    name=TEXT, **{"class": TEXT}, kind=maybe(TEXT), trainable_=FLAG, weights_=each(count), statistics_=each(count),
    normalization_=TEXT,
)  # fmt: skip
_VARIABLE: Final = has(
    path=TEXT, dtype=dtype, shape=each(count), group=TEXT, saved_as_=maybe(TEXT), of_=count, replica_=count
)
_OPTIMIZER_STATE: Final = has(iterations=maybe(count), learning_rate=maybe(NUMBER), slots=count, same=FLAG)
_PREVIOUS: Final = has(
    trace=TEXT, epoch=count, version=count, last_epoch=count, logs=values(anything), next_logs=maybe(values(anything)),
    then=_OPTIMIZER_STATE, end=_OPTIMIZER_STATE, same_optimizer=FLAG, same_settings=FLAG,
)  # fmt: skip
_ARGUMENTS: Final = has(
    batch_size_=maybe(NUMBER), epochs_=maybe(NUMBER), validation_split_=maybe(NUMBER), initial_epoch_=maybe(NUMBER),
    steps_per_epoch_=maybe(NUMBER), validation_steps_=maybe(NUMBER), validation_batch_size_=maybe(NUMBER),
    steps_=maybe(NUMBER), batches_=maybe(NUMBER), validation_rows_=maybe(NUMBER), validation_batches_=maybe(NUMBER),
)  # fmt: skip

HEADER: Final[Mapping[str, Shape]] = {
    "policy": has(every_update_=FLAG),
    "environment": values(TEXT),
    "backend": TEXT,
    "fit": has(number_=count, arguments_=maybe(_ARGUMENTS), loop_=maybe(TEXT)),
    "compile": has(
        optimizer_=maybe(has(**{"class_": maybe(TEXT)}, config_=maybe(values(anything)))),
        steps_per_execution_=maybe(count),
    ),
    "callbacks": maybe(each(_CALLBACK)),
    "callbacks_at_start": maybe(each(has(
        **{"class": TEXT}, settings=_SETTINGS, best_weights=maybe(FLAG), used_before=FLAG
    ))),
    "variables": each(_VARIABLE),
    "optimizer_variables": maybe(each(has(path=TEXT, dtype=dtype, shape=each(count), role_=maybe(TEXT), of_=count))),
    "metric_variables": each(has(
        metric=TEXT, name=TEXT, dtype=dtype, shape=each(count), log_=TEXT, of_loss_=FLAG, function_=maybe(TEXT),
        same_as_=maybe(TEXT),
    )),
    "metrics": maybe(each(has(
        name=TEXT, output_=maybe(count), weighted_=FLAG, **{"class": TEXT}, builtin=FLAG, function_=maybe(TEXT),
        direction_=maybe(TEXT), settings_=maybe(values(anything)),
    ))),
    "model": has(
        name=TEXT, parameters=maybe(count), layers=each(_LAYER), masking_=maybe(each(TEXT)),
        outputs_=maybe(each(has(name=maybe(TEXT), shape=maybe(each(maybe(count)))))),
    ),
    "start": maybe(has(iterations=maybe(count), learning_rate=maybe(NUMBER), slots=count, previous=maybe(_PREVIOUS))),
}  # fmt: skip
"""The rows of `info` that the analysis reads. Any may be missing: traces of older releases lack some."""

_BY_CALLBACK: Final = {"callback": maybe(TEXT), "hook_": maybe(TEXT)}
EVENTS: Final[Mapping[str, Shape]] = {
    "weights-changed": has(**_BY_CALLBACK, before=count, after=count),
    "stop-requested": has(**_BY_CALLBACK),
    "optimizer-changed": has(**_BY_CALLBACK),
    "learning-rate": has(**_BY_CALLBACK, before=maybe(NUMBER), after=maybe(NUMBER)),
    "metrics-reset": has(**_BY_CALLBACK),
    "callbacks-final": has(callbacks=each(_CALLBACK)),
    "file-saved": has(**_BY_CALLBACK, place=count, version=count, path=TEXT),
    "train-end": has(state=count),
    "replica-shares": has(rows=each(count)),
}
"""The detail of each kind of event that the analysis reads."""

_STATES: Final = ("state", "before", "after")
FREE_WORK: Final = 2_000_000


def check_records(records: Records) -> None:
    """Raises ValueError naming the first thing that has another shape, or names what does not exist."""
    for key, shape in HEADER.items():
        if key in records.info and (wrong := shape(records.info[key])) is not None:
            raise ValueError(f"in its header, {key}{wrong}")
    for event in records.events:
        wanted = EVENTS.get(event.kind)
        if wanted is None:
            continue
        if (wrong := wanted(event.detail)) is not None:
            raise ValueError(f"in an event {event.kind!r}, the detail{wrong}")
        for name in _STATES:
            number = event.detail.get(name)
            if event.kind != "learning-rate" and number is not None and not 0 <= number < len(records.states):
                raise ValueError(f"an event {event.kind!r} names state {number}, which does not exist")
    _check_numbers(records)


def check_work(records: Records, nbytes: int) -> None:
    """Raises ValueError where what an analysis has to look at again and again is more than a fit of a file of `nbytes`
    can have: callbacks for each event and epoch, metrics for each step and epoch, batches for each validation."""
    most = FREE_WORK + nbytes // 2
    callbacks = len(records.info.get("callbacks") or [])
    final = max((len(e.detail["callbacks"]) for e in records.events if e.kind == "callbacks-final"), default=0)
    happened = len(records.events) + len(records.epochs)
    names = len({name for epoch in records.epochs for name in epoch.logs})
    metrics = len(records.info.get("metric_variables") or []) + len(records.info.get("metrics") or [])
    validated = sum(len(records.batch_lists.get(e.batches, ())) for e in records.evaluations if e.batches is not None)
    works = {
        "callbacks": max(callbacks, final) * happened,
        "names in its logs": names * len(records.epochs),
        "metrics": metrics * (len(records.steps) + len(records.epochs)),
        "batches of validation": validated // 4,  # of which each costs less
    }
    for what, work in works.items():
        if work > most:
            raise ValueError(f"it has more {what} than any fit of its length")


def _check_numbers(records: Records) -> None:
    variables = records.info.get("variables")
    if variables is not None:
        # A model may make variables of its own in its first step: then what it held before has fewer.
        counts = {len(state.arrays) for state in records.states if state.version != 0}
        first = {len(state.arrays) for state in records.states if state.version == 0}
        if counts - {len(variables)} or any(count > len(variables) for count in first):
            raise ValueError(f"a state does not have the {len(variables)} arrays that its header names")
        model = records.info.get("model")
        for layer in [] if model is None else model["layers"]:
            for key in ("weights", "statistics"):
                if any(place >= len(variables) for place in layer.get(key, ())):
                    raise ValueError("a layer in its header names variables that do not exist")
    optimizer = records.info.get("optimizer_variables")
    known = -1 if optimizer is None else len(optimizer)
    for state in records.states:
        if state.optimizer_arrays is not None and 0 <= known != len(state.optimizer_arrays):
            raise ValueError(f"a state does not have the {known} arrays of the optimizer that its header names")

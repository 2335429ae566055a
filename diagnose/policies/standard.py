"""Which policies a table shows unless asked for others: the run's own, and what people try instead."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator

from diagnose.decide.watched import Watcher
from diagnose.errors import UsageError
from diagnose.policies.log import Log
from diagnose.policies.stopping import (
    POLICIES,
    DynamicPatience,
    EarlyStopping,
    NoStopping,
    Policy,
    ReduceLROnPlateau,
    Smoothed,
    Threshold,
    Unanswerable,
    Weighted,
)

PATIENCE = 5
"""For a run without an EarlyStopping of its own."""
OTHER_PATIENCE = (1, 3, 10)


def standard(log: Log, decisions: tuple[Watcher, ...]) -> tuple[Policy, ...]:
    """The policies of a table, without repetition; the run's own first."""
    return tuple(dict.fromkeys(_standard(log, decisions)))


def own(decisions: tuple[Watcher, ...]) -> tuple[Policy, ...]:
    """What the run itself stopped by, as far as that is Keras's own EarlyStopping or a threshold."""
    found: list[Policy] = []
    for d in decisions:
        if d.kind == "early-stopping" and d.callback == "EarlyStopping":
            found.append(_as_set(d))
        elif d.kind == "threshold" and d.value is not None and d.op in ("<", "<=", ">", ">="):
            found.append(Threshold(d.monitor, d.value, d.op))  # type: ignore[arg-type]  # just compared
    return tuple(dict.fromkeys(found))


def _as_set(d: Watcher) -> EarlyStopping:
    s = d.settings
    baseline = s.get("baseline")
    return EarlyStopping(
        monitor=d.monitor,
        min_delta=abs(float(s.get("min_delta") or 0.0)),
        patience=int(s.get("patience") or 0),
        mode=d.direction or "auto",
        baseline=None if baseline is None else float(baseline),
        restore_best_weights=bool(s.get("restore_best_weights")),
        start_from_epoch=int(s.get("start_from_epoch") or 0),
    )


def _standard(log: Log, decisions: tuple[Watcher, ...]) -> Iterator[Policy]:
    yield from own(decisions)
    stopping = next((d for d in decisions if d.kind == "early-stopping"), None)
    monitor = _first_logged(log, *([] if stopping is None else [stopping.monitor]), "val_loss", "loss")
    if monitor is None:
        return
    mode = (None if stopping is None or stopping.monitor != monitor else stopping.direction) or log.mode(monitor)
    way = mode or "auto"
    patience = PATIENCE if stopping is None else int(stopping.settings.get("patience") or 0)

    def keeping(name: str, wait: int, **others: bool | float) -> EarlyStopping:
        how = way if name == monitor else log.mode(name) or "auto"
        return EarlyStopping(monitor=name, patience=wait, mode=how, restore_best_weights=True, **others)  # type: ignore[arg-type]

    yield keeping(monitor, patience)
    yield EarlyStopping(monitor=monitor, patience=patience, mode=way)
    for other in OTHER_PATIENCE:
        yield keeping(monitor, other)
    for name in _monitors(log):
        yield keeping(name, patience)
    for name in ("loss", *_metrics(log)[:1]):
        if name in log.reevaluated:
            yield keeping(name, patience, reevaluated=True)
    delta = _step(log, monitor)
    if delta is not None:
        yield keeping(monitor, patience, min_delta=delta)
    yield DynamicPatience(monitor=monitor, patience=patience, mode=way)
    yield Smoothed(monitor=monitor, patience=patience, mode=way)
    several = _several(log)
    if several:
        yield Weighted(several, patience=patience)
    yield ReduceLROnPlateau(monitor=monitor, mode=way)
    yield NoStopping()


def _first_logged(log: Log, *names: str) -> str | None:
    return next((n for n in names if any(v is not None for v in log.logged.get(n, ()))), None)


def _metrics(log: Log) -> list[str]:
    """Training metrics other than the loss, of which Keras says which way they are better."""
    return [n for n in log.logged if n == log.base(n) and n != "loss" and log.mode(n) is not None]


def _monitors(log: Log) -> list[str]:
    names = ["loss", "val_loss", *(p + n for n in _metrics(log)[:1] for p in ("", "val_", *log.prefixes))]
    return [n for n in names if n in log.logged]


def _step(log: Log, monitor: str) -> float | None:
    """One hundredth of the first value, to one digit: a `min_delta` one might set."""
    first = next((v for v in log.logged[monitor] if v is not None), None)
    if first is None or not math.isfinite(first) or first == 0:
        return None
    return float(f"{abs(first) / 100:.0e}")


def _several(log: Log) -> tuple[tuple[str, float], ...]:
    """A metric and the loss, both of validation if there is one: half and half, larger is better."""
    for prefix in ("val_", *log.prefixes, ""):
        for name in _metrics(log):
            if prefix + name in log.logged and prefix + "loss" in log.logged:
                return ((prefix + name, 0.5 if log.mode(name) == "max" else -0.5), (prefix + "loss", -0.5))
    return ()


def parse(text: str) -> Policy:
    """A policy from an expression such as `EarlyStopping(monitor="val_loss", patience=3)`. Nothing is executed.

    Raises:
        UsageError: it is no such expression; the message says what may be written.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError("write NAME(argument=value, …)")
        if call.func.id not in POLICIES:
            raise ValueError(f"there are {', '.join(POLICIES)}")
        given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
        if isinstance(given.get("weights"), dict):
            given["weights"] = tuple((str(name), float(weight)) for name, weight in given["weights"].items())
        policy: Policy = POLICIES[call.func.id](**given)
        names = dict(policy.weights) if isinstance(policy, Weighted) else {policy.monitor: 1.0}
        if not all(isinstance(name, str) for name in names):
            raise ValueError("a metric's name is a text")
        trial = {str(name): (1.0, 1.0, 1.0) for name in names}
        policy.replay(
            Log((1, 2, 3), trial, trial, 3, dict.fromkeys(trial, "min"))
        )  # with arguments of a wrong type, fails
        str(policy.label)
    except Unanswerable:
        return policy
    except KeyError as error:
        raise UsageError(f"--policy {text}: {error} is no comparison.") from None
    except (ValueError, TypeError, SyntaxError, AttributeError, RecursionError, MemoryError) as error:
        raise UsageError(f"--policy {text}: {error}.") from None
    return policy

"""What a long fit takes of memory and disk, per step: an untraced fit, then a traced one, in a process of its own."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.machine import resident
from benchmarks.measures import Ask, Result, Row, lines, tell, tracer
from benchmarks.models import MODELS, Training
from benchmarks.turns import spent

TITLE = "A long fit"
NOTE = """Growth of the process's memory per step, from a fifth of the fit on (line of least squares over the ends of
epochs), traced and untraced; the size of the trace; processor time. The smallest model, steps of 8 rows."""

EPOCHS = 100


def measure(ask: Ask) -> Iterator[Row]:
    """One row: memory at the end of each epoch, and the size of the file."""
    steps = ask.of(1000, 100)
    level = ask.chosen(("auto",))[0]
    training = MODELS["least"](steps)
    path = ask.folder / "fit.diag"
    for name in (None, level):
        _fit(training, 2, None if name is None else tracer(path, name))
    untraced, plain = _fit(training, EPOCHS // 5, None)
    traced, recorded = _fit(training, EPOCHS, tracer(path, level))
    row = {
        "level": level,
        "steps": EPOCHS * steps,
        "steps_per_epoch": steps,
        "memory": traced,
        "memory_untraced": untraced,
        "bytes": path.stat().st_size,
        "traced": recorded,
        "untraced": plain,
        "untraced_steps": EPOCHS // 5 * steps,
    }
    tell("  " + " | ".join(_cells(row)))
    yield row


def _fit(training: Training, epochs: int, traced: Any) -> tuple[list[int | None], dict[str, float]]:
    import keras

    found: list[int | None] = []
    plain = keras.callbacks.History.on_epoch_end

    def on_epoch_end(self: Any, epoch: int, logs: Any = None) -> None:
        plain(self, epoch, logs)
        found.append(resident())

    keras.callbacks.History.on_epoch_end = on_epoch_end  # as `turns.epoch_ends`, and for its reason
    gc.collect()
    try:
        reading = spent(lambda: training.fit(epochs, [] if traced is None else [traced]))
    finally:
        keras.callbacks.History.on_epoch_end = plain
    return found, reading.plain()


def slope(memory: Sequence[int | None], steps: int) -> float | None:
    """Bytes per step, over the ends of epochs of so many steps; the first fifth is left out."""
    known = [x for x in memory[len(memory) // 5 :] if x is not None]
    if len(known) < 3:
        return None
    return float(np.polyfit(np.arange(len(known)) * steps, known, 1)[0])


def _cells(row: Row) -> list[str]:
    traced, untraced = (slope(row[name], row["steps_per_epoch"]) for name in ("memory", "memory_untraced"))
    memory = [x for x in row["memory"] if x is not None]
    return [
        row["level"],
        f"{row['steps']:,}",
        *("not known" if x is None else f"{x / 1e3:.3f} kB" for x in (traced, untraced)),
        f"{(memory[-1] - memory[0]) / 1e6:.1f} MB" if memory else "not known",
        f"{row['bytes'] / 1e6:.1f} MB",
        f"{row['bytes'] / row['steps'] / 1e3:.2f} kB",
        f"{row['traced']['cpu'] / row['steps'] * 1e6:.0f} µs",
        f"{row['untraced']['cpu'] / row['untraced_steps'] * 1e6:.0f} µs",
    ]


def table(results: Sequence[Result]) -> list[str]:
    head = [
        "backend",
        "level",
        "steps",
        "memory per step",
        "the same untraced",
        "memory, first to last epoch",
        "trace",
        "trace per step",
        "CPU of a step",
        "untraced",
    ]
    return lines(head, results, _cells)

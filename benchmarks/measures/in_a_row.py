"""Whether fits get slower or keep memory when there are many of them: 50 in a row, untraced and then traced, each one
with a tracer of its own, in a process of its own."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Iterator, Sequence

from benchmarks.machine import resident
from benchmarks.measures import Ask, Result, Row, lines, tell, tracer
from benchmarks.models import MODELS
from benchmarks.turns import spent

TITLE = "Fits in a row"
NOTE = """The last ten fits against the first ten (processor time, medians; the very first is left out), and what the
process keeps of a fit, from the tenth on. *Same model*: fitted again and again; *new model*: made anew for each fit, as
a tuner does."""

FITS = 50
EPOCHS, STEPS = 2, 25
ENDS = 10
"""So many fits at either end are compared."""


def measure(ask: Ask) -> Iterator[Row]:
    """A row per way: processor seconds of each fit, and memory after it."""
    level = ask.chosen(("auto",))[0]
    for anew in ask.of((False, True), (False,)):
        row: Row = {"model": "new model" if anew else "same model", "level": level}
        for name in ("untraced", "traced"):
            training = MODELS["tiny MLP"](STEPS)
            cpu, memory = [], []
            for number in range(FITS):
                if anew:
                    training = MODELS["tiny MLP"](STEPS)
                path = ask.folder / f"fit-{number}.diag"
                callbacks = [tracer(path, level)] if name == "traced" else []
                now = training
                cpu.append(spent(lambda now=now, given=callbacks: now.fit(EPOCHS, given)).cpu)
                del callbacks
                gc.collect()
                memory.append(resident())
                path.unlink(missing_ok=True)
            row[name], row[f"memory_{name}"] = cpu, memory
        tell("  " + " | ".join(_cells(row)))
        yield row


def _cells(row: Row) -> list[str]:
    cells = [row["model"], row["level"]]
    for name in ("traced", "untraced"):
        cpu, memory = row[name], row[f"memory_{name}"]
        first, last = statistics.median(cpu[1 : ENDS + 1]), statistics.median(cpu[-ENDS:])
        kept = None if None in memory else (memory[-1] - memory[ENDS - 1]) / (len(memory) - ENDS)
        cells += [
            f"{first * 1e3:.0f} ms",
            f"{last / first:.2f}",
            "not known" if kept is None else f"{kept / 1e6:.2f} MB",
        ]
    return cells


def table(results: Sequence[Result]) -> list[str]:
    head = [
        "backend",
        "way",
        "level",
        "traced fit",
        "last / first",
        "kept of one",
        "untraced fit",
        "last / first",
        "kept of one",
    ]
    return lines(head, results, _cells)

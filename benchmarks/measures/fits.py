"""What tracing a fit costs: fits untraced and at each level, in turns, in one process."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measures import Ask, Result, Row, line, tell, tracer
from benchmarks.models import MODELS, Training
from benchmarks.turns import PAIRS, Reading, Spread, differences, epoch_ends, in_turns, ratios

TITLE = "What tracing a fit costs"
NOTE = """Traced / untraced, fits in turns, median and range of the pairs. *Whole fit*: all its steps and what it pays
once. *Steady*: from the end of the first third of the epochs on. *Own*: processor time of a traced step beyond an
untraced one, over all threads, ends of epochs included (steady). *Once*: what the fit paid beyond that for all its
steps."""

UNTRACED = "untraced"
ALL = ("auto", "0", "1", "2", "3")


@dataclass(frozen=True)
class Plan:
    """Fits of so many epochs of so many steps."""

    model: str
    epochs: int
    steps: int
    levels: tuple[str, ...] = ALL


FULL = (
    Plan("tiny MLP", 6, 500),
    Plan("small CNN", 6, 50),
    Plan("4.7 M", 6, 20),
    Plan("25 M", 6, 5, ALL[:-1]),  # beyond level 2, the limit on the file is reached after three steps
)
QUICK = (
    Plan("tiny MLP", 3, 200, ("auto", "0")),
    Plan("small CNN", 3, 30, ("auto", "0")),
    Plan("4.7 M", 3, 8, ("auto",)),
    Plan("25 M", 3, 2, ("auto",)),
)


def measure(ask: Ask) -> Iterator[Row]:
    """A row per model and level, with the readings of each pair."""
    for plan in ask.of(FULL, QUICK):
        levels = ask.chosen(plan.levels)
        training = MODELS[plan.model](plan.steps)
        path = ask.folder / "fit.diag"
        found: dict[str, list[dict[str, float]]] = {level: [] for level in (UNTRACED, *levels)}
        sizes: dict[str, int] = {}
        for level in found:  # functions are compiled, and read for the first time
            _fit(training, 1, level, path)
        for number in range(PAIRS):
            for level in in_turns(list(found), number):
                found[level].append(_fit(training, plan.epochs, level, path))
                if level != UNTRACED:
                    sizes[level] = path.stat().st_size
        for level in levels:
            row = {
                "model": plan.model,
                "parameters": int(training.model.count_params()),
                "level": level,
                "epochs": plan.epochs,
                "steps": plan.steps,
                "untraced": found[UNTRACED],
                "traced": found[level],
                "bytes": sizes[level],
            }
            tell("  " + " | ".join(_cells(row)))
            yield row


def _fit(training: Training, epochs: int, level: str, path: Any) -> dict[str, float]:
    path.unlink(missing_ok=True)
    callbacks = [] if level == UNTRACED else [tracer(path, level)]
    gc.collect()
    with epoch_ends() as ends:
        began = Reading.now()
        training.fit(epochs, callbacks)
        whole = Reading.now() - began
    steady = ends[-1] - ends[epochs // 3 - 1] if epochs > 2 else whole
    return {**whole.plain(), "steady_cpu": steady.cpu, "steady_wall": steady.wall}


def own(row: Row) -> Spread:
    """Seconds of the processor that a traced step takes beyond an untraced one, once the fit runs."""
    steps = (row["epochs"] - row["epochs"] // 3) * row["steps"]
    found = differences(row["traced"], row["untraced"], "steady_cpu")
    return Spread(found.median / steps, found.low / steps, found.high / steps, found.number)


def _cells(row: Row) -> list[str]:
    traced, untraced, steps = row["traced"], row["untraced"], row["epochs"] * row["steps"]
    step = Spread.of([fit["wall"] / steps for fit in untraced])
    per_step = own(row)
    once = differences(traced, untraced, "cpu").median - per_step.median * steps
    return [
        row["model"],
        row["level"],
        f"{step.median * 1e3:.2f} ms",
        ratios(traced, untraced, "cpu").shown(),
        ratios(traced, untraced, "wall").shown(),
        ratios(traced, untraced, "steady_cpu").shown(3),
        f"{per_step.shown(0, 1e6)} µs",
        f"{once * 1e3:.0f} ms",
        f"{row['bytes'] / steps / 1e3:,.1f} kB",
    ]


def table(results: Sequence[Result]) -> list[str]:
    head = ["model", "backend", "level", "step untraced", "whole fit, CPU", "whole fit, wall", "steady, CPU"]
    head += ["own, per step", "once", "trace per step"]
    lines = [line(head), line(["---"] * len(head))]
    models = dict.fromkeys(row["model"] for result in results for row in result.rows)
    for model in models:
        for result in results:
            for row in [row for row in result.rows if row["model"] == model]:
                name, *rest = _cells(row)
                lines.append(line([name, str(result.backend), *rest]))
    return lines

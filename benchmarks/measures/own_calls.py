"""What noting a script's own `evaluate` and `predict` costs: the same call noted and not, in turns, in one process.

The limit on what noting may take (a second, and a tenth of the calls' own time) is lifted: a script never pays more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.measures import Ask, Result, Row, lines, tell
from benchmarks.models import MODELS
from benchmarks.turns import PAIRS, Spread, in_turns, ratios, spent

TITLE = "What noting the script's own calls costs"
NOTE = """A call noted / not noted, in turns, median and range. *By batches*: the rows are drawn from a `PyDataset`."""

STEPS = {"tiny MLP": 200, "small CNN": 50, "small RNN": 50}


def in_batches(x: Any, y: Any, size: int) -> Any:
    """Batches that are asked for by number."""
    import keras

    class Batches(keras.utils.PyDataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return -(-len(x) // size)

        def __getitem__(self, index: int) -> Any:
            at = slice(index * size, (index + 1) * size)
            return x[at], y[at]

    return Batches()


def measure(ask: Ask) -> Iterator[Row]:
    """A row per model and call, with the readings of each pair."""
    for name in ask.of(list(STEPS), ["tiny MLP"]):
        yield from _model(name, STEPS[name])


def _model(name: str, steps: int) -> Iterator[Row]:
    import keras

    import diagnose
    from diagnose.record import calls

    training = MODELS[name](steps)
    x, y = training.x, training.y
    with diagnose.trace() as session:
        training.first(4).fit()
        ways = {
            "evaluate": ("evaluate", (x, y)),
            "predict": ("predict", (x,)),
            "evaluate, by batches": ("evaluate", (in_batches(x, y, training.batch),)),
        }
        for shown, (kind, arguments) in ways.items():
            noted = getattr(keras.Model, kind)
            variants = {"noted": noted, "plain": noted.__wrapped__}

            def call(which: Any, given: Any = arguments) -> None:
                calls._SPENT.noting = 0.0
                which(training.model, *given, verbose=0)

            found: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
            for number in range(-1, PAIRS):
                for variant in in_turns(list(variants), number):
                    reading = spent(lambda which=variants[variant]: call(which)).plain()
                    if number >= 0:  # in the first round functions are compiled
                        found[variant].append(reading)
            row = {"model": name, "call": shown, "rows": len(x), **found}
            tell("  " + " | ".join(_cells(row)))
            yield row
    if session.runs[0].calls.error is not None:
        raise RuntimeError(f"calls were not noted to the end: {session.runs[0].calls.error}")


def _cells(row: Row) -> list[str]:
    own = Spread.of([x["cpu"] for x in row["plain"]])
    return [
        row["model"],
        f"{row['call']} of {row['rows']:,} rows",
        f"{own.median * 1e3:.0f} ms",
        ratios(row["noted"], row["plain"], "cpu").shown(),
        ratios(row["noted"], row["plain"], "wall").shown(),
    ]


def table(results: Sequence[Result]) -> list[str]:
    head = ["backend", "model", "call", "CPU, not noted", "noted / not noted, CPU", "wall"]
    return lines(head, results, _cells)

"""What the diagnosis of a fit costs, as a ratio against the fit itself, untraced, by the number of epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.measures import Ask, Result, Row, lines, tell, tracer
from benchmarks.models import MODELS, Training
from benchmarks.turns import Reading, Spread, epoch_ends, spent

TITLE = "What a diagnosis costs"
NOTE = """`tracer.diagnose()` after a fit of a small CNN with EarlyStopping on a training value,
against the fit untraced: processor time, and wall in brackets. *Again*: the second call for the same fit."""

FULL = ((30, "auto", 3), (100, "auto", 3), (100, "0", 3), (300, "auto", 1), (1000, "auto", 1))
QUICK = ((30, "auto", 1), (100, "auto", 1))
"""Epochs, level, and how often it is measured."""


def measure(ask: Ask) -> Iterator[Row]:
    """A row per number of epochs. The untraced fit is made once, of the most epochs: what a shorter one takes is what
    this one had taken by then."""
    plans, steps = ask.of(FULL, QUICK), ask.of(57, 20)
    most = max(epochs for epochs, *_ in plans)
    with epoch_ends() as ends:
        began = Reading.now()
        _fit(MODELS["digits CNN"](steps), most)
    for epochs, usual, times in plans:
        for level in ask.chosen((usual,)):
            row: Row = {"epochs": epochs, "steps": steps, "level": level, "traced": [], "diagnosed": [], "again": []}
            row["untraced"] = (ends[epochs - 1] - began).plain()
            for number in range(times):
                traced = tracer(ask.folder / f"{epochs}-{level}-{number}.diag", level)
                training = MODELS["digits CNN"](steps)
                row["traced"].append(spent(lambda t=training, n=epochs, c=traced: _fit(t, n, c)).plain())
                row["diagnosed"].append(spent(traced.diagnose).plain())
                row["again"].append(spent(traced.diagnose).plain())
            tell("  " + " | ".join(_cells(row)))
            yield row


def _fit(training: Training, epochs: int, traced: object = None) -> None:
    import keras

    stopping = keras.callbacks.EarlyStopping("loss", patience=epochs, restore_best_weights=True)
    training.fit(epochs, [stopping] if traced is None else [stopping, traced])


def _cells(row: Row) -> list[str]:
    fit = row["untraced"]

    def against(name: str) -> str:
        cpu, wall = (Spread.of([x[clock] / fit[clock] for x in row[name]]) for clock in ("cpu", "wall"))
        return f"{cpu.shown(3)} [{wall.median:.3f}]"

    seconds = Spread.of([x["wall"] for x in row["diagnosed"]])
    return [
        f"{row['epochs']} of {row['steps']} steps",
        row["level"],
        f"{fit['wall']:.1f} s",
        f"{Spread.of([x['wall'] for x in row['traced']]).median:.1f} s",
        f"{seconds.shown(1)} s",
        against("diagnosed"),
        against("again"),
    ]


def table(results: Sequence[Result]) -> list[str]:
    head = ["backend", "epochs", "level", "fit untraced", "traced", "diagnosis", "diagnosis / fit", "again"]
    return lines(head, results, _cells)

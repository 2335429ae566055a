"""What it takes to report a trace of 10,000 steps, as the command does it: no model, no Keras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.commands import run
from benchmarks.measures import Ask, Result, Row, lines, tell, tracer
from benchmarks.models import MODELS
from benchmarks.turns import PAIRS, Spread, spent

TITLE = "The report of a trace of 10,000 steps"
NOTE = """`python -m diagnose report TRACE`, Python's start included, no Keras; before it, the diagnosis that the trace
then holds."""

EPOCHS, STEPS = 50, 200


def measure(ask: Ask) -> Iterator[Row]:
    """One row, with the readings of each run of the command."""
    import keras

    path = ask.folder / "long.diag"
    traced = tracer(path, ask.chosen(("auto",))[0])
    stopping = keras.callbacks.EarlyStopping("loss", patience=EPOCHS, restore_best_weights=True)
    MODELS["tiny MLP"](STEPS).fit(EPOCHS, [stopping, traced])
    diagnosed = spent(traced.diagnose).plain()
    words = ["-m", "diagnose", "report", str(path), "--out", "report", "--force"]
    found = [run(words, ask.folder) for _ in range(ask.of(PAIRS, 3))]
    page = (ask.folder / "report" / "report.html").stat().st_size
    row = {"steps": EPOCHS * STEPS, "bytes": path.stat().st_size, "diagnosed": diagnosed, "report": found, "page": page}
    tell("  " + " | ".join(_cells(row)))
    yield row


def _cells(row: Row) -> list[str]:
    def of(name: str, digits: int, scale: float = 1.0) -> str:
        return Spread.of([x[name] for x in row["report"]]).shown(digits, scale)

    return [
        f"{row['steps']:,}",
        f"{row['bytes'] / 1e6:.1f} MB",
        f"{row['diagnosed']['wall']:.1f} s",
        f"{of('cpu', 2)} s",
        f"{of('wall', 2)} s",
        f"{of('memory', 0, 1e-6)} MB",
        f"{row['page'] / 1e6:.2f} MB",
    ]


def table(results: Sequence[Result]) -> list[str]:
    head = ["recorded with", "steps", "trace", "diagnosis", "report, CPU", "report, wall", "report, memory", "page"]
    return lines(head, results, _cells)

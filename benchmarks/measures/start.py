"""What it takes to start: Python with this package imported, and its command, against Python alone. In turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.commands import run
from benchmarks.measures import Ask, Result, Row, line, tell
from benchmarks.turns import PAIRS, Spread, differences, in_turns

TITLE = "Starting"
NOTE = """Processor time of a process, and what it takes beyond `python -c pass`: median and range of the pairs."""

NOTHING = "python -c pass"
WAYS = {
    NOTHING: ["-c", "pass"],
    "import diagnose": ["-c", "import diagnose"],
    "python -m diagnose --version": ["-m", "diagnose", "--version"],
}


def measure(ask: Ask) -> Iterator[Row]:
    """A row per way, with the readings of each run; the first is not counted, it may have to write byte code."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    for number in range(-1, ask.of(25, PAIRS)):
        for name in in_turns(list(WAYS), number):
            reading = run(WAYS[name], ask.folder)
            if number >= 0:
                found[name].append(reading)
    for name, readings in found.items():
        row = {"way": name, "readings": readings, "nothing": found[NOTHING]}
        tell("  " + " | ".join(_cells(row)))
        yield row


def _cells(row: Row) -> list[str]:
    def of(clock: str) -> str:
        return f"{Spread.of([x[clock] for x in row['readings']]).shown(0, 1e3)} ms"

    def beyond(clock: str) -> str:
        if row["way"] == NOTHING:
            return "-"
        return f"{differences(row['readings'], row['nothing'], clock).shown(0, 1e3)} ms"

    return [f"`{row['way']}`", of("cpu"), beyond("cpu"), of("wall"), beyond("wall")]


def table(results: Sequence[Result]) -> list[str]:
    head = ["", "CPU", "beyond Python's own", "wall", "beyond Python's own"]
    found = [line(_cells(row)) for result in results for row in result.rows]
    return [line(head), line(["---"] * len(head)), *found]

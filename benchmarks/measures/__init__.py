"""What is measured: one module each, with a `TITLE`, a `NOTE` that says what the table shows, `measure(ask)`, which
gives one plain row per result, and `table(results)`, which draws them. Drawing needs neither Keras nor this package's
code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

Row = dict[str, Any]


@dataclass(frozen=True)
class Ask:
    """How to measure."""

    quick: bool
    folder: Path
    """For what is written on the way; it is gone afterwards."""
    levels: tuple[str, ...] | None = None
    """Levels of recording, where others than usual are asked for."""

    def of(self, full: Any, quick: Any) -> Any:
        """The one or the other."""
        return quick if self.quick else full

    def chosen(self, usual: Sequence[str]) -> list[str]:
        """The levels to measure."""
        return list(self.levels or usual)


class Measure(Protocol):
    """A module of this folder."""

    TITLE: str
    NOTE: str

    def measure(self, ask: Ask) -> Iterator[Row]: ...
    def table(self, results: Sequence[Result]) -> list[str]: ...


@dataclass(frozen=True)
class Result:
    """The rows of one measure with one backend; without one, of what needs none."""

    backend: str | None
    rows: list[Row]


@dataclass(frozen=True)
class Kind:
    """Where a measure lies, and what it needs."""

    module: str
    backends: str = "each"
    """"each": measured with every backend; "one": with the first that is there; "none": needs no backend."""
    alone: bool = True
    """In a process of its own, because what others leave behind would be measured, too."""

    def load(self) -> Measure:
        found: Any = importlib.import_module(f"benchmarks.measures.{self.module}")
        return found  # type: ignore[no-any-return]


MEASURES: Final[dict[str, Kind]] = {
    "fits": Kind("fits", alone=False),
    "memory": Kind("memory"),
    "row": Kind("in_a_row"),
    "analysis": Kind("analysis", alone=False),
    "calls": Kind("own_calls", alone=False),
    "report": Kind("report", backends="one"),
    "start": Kind("start", backends="none"),
}
"""By the name that `--only` takes, in the order of the tables."""


def tracer(path: Path, level: str) -> Any:
    """A `Tracer`; with "auto", as it is by default."""
    from diagnose import Tracer

    return Tracer(path) if level == "auto" else Tracer(path, level=int(level))


def tell(text: str) -> None:
    """Says how far it is."""
    print(text, file=sys.stderr, flush=True)


def line(cells: Sequence[str]) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def lines(head: Sequence[str], results: Sequence[Result], cells: Callable[[Row], list[str]]) -> list[str]:
    """A table with a line per row, its backend first."""
    found = [line([str(result.backend), *cells(row)]) for result in results for row in result.rows]
    return [line(head), line(["---"] * len(head)), *found]

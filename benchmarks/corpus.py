"""Precision and recall of every rule over the shipped scenarios and several seeds.

    python benchmarks/corpus.py [NAME ...] [--seeds 0-9] [--json FILE]

Every scenario takes its seed as its first argument. What must fire is in its literal `EXPECTED`; a rule that fires
anywhere else is a false alarm. All run in one process, on the backend that Keras chose.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from diagnose.api.session import MAX_BYTES, Traces, wanted
from diagnose.cli.catalogue import find, names
from diagnose.cli.script import run_script
from diagnose.record.attach import attached
from diagnose.record.least import Asked, Level
from diagnose.rules import RULES


@dataclass(frozen=True)
class Case:
    """One scenario run with one seed. `failed` and `expected` are rules; `diagnoses` one per fit, and
    `again` what the rules find once more in its trace alone."""

    scenario: str
    seed: int | None
    expected: frozenset[str]
    failed: frozenset[str]
    diagnoses: tuple[Any, ...]
    again: tuple[Any, ...]
    code: int
    output: str
    seconds: float

    @property
    def verdict(self) -> str | None:
        """That of the last fit."""
        found = self.diagnoses[-1].restoration if self.diagnoses else None
        return None if found is None else str(found.verdict)

    @property
    def residual(self) -> float:
        """The largest residual of all ledgers, relative to the larger of logged and evaluated."""
        sizes = [
            abs(x.residual) / max(abs(x.logged), abs(x.evaluated), 1e-30)
            for d in self.diagnoses
            for x in d.ledgers
            if x.residual == x.residual
        ]
        return max(sizes, default=0.0)

    @property
    def replayed(self) -> tuple[int, int]:
        """Steps reproduced, and steps replayed."""
        checks = [d.replay for d in self.diagnoses if d.replay is not None]
        return sum(c.reproduced for c in checks), sum(c.steps for c in checks)


@dataclass
class Score:
    """Counts of one rule over all cases."""

    scenarios: set[str] = field(default_factory=set)
    controls: set[str] = field(default_factory=set)
    hits: int = 0
    misses: int = 0
    false_alarms: int = 0
    silent: int = 0

    @property
    def precision(self) -> float | None:
        fired = self.hits + self.false_alarms
        return self.hits / fired if fired else None

    @property
    def recall(self) -> float | None:
        due = self.hits + self.misses
        return self.hits / due if due else None


def expected(name: str) -> dict[str, Any]:
    """The scenario's literal `EXPECTED`."""
    for node in ast.parse(find(name).read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and [getattr(t, "id", None) for t in node.targets] == ["EXPECTED"]:
            found: dict[str, Any] = ast.literal_eval(node.value)
            return found
    raise SystemExit(f"{name} has no literal EXPECTED")


def run_case(name: str, seed: int | None = None, level: Level = "auto") -> Case:
    """Runs a scenario in this process as `python -m diagnose run NAME -- SEED` does, and diagnoses its fits. Without a
    seed, with the scenario's own. `level`: see `Tracer`."""
    import keras

    from diagnose.analysis.again import found_again
    from diagnose.analysis.analyze import diagnose_run

    keras.utils.clear_session(free_memory=False)  # at the end
    before = sys.argv, list(sys.path), sys.modules["__main__"]
    started = time.perf_counter()
    printed = io.StringIO()
    try:
        with tempfile.TemporaryDirectory(prefix="corpus-") as folder, contextlib.chdir(folder):
            traces = Traces(Path(folder), MAX_BYTES, Asked(level=level))
            with contextlib.redirect_stdout(printed), attached(traces, wanted=wanted(None)) as attachment:
                code = run_script(find(name), [] if seed is None else [str(seed)]).code
            diagnoses = tuple(diagnose_run(run, name=name, number=n) for n, run in attachment.runs.items())
            again = tuple(found_again(run.path) for run in attachment.runs.values())
            traces.release()
    finally:
        sys.argv, sys.path[:], sys.modules["__main__"] = before
        gc.collect()
    failed = frozenset(f.rule for d in diagnoses for f in d.findings if f.status == "failed")
    said = expected(name)
    usual = said.get("other_backends", {}).get(keras.backend.backend(), said["failed"])
    due = frozenset(usual if seed is None else said.get("other_seeds", {}).get(seed, usual))
    return Case(name, seed, due, failed, diagnoses, again, code, printed.getvalue(), time.perf_counter() - started)


def score(cases: Sequence[Case]) -> dict[str, Score]:
    """Every rule's counts."""
    found = {rule: Score() for rule in RULES}
    for case in cases:
        said = expected(case.scenario)
        for rule, counts in found.items():
            due, fired = rule in case.expected, rule in case.failed
            counts.hits += due and fired
            counts.misses += due and not fired
            counts.false_alarms += fired and not due
            counts.silent += not fired and not due
            if said.get("shows") == rule:
                counts.scenarios.add(case.scenario)
            if said.get("control_of") == rule:
                counts.controls.add(case.scenario)
    return found


def _seeds(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _lines(scores: dict[str, Score]) -> Iterator[str]:
    yield f"{'rule':<30} {'scenario':<34} {'control':<38} {'hit':>4} {'miss':>4} {'false':>5} precision recall"
    for rule, s in scores.items():
        shows, controls = ", ".join(sorted(s.scenarios)) or "-", ", ".join(sorted(s.controls)) or "-"
        yield (
            f"{rule:<30} {shows:<34} {controls:<38} {s.hits:>4} {s.misses:>4} {s.false_alarms:>5} "
            f"{_share(s.precision):>9} {_share(s.recall):>6}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios (default: all)")
    parser.add_argument("--seeds", type=_seeds, default=list(range(10)), metavar="A-B", help="default 0-9")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes one object per case")
    options = parser.parse_args()
    cases = []
    import keras

    backend = keras.backend.backend()
    chosen = options.names or names()
    for name in [n for n in chosen if backend in expected(n).get("backends", [backend])]:
        for seed in options.seeds:
            case = run_case(name, seed)
            cases.append(case)
            wrong = [f"missed {r}" for r in sorted(case.expected - case.failed)]
            wrong += [f"false alarm {r}" for r in sorted(case.failed - case.expected)]
            if case.verdict != expected(name)["verdict"]:
                wrong.append(f"verdict {case.verdict}")
            if case.code:
                wrong.append(f"the script ended with {case.code}")
            same, all_steps = case.replayed
            print(
                f"{name:<36} seed {seed}  {case.seconds:5.1f} s  steps {same}/{all_steps}  "
                f"residual {case.residual:.1e}  {'; '.join(wrong) or 'as expected'}",
                flush=True,
            )
    print()
    print("\n".join(_lines(score(cases))))
    worst = max(cases, key=lambda c: c.residual)
    print(f"\nlargest residual: {worst.residual:.2e} ({worst.scenario}, seed {worst.seed})")
    if options.json:
        rows = [
            {
                "scenario": c.scenario, "seed": c.seed, "expected": sorted(c.expected), "failed": sorted(c.failed),
                "verdict": c.verdict, "residual": c.residual, "replayed": c.replayed, "seconds": c.seconds,
            }
            for c in cases
        ]  # fmt: skip
        options.json.write_text(json.dumps(rows, indent=1))
    return 0 if all(c.expected == c.failed for c in cases) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Draws the JSON file of `run.py` as the Markdown of `docs/cost.md`. Measures nothing, and needs no Keras."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from benchmarks.measures import MEASURES, Result


def draw(
    document: Mapping[str, Any], only: Collection[str] = tuple(MEASURES), levels: Collection[str] | None = None
) -> str:
    """A table per measure that the file has, under a paragraph that says when, where and of what it was made.

    Args:
        only: the measures that are drawn.
        levels: the levels that are drawn, of measures that have some; None: all.
    """
    runs = document["runs"]
    parts = [_made(document)]
    for name, kind in MEASURES.items():
        found = [run for run in runs if run.get("measure") == name and name in only]
        results = [
            Result(run["backend"], [r for r in run["rows"] if levels is None or r.get("level") in (None, *levels)])
            for run in found
            if run["rows"]
        ]
        failed = [f"{run['backend'] or 'no backend'}: {run['error']}" for run in found if run["error"]]
        if not results and not failed:
            continue
        measure = kind.load()
        parts.append(f"## {measure.TITLE}")
        parts.append(measure.NOTE)
        if results:
            parts.append("\n".join(measure.table(results)))
        parts += [f"Failed: {text}" for text in failed]
    return "\n\n".join(parts) + "\n"


def _made(document: Mapping[str, Any]) -> str:
    made, machine = document["made"], document["machine"]
    memory = machine["memory"]
    where = f"{machine['processor']}, {machine['cores']} cores"
    where += f", {memory / (1 << 30):.0f} GiB, {machine['system']}" if memory else f", {machine['system']}"
    commit = f", commit {made['commit']}" if made["commit"] else ""
    lines = [f"Measured on {made['date'][:10]}{commit}: {where}; load average {_loads(document)}."]
    lines += [f"{backend}: {_versions(run['versions'])}." for backend, run in _first(document["runs"]).items()]
    lines += [f"{run['backend']}: not installed ({run['missing']})." for run in document["runs"] if run.get("missing")]
    if made["quick"]:
        lines.append("Made with `--quick`: shorter fits, fewer levels.")
    return "\n".join(lines)


def _first(runs: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for run in runs:
        if run.get("backend") and run.get("versions"):
            found.setdefault(run["backend"], run)
    return found


def _loads(document: Mapping[str, Any]) -> str:
    """Of one minute, before all, after all, and the highest between."""
    found = [document["load"]["before"], document["load"]["after"]]
    found += [run["load"][at] for run in document["runs"] if run.get("load") for at in ("before", "after")]
    known = [x[0] for x in found if x]
    if not known:
        return "not known"
    before, after = (x[0] if x else "not known" for x in found[:2])
    return f"{before} before, {after} after, {max(known)} at most (the benchmark's own included)"


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())

"""`report` of several traces: a report for each, and an overview of all. One that cannot be read is one line, and the
others go on."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnose.cli.output import Output
from diagnose.cli.workers import executor
from diagnose.errors import DiagnoseError, WorkerError
from diagnose.report.folder import claimed
from diagnose.result.diagnosis import Diagnosis
from diagnose.result.problems import described
from diagnose.result.text import complain
from diagnose.tracefile.remote import shown, stem

OVERVIEW = "overview.json"

Read = Callable[[argparse.Namespace, Path | str], Diagnosis]


@dataclass(frozen=True, slots=True)
class Job:
    """One trace, to be reported by whichever process. `options`: those of the command line that say how; `read` makes a
    diagnosis of them and a trace."""

    trace: Path | str
    options: Mapping[str, Any]
    read: Read

    def __call__(self) -> Done:
        from diagnose.report.terminal import one_line
        from diagnose.report.write import report_files

        try:
            diagnosis = self.read(argparse.Namespace(**self.options), self.trace)
            return Done(report_files([diagnosis]), one_line(diagnosis), _entry(diagnosis))
        except DiagnoseError as error:
            return Done(error=str(error))
        except Exception as error:  # one file that nobody thought of does not stop the others
            return Done(error=f"an error in diagnose itself: {described(error)}")


@dataclass(frozen=True, slots=True)
class Done:
    """`files`: of the report, by name; empty where there is an `error`. `about`: what the overview says of it."""

    files: Mapping[str, bytes] | None = None
    line: str = ""
    about: Mapping[str, Any] | None = None
    error: str | None = None


def report_all(options: argparse.Namespace, output: Output, read: Read) -> int:
    """Returns the exit code: 1 where a trace could not be reported."""
    from diagnose.report.write import write_files, write_whole
    from diagnose.result.text import visible_json
    from diagnose.tracefile.jsontext import to_json

    out: Path = options.out or Path("reports")
    listed, failed = [], 0
    names = folders(options.traces)
    with executor(options) as pool, closing(_done(options, pool, read)) as all_done:
        for trace, name, done in zip(options.traces, names, all_done, strict=True):
            where: Path | None = None
            error = done.error
            if done.files is not None:
                try:
                    same = {"diagnosis.json": done.files["diagnosis.json"]}
                    with claimed(out / name, force=options.force, same=same) as where:
                        write_files(done.files, where)
                except DiagnoseError as cannot:
                    where, error = None, str(cannot)
            spelled = shown(trace) if isinstance(trace, str) else str(trace)
            if error is not None:
                failed += 1
                error = error if isinstance(trace, str) else error.replace(str(trace.absolute()), spelled)
                complain(error if spelled in error else f"{spelled}: {error}")
            elif not output.as_json:
                output.line(f"{where}: {done.line}")
            about = done.about or {}
            listed.append({"trace": spelled, "report": where and str(where), "error": error, **about})
    document = visible_json(to_json({"schema": 1, "traces": listed})) + "\n"
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / OVERVIEW, document.encode())
    except OSError as error:
        raise DiagnoseError(f"{out / OVERVIEW} cannot be written: {error.strerror or error}.") from error
    if output.as_json:
        output.json(document)
    else:
        told = f", {failed} could not be reported" if failed else ""
        output.line(f"\n{len(listed) - failed} of {len(listed)} traces reported{told}: {out / OVERVIEW}")
    return 1 if failed else 0


def _done(options: argparse.Namespace, pool: Any, read: Read) -> Generator[Done, None, None]:
    how = {name: getattr(options, name) for name in ("model", "stored_model", "data", "epochs")}
    jobs = [Job(trace if isinstance(trace, str) else trace.absolute(), how, read) for trace in options.traces]
    if pool is None:
        yield from (job() for job in jobs)
        return
    waiting = [pool.submit(job) for job in jobs]
    try:
        for each in waiting:
            yield each.result()
    except Exception as error:
        raise WorkerError(
            f"Another process that made reports failed: {described(error)}. Without --workers or --dask they are made "
            "in this one."
        ) from error
    finally:
        for each in waiting:
            each.cancel()


def folders(traces: Sequence[Path | str]) -> list[str]:
    """A folder's name for each: that of the trace, with its folder's before it where several are called the same."""
    stems = [stem(trace) for trace in traces]
    found: list[str] = []
    for trace, name in zip(traces, stems, strict=True):
        parent = os.path.basename(os.path.dirname(str(trace)))
        plain = name if stems.count(name) == 1 or not parent else f"{parent}-{name}"
        number, own = 1, plain
        while own in found:
            number += 1
            own = f"{plain}.{number}"
        found.append(own)
    return found


def _entry(diagnosis: Diagnosis) -> dict[str, Any]:
    restoration = diagnosis.restoration
    return {
        "fit": diagnosis.fit,
        "keras": diagnosis.keras,
        "backend": diagnosis.backend,
        "steps": diagnosis.steps_total,
        "headline": diagnosis.headline,
        "verdict": None if restoration is None else restoration.verdict,
        "failed": [{"rule": f.rule, "severity": f.severity} for f in diagnosis.findings if f.status == "failed"],
    }

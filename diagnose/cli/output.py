"""What `run` and `report` have in common at the end: write the reports, print the summary, tell whether there was a mismatch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diagnose.diagnosis import Diagnosis

MISMATCH = 3


def finish(diagnoses: Sequence[Diagnosis], out: Path, *, as_json: bool) -> bool:
    """Writes all reports into `out` and prints a summary (or the JSON). Returns whether a mismatch was found."""
    from diagnose.report import write_reports
    from diagnose.report.json import dumps
    from diagnose.report.terminal import summary

    write_reports(diagnoses, out)
    if as_json:
        print(dumps(diagnoses))
    else:
        for diagnosis in diagnoses:
            print()
            print(summary(diagnosis))
        print(f"\nReport: {out / 'report.html'}")
    return any(is_mismatch(d) for d in diagnoses)


def is_mismatch(diagnosis: Diagnosis) -> bool:
    """Whether a rule failed, or the weights after fit are not those the best logged value belongs to."""
    r = diagnosis.restoration
    return any(f.status == "failed" for f in diagnosis.findings) or (
        r is not None and r.verdict in ("shifted", "no-owner", "replaced")
    )

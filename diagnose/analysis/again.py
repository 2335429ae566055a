"""The rules over a saved trace and what its last diagnosis measured: no model, no replay, no Keras."""

from __future__ import annotations

from pathlib import Path

from diagnose.analysis.analyze import analyse
from diagnose.decide.watched import decisions
from diagnose.errors import UsageError
from diagnose.result.codec import from_dict
from diagnose.result.diagnosis import Diagnosis, Finding
from diagnose.rules import RULES, run_rule, run_rules
from diagnose.rules.facts import Facts
from diagnose.tracefile.damage import no_odd_error
from diagnose.tracefile.reader import Trace, read_trace


def found_again(path: Path, only: str | None = None) -> tuple[Finding, ...]:
    """The findings of all rules, or of one, in the order of a report. What the trace has no diagnosis of counts as not
    measured.

    Raises:
        TraceError: the file is no readable trace.
        DiagnoseError: the diagnosis in it cannot be read.
        UsageError: there is no such rule.
    """
    if only is not None and only not in RULES:
        raise UsageError(f"There is no rule '{only}'. The rules are {', '.join(RULES)}.")
    with read_trace(path) as trace, no_odd_error(path):
        stored = trace.diagnosis()
        facts = facts_of(trace, analyse(trace) if stored is None else from_dict(stored))
        return run_rules(facts) if only is None else (run_rule(only, facts),)


def facts_of(trace: Trace, diagnosis: Diagnosis) -> Facts:
    """What the rules looked at for a diagnosis of this trace."""
    d = diagnosis
    return Facts(trace, decisions(trace), d.restoration, d.ledgers, d.measurements, d.calls)

"""`rules`: applies the rules to a saved trace, without model and replay, to what its last diagnosis measured."""

from __future__ import annotations

import argparse

from diagnose.cli.output import Output
from diagnose.result.diagnosis import Finding
from diagnose.tracefile.remote import located


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trace", type=located, metavar="TRACE", help="a .diag file, or a URL")
    parser.add_argument("--only", metavar="RULE", help="this rule alone, with its evidence and advice")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def execute(options: argparse.Namespace) -> int:
    from diagnose.analysis.again import found_again
    from diagnose.result.codec import findings_list
    from diagnose.result.text import visible_json
    from diagnose.tracefile.jsontext import to_json

    output = Output(as_json=options.json)
    findings = found_again(options.trace, options.only)
    if options.json:
        output.json(visible_json(to_json(findings_list(findings))) + "\n")
    else:
        output.line("\n".join(_text(each, whole=options.only is not None) for each in findings))
    return 0


def _text(finding: Finding, *, whole: bool) -> str:
    lines = [f"[{finding.severity or finding.status}] {finding.rule}: {finding.title}"]
    if whole:
        lines += [f"  {key}: {value}" for key, value in finding.evidence.items()]
        if finding.effect is not None:
            lines.append(f"  effect: {finding.effect:.6g} ({finding.metric})")
        if finding.advice:
            lines += ["", finding.advice]
    return "\n".join(lines)

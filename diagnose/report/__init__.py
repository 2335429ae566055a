"""From a finished Diagnosis to HTML, PNG, JSON and terminal text. Draws only; decides and measures nothing."""

from __future__ import annotations

from diagnose.report.write import write_reports

__all__ = ["write_reports"]

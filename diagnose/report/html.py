"""HTML: one self-contained page for one or several fits, and the short form for notebooks. Places what the view
holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from diagnose.report.figures import ledger_images, timeline_images
from diagnose.report.view import FitView, build
from diagnose.result.diagnosis import Diagnosis
from diagnose.result.problems import Problems
from diagnose.result.text import complain, printable

if TYPE_CHECKING:
    import jinja2


Images = tuple[bytes | None, str | None]
"""PNG and inline SVG of one figure."""

NOTHING: Images = (None, None)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One fit's view with its figures; a figure that has nothing to show is None."""

    view: FitView
    timeline_png: bytes | None
    timeline_svg: str | None
    ledger_png: bytes | None
    ledger_svg: str | None


def draw(diagnosis: Diagnosis, index: int = 0) -> Drawn:
    """View and figures of one fit; a figure that cannot be drawn is None, and said. `index` keeps the ids of several
    fits on one page apart."""
    view = build(diagnosis)
    problems = Problems()

    def drawn(what: str, draw: Callable[[], Images]) -> Images:
        return problems.attempt(f"drawing the {what}", NOTHING, draw)

    timeline, ledger = view.timeline, view.ledgers
    of_timeline = drawn("timeline", lambda: timeline_images(timeline, f"{index}-timeline") if timeline else NOTHING)
    of_ledger = drawn("ledger", lambda: ledger_images(ledger, f"{index}-ledger") if ledger else NOTHING)
    for text in problems.all:
        complain(f"fit {diagnosis.fit}: {text}")
    if problems.all:
        # A figure that is not there must not look like one that had nothing to show.
        view = replace(view, notice=" ".join((*filter(None, [view.notice]), *map(_sentence, problems.all))))
    return Drawn(view, *of_timeline, *of_ledger)


def _sentence(problem: str) -> str:
    return printable(f"A figure is missing: {problem}.")


def page(fits: Sequence[Drawn]) -> str:
    """The whole page."""
    return _environment().get_template("report.html.j2").render(fits=fits)


def render(diagnoses: Sequence[Diagnosis]) -> str:
    """The whole page for these diagnoses."""
    return page([draw(diagnosis, index) for index, diagnosis in enumerate(diagnoses)])


def notebook(diagnosis: Diagnosis) -> str:
    """Headline, findings and figures in one element whose style reaches nothing else on the page."""
    return _environment().get_template("notebook.html.j2").render(fit=draw(diagnosis, 0))


@cache
def _environment() -> jinja2.Environment:
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("diagnose.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The only values that are not escaped: our own drawings, whose text Matplotlib has escaped.
    environment.filters["drawing"] = Markup
    return environment

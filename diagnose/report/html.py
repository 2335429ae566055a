"""HTML: one self-contained page for one or several fits, and the short form for notebooks. Places what the view
holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from diagnose.report import page_texts
from diagnose.report.figures import ledger_images, timeline_images
from diagnose.report.view import FitView, build
from diagnose.result.diagnosis import Diagnosis
from diagnose.result.problems import Problems
from diagnose.result.text import complain, printable
from diagnose.result.texts import LANGUAGE, Text, Texts, filled, speaking, spoken

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup


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
    return printable(page_texts.MISSING_FIGURE.say(problem=problem))


def page(fits: Sequence[Drawn]) -> str:
    """The whole page."""
    return _environment().get_template("report.html.j2").render(fits=fits, language=LANGUAGE.say())


def render(diagnoses: Sequence[Diagnosis], texts: Texts | None = None) -> str:
    """The whole page for these diagnoses."""
    with speaking(texts):
        return page([draw(diagnosis, index) for index, diagnosis in enumerate(diagnoses)])


def notebook(diagnosis: Diagnosis, texts: Texts | None = None) -> str:
    """Headline, findings and figures in one element whose style reaches nothing else on the page."""
    with speaking(texts):
        return _environment().get_template("notebook.html.j2").render(fit=draw(diagnosis, 0))


def _say(text: Text, **params: object) -> Markup:
    """A sentence of the page in the language being spoken, escaped but for the parts that the page's macros made."""
    from markupsafe import Markup, escape

    return Markup("").join(map(escape, filled(text, params, spoken())))


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
    environment.globals |= {"say": _say, "t": page_texts}
    return environment

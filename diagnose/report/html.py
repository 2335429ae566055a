"""HTML: one self-contained page for one or several fits, and the short form for notebooks. Places what the view
holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from diagnose.diagnosis import Diagnosis
from diagnose.report.figures import ledger_images, timeline_images
from diagnose.report.view import FitView, build

if TYPE_CHECKING:
    import jinja2


@dataclass(frozen=True, slots=True)
class Drawn:
    """One fit's view with its figures; a figure that has nothing to show is None."""

    view: FitView
    timeline_png: bytes | None
    timeline_svg: str | None
    ledger_png: bytes | None
    ledger_svg: str | None


def draw(diagnosis: Diagnosis, index: int = 0) -> Drawn:
    """View and figures of one fit. `index` keeps the ids of several fits on one page apart."""
    view = build(diagnosis)
    none: tuple[bytes | None, str | None] = (None, None)
    timeline = none if view.timeline is None else timeline_images(view.timeline, f"{index}-timeline")
    ledger = ledger_images(view.ledgers, f"{index}-ledger") if view.ledgers else none
    return Drawn(view, timeline[0], timeline[1], ledger[0], ledger[1])


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

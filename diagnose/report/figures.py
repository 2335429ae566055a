"""Figures as PNG bytes and inline SVG text, drawn from view data with Matplotlib's object API. Touches no pyplot state.

In inline SVG each colour becomes a CSS variable of the page, so that one drawing serves the light and the dark scheme;
text stays text, in the page's font.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from diagnose.report.palette import PALETTE
from diagnose.result.text import printable
from diagnose.result.texts import Text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from diagnose.report.ledger_view import LedgerView
    from diagnose.report.timeline import TimelineView

TIMELINE = Text("figure.timeline", "Timeline of {metric}. {caption}")
LEDGER = Text("figure.ledger", "Ledger: {titles:clauses}")

_DPI = 160

_TAG = re.compile(r"<[^<>]*>")
_COLOURS = {value: f"var(--dg-{name}, {value})" for name, value in PALETTE.items()}


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's defaults with ours on top, whatever the user's style is; theirs is back afterwards."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "font.size": 9.0,
                "font.family": "sans-serif",
                "font.sans-serif": ["DejaVu Sans"],
                "text.color": PALETTE["ink"],
                "text.parse_math": False,
                "axes.edgecolor": PALETTE["line"],
                "axes.facecolor": "none",
                "figure.facecolor": PALETTE["paper"],
                "xtick.color": PALETTE["line"],
                "ytick.color": PALETTE["line"],
                "xtick.labelcolor": PALETTE["muted"],
                "ytick.labelcolor": PALETTE["muted"],
                "svg.fonttype": "none",
                "svg.image_inline": True,
                "path.simplify": True,
            }
        )
        yield


def timeline_images(view: TimelineView, name: str) -> tuple[bytes, str]:
    """The two-clock timeline as (PNG, inline SVG). `name` keeps the SVG's ids apart from those of other figures on a
    page."""
    from diagnose.report.draw_timeline import draw_timeline

    return _images(lambda: draw_timeline(view), name, TIMELINE.say(metric=view.metric, caption=view.caption))


def ledger_images(views: Sequence[LedgerView], name: str) -> tuple[bytes, str]:
    """The waterfalls of `views` (at least one), one above the other, as (PNG, inline SVG)."""
    from diagnose.report.draw_ledger import draw_ledgers

    return _images(lambda: draw_ledgers(views), name, LEDGER.say(titles=[view.title for view in views]))


def _images(draw: Callable[[], Figure], name: str, label: str) -> tuple[bytes, str]:
    import matplotlib

    with _style(), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes in the PNG; the SVG uses the reader's fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = draw()
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": "diagnose"})
        matplotlib.rcParams["svg.hashsalt"] = name
        svg = io.StringIO()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(svg, format="svg", transparent=True, metadata=metadata)
    return png.getvalue(), inline_svg(svg.getvalue(), label)


def inline_svg(document: str, label: str) -> str:
    """Matplotlib's SVG document as an element for an HTML page: no prolog, no style sheet, no ids that could clash,
    colours as variables."""
    from markupsafe import escape

    body = document[document.index("<svg") :]
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"<(metadata|style)\b.*?</\1>", "", body, flags=re.DOTALL)
    body = _TAG.sub(_tag, body)
    body = re.sub(r"<defs>\s*</defs>", "", body)
    body = re.sub(r"\n\s*", "\n", body).strip()
    view_box = re.search(r'viewBox="[\d. ]+"', body)
    opening = (
        f'<svg class="dg-svg" {view_box.group(0) if view_box else ""} role="img" '
        f'aria-label="{escape(printable(label))}" '
        'style="stroke-linejoin: round; stroke-linecap: butt">'
    )
    return opening + body[body.index(">") + 1 :]


def _tag(match: re.Match[str]) -> str:
    """One tag. Only tags are changed: text between them may hold anything a user named."""
    tag = match.group(0)
    tag = re.sub(r'^<g id="[^"]*"', "<g", tag).replace("xlink:href=", "href=")
    tag = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", tag)
    tag = re.sub(r"font: (bold|700) ([\d.]+px) [^;\"]*", r"font-weight: bold; font-size: \2", tag)
    return re.sub(r"#[0-9a-f]{6}\b", lambda colour: _COLOURS.get(colour.group(0), colour.group(0)), tag)

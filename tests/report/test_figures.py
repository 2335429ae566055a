"""Figures exist, decode, have a sane size, and leave Matplotlib as it was. What they show is tested on the view."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from diagnose.report.figures import ledger_images, timeline_images
from diagnose.report.palette import PALETTE
from diagnose.report.view import build
from tests.report import examples

CASES = [name for name in examples.ALL if name != "empty"]


def pixels(png: bytes) -> np.ndarray:
    from matplotlib.image import imread

    image: np.ndarray = imread(io.BytesIO(png))
    return image


@pytest.mark.parametrize("name", CASES)
def test_figures(name: str) -> None:
    view = build(examples.ALL[name]())
    assert view.timeline is not None
    images = [timeline_images(view.timeline, "a")]
    if view.ledgers:
        images.append(ledger_images(view.ledgers, "b"))
    for png, svg in images:
        image = pixels(png)
        assert image.shape[1] == 1600 and 200 <= image.shape[0] <= 2400  # 220: a ledger that has no gap to take apart
        assert image[..., :3].std() > 0.03  # something is drawn
        # Nothing runs off the edges.
        edge = np.concatenate([image[:, :4, :3].reshape(-1, 3), image[:, -4:, :3].reshape(-1, 3)])
        assert np.ptp(edge, axis=0).max() < 0.02
        assert svg.startswith("<svg ") and svg.rstrip().endswith("</svg>")
        assert len(svg) < 150_000


def test_the_svg_takes_its_colours_from_the_page_and_brings_no_style() -> None:
    view = build(examples.single_batch())
    assert view.timeline is not None
    _, svg = timeline_images(view.timeline, "a")
    tags = "".join(re.findall(r"<[^<>]*>", svg))
    assert "<style" not in svg and "<metadata" not in svg and "http" not in svg
    for colour in PALETTE.values():
        assert not re.search(rf"(?<!, ){colour}", tags), colour
    assert "var(--dg-logged, " in svg
    assert ">33.216<" in re.sub(r"\s", "", svg)


def test_ids_of_two_figures_do_not_clash() -> None:
    view = build(examples.single_batch())
    assert view.timeline is not None
    first, second = (set(re.findall(r' id="([^"]*)"', timeline_images(view.timeline, name)[1])) for name in "ab")
    assert first and not first & second


def test_names_are_escaped_and_no_mathematics() -> None:
    base = examples.single_batch()
    name = "</text><script>$\\frac{1}{0}$ #1c2128 href="
    rows = tuple(replace(row, logged={name: 1.0 / row.epoch}, reevaluated={}) for row in base.epoch_rows)
    view = build(replace(base, epoch_rows=rows, restoration=None, ledgers=(), findings=(), replay=None, step_rows=()))
    assert view.timeline is not None and view.timeline.metric == name
    _, svg = timeline_images(view.timeline, "a")
    assert "<script" not in svg
    assert "&lt;/text&gt;&lt;script&gt;$\\frac{1}{0}$ #1c2128 href=" in svg


def test_the_users_matplotlib_is_left_alone() -> None:
    code = """
import matplotlib
matplotlib.rcParams.update({"font.size": 31.0, "axes.grid": True, "svg.fonttype": "path", "lines.linewidth": 9.0})
read = lambda: {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}
before = read()
from diagnose.report.figures import timeline_images
from diagnose.report.view import build
from tests.report import examples
view = build(examples.single_batch())
one = timeline_images(view.timeline, "a")
assert read() == before
import sys
assert "matplotlib.pyplot" not in sys.modules
matplotlib.rcdefaults()
assert timeline_images(view.timeline, "a") == one
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("scale", [1e308, 1e-308, -1e308, 0.0])
def test_extreme_values_are_drawn(scale: float) -> None:
    base = examples.single_batch()
    rows = tuple(
        replace(row, logged={"loss": scale * row.epoch / 8}, reevaluated={"loss": -scale}) for row in base.epoch_rows
    )
    ledgers = tuple(replace(x, logged=scale, evaluated=-scale, gap=-scale, residual=scale) for x in base.ledgers)
    view = build(replace(base, epoch_rows=rows, ledgers=ledgers))
    assert view.timeline is not None
    for png, _ in (timeline_images(view.timeline, "a"), ledger_images(view.ledgers, "b")):
        assert pixels(png).shape[1] == 1600

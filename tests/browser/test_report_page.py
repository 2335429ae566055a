"""`report.html` in a real browser: opened from disk, without network, on a desk and on a telephone."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import devtools
from tests.cli.command import fits
from tests.conftest import Pair, Traced

pytestmark = pytest.mark.browser

DESK, TELEPHONE = (1280, 900), (400, 800)

# Elements that stick out to the right of the window, outside boxes that scroll by themselves.
STICKING_OUT = """
(() => {
  const scrolls = (e) => {
    for (let p = e.parentElement; p; p = p.parentElement) {
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(p).overflowX) && p !== document.body) return true;
    }
    return false;
  };
  return [...document.body.querySelectorAll("*")]
    .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5 && !scrolls(e))
    .map((e) => e.outerHTML.slice(0, 120));
})()
"""


@pytest.fixture(scope="module")
def page(scratch: Callable[[str], Path]) -> Iterator[devtools.Page]:
    if devtools.program() is None:
        assert os.environ.get("CI") != "true", "CI needs a Chromium"
        pytest.skip("no Chromium here")
    with devtools.chromium(scratch("browser") / "profile") as tab:
        yield tab


@pytest.fixture(scope="module", params=["one fit", "two fits"])
def report(request: pytest.FixtureRequest, shipped: dict[str, Traced], two_fits: Pair) -> Path:
    return (shipped["single_batch"] if request.param == "one fit" else two_fits.traced).out / "report.html"


def plain(sentence: str) -> str:
    """A sentence of the JSON as a page shows it: without the marks of code."""
    return re.sub(r"\s+", " ", sentence.replace("`", "")).strip()


@pytest.mark.parametrize("window", [DESK, TELEPHONE], ids=["desk", "telephone"])
def test_opens_without_network_complaint_or_overflow(
    window: tuple[int, int], report: Path, page: devtools.Page, tmp_path: Path
) -> None:
    page.open(report, *window)
    width, height = page.value("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert page.value("innerWidth") == window[0]
    assert page.value(STICKING_OUT) == []
    assert width <= window[0]
    assert height > 2 * window[1]  # there is a report
    assert page.problems == []
    assert [url for url in page.requests if not url.startswith("data:")] == [report.as_uri()]
    page.screenshot(tmp_path / "shot.png")
    assert_drawn(tmp_path / "shot.png", window)


def test_these_checks_notice_a_bad_page(page: devtools.Page, shipped: dict[str, Traced], tmp_path: Path) -> None:
    good = (shipped["single_batch"].out / "report.html").read_text("utf-8")
    bad = tmp_path / "bad.html"
    bad.write_text(
        good.replace("</body>", '<div style="width: 900px">wide</div><img src="http://192.0.2.1/a.png"></body>'),
        "utf-8",
    )
    page.open(bad, *TELEPHONE)
    (wide,) = page.value(STICKING_OUT)
    assert "wide" in wide
    assert any("192.0.2.1" in str(problem) for problem in page.problems)


def assert_drawn(path: Path, window: tuple[int, int]) -> None:
    from matplotlib.image import imread

    pixels = imread(path)
    assert pixels.shape[:2] == (window[1], window[0])
    assert pixels[..., :3].std() > 0.02  # not one colour


def test_first_line_is_the_verdict_with_its_numbers(page: devtools.Page, shipped: dict[str, Traced]) -> None:
    out = shipped["single_batch"].out
    page.open(out / "report.html", *DESK)
    (fit,) = fits(out)
    first = page.value("document.body.innerText").strip().splitlines()[0]
    assert plain(first) == plain(fit["headline"])
    restoration = fit["restoration"]
    for number in (restoration["best_logged"], restoration["restored_value"]):
        assert f"{number:.6g}" in first
    top = page.value("document.querySelector('h1').getBoundingClientRect().top")
    assert 0 <= top < 100


def test_two_fits_begin_with_both_verdicts_that_lead_to_them(page: devtools.Page, two_fits: Pair) -> None:
    page.open(two_fits.traced.out / "report.html", *DESK)
    links = page.value("[...document.querySelectorAll('nav a')].map((a) => [a.innerText, a.getAttribute('href')])")
    headlines = [plain(fit["headline"]) for fit in fits(two_fits.traced.out)]
    assert [plain(text) for text, _ in links] == headlines
    for number, (_, target) in enumerate(links, start=1):
        heading = page.value(f"document.querySelector({target!r}).querySelector('h1').innerText")
        assert plain(heading) == headlines[number - 1]


def test_figures_have_a_size_and_their_text_can_be_read(page: devtools.Page, report: Path) -> None:
    page.open(report, *DESK)
    figures: list[dict[str, Any]] = page.value(
        "[...document.querySelectorAll('svg')].map((e) => ({width: e.getBoundingClientRect().width,"
        " height: e.getBoundingClientRect().height, parts: e.querySelectorAll('path, text').length}))"
    )
    assert len(figures) >= 2
    assert all(f["width"] > 300 and f["height"] > 80 and f["parts"] > 10 for f in figures)


def test_tables_show_what_the_json_says(page: devtools.Page, shipped: dict[str, Traced]) -> None:
    out = shipped["single_batch"].out
    page.open(out / "report.html", *DESK)
    (fit,) = fits(out)
    page.value("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    text = page.value("document.body.innerText")
    for finding in fit["findings"]:
        assert finding["rule"] in text
    for epoch in fit["epochs"]:
        assert f"{epoch['logged']['loss']:.5g}" in text
    assert re.search(rf"{fit['steps']} steps", text)

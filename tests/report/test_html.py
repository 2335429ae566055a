"""The page: one file, nothing fetched, everything a user can name escaped, sections in order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from diagnose.report import html
from tests.report import examples

FETCHING = {"src", "href", "srcset", "action", "data", "poster", "background", "xlink:href"}
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that elements nest."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.codes: list[str] = []
        self.stack: list[str] = []
        self.feed(source)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "pre":
            self.codes.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack[-1] == tag, (tag, self.stack)
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        if "style" in self.stack:
            assert "url(" not in data and "@import" not in data
            return
        self.text.append(data)
        if "pre" in self.stack:
            self.codes[-1] += data


def words(page: Page) -> str:
    return re.sub(r"\s+", " ", "".join(page.text))


@pytest.mark.parametrize("name", list(examples.ALL))
def test_the_page_is_one_file_that_fetches_and_runs_nothing(name: str) -> None:
    source = html.render([examples.ALL[name]()])
    assert source.startswith("<!DOCTYPE html>")
    page = Page(source)
    assert not {"script", "iframe", "object", "embed", "img", "link", "base", "form"} & set(page.tags)
    for tag, attribute, value in page.attributes:
        assert not attribute.startswith("on"), (tag, attribute)
        if attribute in FETCHING:
            assert value.startswith("#"), (tag, attribute, value)
        if attribute == "style":
            assert not re.search(r"url\((?!#)", value), value
    assert len(source.encode()) < 600_000


def test_sections_stand_in_order() -> None:
    text = words(Page(html.render([examples.interrupted()])))
    order = [
        "Read this first.",
        "Training was interrupted in epoch 4",
        "Which weights each value was computed with",
        "From logged to evaluated",
        "Epochs",
        "Restoration: EarlyStopping on loss",
        "Findings",
        "Evidence",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_the_headline_is_the_first_line() -> None:
    body = html.render([examples.single_batch()]).partition("<body")[2]
    text = words(Page("<body" + body.replace("</body>", "").replace("</html>", "") + "</body>")).strip()
    assert text.startswith("EarlyStopping restored version 6, whose loss is 38.882, not the 33.216 logged for epoch 6")


def test_findings_of_each_status_have_their_word_and_class() -> None:
    source = html.render([examples.single_batch()])
    for status, mark in (
        ("failed dg-wrong", "✕ Wrong"),
        ("not-applicable", "– Not applicable"),
        ("passed", "✓ Passed"),
    ):
        section = source.partition(f'class="dg-finding dg-{status}"')[2]
        assert section and mark in section[:200]
    assert source.index("dg-finding dg-failed") < source.index("dg-finding dg-passed")
    assert source.index("dg-finding dg-passed") < source.index("dg-finding dg-not-applicable")


def test_severity_decides_the_colour_of_a_finding() -> None:
    """A notable one has the calm class after the loud one, whose rule for the colour comes later in the style."""
    base = examples.single_batch()
    calm = tuple(replace(f, severity="notable") if f.status == "failed" else f for f in base.findings)
    loud, quiet = html.render([base]), html.render([replace(base, findings=calm)])
    assert 'class="dg-finding dg-failed dg-wrong"' in loud and 'class="dg-finding dg-failed dg-notable"' not in loud
    assert 'class="dg-finding dg-failed dg-notable"' in quiet and 'dg-badge dg-bad"' not in quiet
    assert loud.index(".dg-finding.dg-failed {") < loud.index(".dg-finding.dg-notable {")


def test_code_of_an_advice_can_be_pasted() -> None:
    (code,) = Page(html.render([examples.single_batch()])).codes
    compile(code.replace("x, y,", "x=1, y=2,"), "<advice>", "exec")
    assert 'monitor="val_loss"' in code


def test_full_precision_is_in_the_titles() -> None:
    titles = [v for _, a, v in Page(html.render([examples.single_batch()])).attributes if a == "title"]
    assert "33.2164" in titles and "38.88181" in titles


def test_hostile_names_are_text() -> None:
    source = html.render([examples.hostile()])
    page = Page(source)
    assert "<script" not in source and "\x1b" not in source and "\u202e" not in source
    assert "<script>alert(1)</script>" in words(page)
    assert "<script>alert(1)</script>" in page.codes[0]


def test_values_that_are_not_finite_are_named() -> None:
    cells = re.findall(r"<td>(?:<span[^>]*>)?([^<]*)", html.render([examples.not_finite()]))
    assert "NaN" in cells and "inf" in cells
    assert "nan" not in cells and "0" in cells  # 0 is the version of the first epoch, never a value
    assert cells.count("0") == 1


def test_several_fits_share_a_page() -> None:
    source = html.render([examples.single_batch(), examples.aligned(), examples.empty()])
    page = Page(source)
    targets = {value[1:] for _, name, value in page.attributes if name == "href"}
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert {"fit-1", "fit-2", "fit-3"} <= set(ids) and targets <= set(ids)
    assert len(ids) == len(set(ids))
    assert words(page).count("Evidence") >= 3


def test_a_page_without_fits_says_so() -> None:
    assert "0 fits" in words(Page(html.render([])))


def test_the_notebook_form_keeps_to_itself() -> None:
    source = examples.single_batch()._repr_html_()
    page = Page(source)
    assert page.tags[0] == "div" and not {"html", "body", "script"} & set(page.tags)
    style = re.sub(r"/\*.*?\*/", "", source.partition("<style>")[2].partition("</style>")[0], flags=re.DOTALL)
    style = re.sub(r"@media[^{]*\{", "", style)
    selectors = [one.strip() for rule in re.findall(r"([^{}]+)\{", style) for one in rule.split(",")]
    assert selectors and all(one.startswith(".dg-") for one in selectors), selectors
    text = words(page)
    assert "EarlyStopping restored version 6" in text and "one-step-epoch" in text
    assert page.tags.count("svg") == 2


def browser() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.browser
def test_a_browser_shows_the_page_and_runs_no_script(tmp_path: Path) -> None:
    program = browser()
    if program is None:
        assert os.environ.get("CI") != "true", "CI needs a Chromium"
        pytest.skip("no Chromium here")
    page, shot = tmp_path / "report.html", tmp_path / "shot.png"
    examples.hostile().to_html(page)
    subprocess.run(
        [program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--hide-scrollbars",
         "--window-size=1000,1600", f"--screenshot={shot}", page.as_uri()],
        check=True, timeout=60, capture_output=True,
    )  # fmt: skip
    from matplotlib.image import imread

    image = imread(shot)
    assert image.shape[:2] == (1600, 1000)
    assert image[..., :3].std() > 0.05

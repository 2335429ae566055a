"""Every sentence of ours has an id: a report in a made-up language holds no English of ours, in terminal and page."""

from __future__ import annotations

import ast
import json
import re
import string
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from benchmarks.corpus import run_case
from diagnose.cli.catalogue import find
from diagnose.report import html, terminal
from diagnose.report.json import dumps, loads
from diagnose.report.policies_view import build_policies, lines
from diagnose.result.diagnosis import Diagnosis
from diagnose.result.texts import Texts, options, speaking
from diagnose.rules import RULES
from tools.texts import everything, fields, wrong

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [path for path in sorted((ROOT / "diagnose").rglob("*.py")) if "Text(" in path.read_text("utf-8")]
TEMPLATES = "".join(path.read_text("utf-8") for path in sorted((ROOT / "diagnose").rglob("*.j2")))

LETTERS = str.maketrans(
    {chr(ord(first) + i): chr(start + i) for first, start in (("a", 0x430), ("A", 0x410)) for i in range(26)}
)
"""Other letters for ours: what is left of a to z is not from a text with an id."""


def made_up(template: str) -> str:
    """The template in other letters, and in the opposite order."""
    parts = []
    for literal, name, form, _ in string.Formatter().parse(template):
        parts.append(literal.translate(LETTERS))
        if name is not None:
            parts.append(f"{{{name}:{made_up_form(form)}}}" if form else f"{{{name}}}")
    return "".join(reversed(parts))


def made_up_form(form: str) -> str:
    kind = form.partition("(")[0]
    chosen = []
    for option in options(form):
        key, sign, text = option.partition("=") if kind == "select" else ("", "", option)
        chosen.append(f"{key}={made_up(text)}" if sign else made_up(option))
    return f"{kind}({'|'.join(chosen)})" if chosen else form


@cache
def language() -> Texts:
    kept = {"plural": "n != 1", "language": "qps"}
    return Texts({name: made_up(template) for name, template in everything().items()} | kept)


class Seen(HTMLParser):
    """What a page shows, without code and without the values of evidence, which are data."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("style", "pre", "dd"):
            self._open.append(tag)
        self.texts += [value or "" for name, value in attrs if name == "aria-label"]

    def handle_endtag(self, tag: str) -> None:
        if self._open and tag == self._open[-1]:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self._open:
            self.texts.append(data)


def names_of_the_users(scenario: str, diagnosis: Diagnosis) -> set[str]:
    """What stands in a report and is no text of ours: names in the script, of the model, of libraries, and ids."""
    tree = ast.parse(find(scenario).read_text("utf-8"))
    code = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    code += [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    code += [node.name for node in ast.walk(tree) if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    code += [node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg]
    shown = [scenario, diagnosis.backend, *diagnosis.environment, *diagnosis.environment.values(), *RULES]
    shown += [str(part) for layer in diagnosis.model["layers"] for part in layer.values()]
    shown += [str(diagnosis.model["name"]), str(diagnosis.trace["path"])]
    logged = [name for row in diagnosis.epoch_rows for name in row.logged]
    return {word for text in (*code, *shown, *logged) for word in re.findall("[A-Za-z]+", text)} | {"NaN", "inf"}


def foreign(text: str, known: set[str]) -> set[str]:
    """Words of three letters and more that are neither known nor cut off from one that is."""
    found = set(re.findall("[A-Za-z]{3,}", text))
    return {word for word in found if not any(name.startswith(word) or word in name for name in known)}


@pytest.mark.parametrize("scenario", ["single_batch", "ema_order_a"])
def test_a_report_in_another_language_holds_no_english(scenario: str) -> None:
    (diagnosis,) = run_case(scenario).diagnoses[-1:]
    known = names_of_the_users(scenario, diagnosis)
    (read,) = loads(dumps([diagnosis]))
    for one in (diagnosis, read):
        page = Seen()
        page.feed(html.render([one], language()))
        seen = {part: foreign(part, known) for part in page.texts}
        seen |= {part: foreign(part, known) for part in terminal.summary(one, language()).splitlines()}
        seen |= {"one line": foreign(terminal.one_line(one, language()), known)}
        if one.policies is not None:
            with speaking(language()):
                seen |= {part: foreign(part, known) for part in lines(build_policies(one.policies))}
        assert {part: words for part, words in seen.items() if words} == {}
        assert '<html lang="qps">' in html.render([one], language())
    # And what another language was spoken in leaves nothing behind.
    assert html.render([diagnosis]) == html.render([read])


def texts_by_name() -> dict[Path, dict[str, str]]:
    """File → name in it → id, of all texts that modules give a name."""
    found: dict[Path, dict[str, str]] = {}
    for path in SOURCES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and is_text(node.value):
                assert isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Call)
                name = node.value.args[0]
                assert isinstance(name, ast.Constant), f"{path}: an id is a literal"
                found.setdefault(path, {})[node.targets[0].id] = str(name.value)
    return found


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Text"


def uses() -> Iterator[tuple[str, set[str] | None]]:
    """(id, the parameters given) of each use of a text; None where it is not seen which."""
    own = texts_by_name()
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): names for path, names in own.items()}
    for path in sorted((ROOT / "diagnose").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        here = dict(own.get(path, {}))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                there = modules.get(node.module or "", {})
                here |= {a.asname or a.name: there[a.name] for a in node.names if a.name in there}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func
                if isinstance(called, ast.Attribute) and called.attr == "say":
                    called = called.value
                if isinstance(called, ast.Name) and called.id in here:
                    names = [keyword.arg for keyword in node.keywords]
                    yield here[called.id], None if None in names else {name for name in names if name}
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in here:
                yield here[node.id], None
    page = own[ROOT / "diagnose" / "report" / "page_texts.py"]
    around = TEMPLATES + (ROOT / "diagnose" / "report" / "html.py").read_text("utf-8").replace("page_texts.", "t.")
    yield from ((page[name], None) for name in re.findall(r"\bt\.([A-Z_]+)", around))


def test_no_rule_says_anything_without_an_id() -> None:
    said = []
    for path in sorted((ROOT / "diagnose" / "rules").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = {"not_applicable": 1, "Finding": 2}.get(node.func.id, len(node.args))
                said += [(path.name, ast.unparse(x)) for x in node.args[place : place + 1] if is_literal(x)]
    assert said == []


def is_literal(node: ast.AST) -> bool:
    return isinstance(node, (ast.JoinedStr, ast.Constant))


def test_every_text_is_used() -> None:
    used = {name for name, _ in uses()} | {"plural", "language"}
    named = {name for names in texts_by_name().values() for name in names.values()}
    assert sorted(named - used) == []
    # Those without a name of their own stand in tables.
    assert {n.split(".")[0] for n in set(everything()) - named} <= {"evidence-name", "policies", "test"}


def test_every_parameter_is_given() -> None:
    """Where the call shows which: what a template names at its top, always; what stands in one of several forms, by
    some call; and nothing that it does not name."""
    known, ever = everything(), defaultdict[str, set[str]](set)
    calls: list[tuple[str, set[str]]] = []
    hidden = set()
    for name, given in uses():
        if given is None:
            hidden.add(name)
        else:
            calls.append((name, given))
            ever[name] |= given
    lacking = {
        name: sorted(missing)
        for name, given in calls
        if (missing := {field for _, field, _, _ in string.Formatter().parse(known[name]) if field} - given)
    }
    too_much = {name: sorted(more) for name, given in calls if (more := given - fields(known[name]))}
    never = {
        name: sorted(missing)
        for name, given in ever.items()
        if name not in hidden and (missing := fields(known[name]) - given)
    }
    assert (lacking, too_much, never) == ({}, {}, {})


def test_the_tool_says_what_a_language_lacks(tmp_path: Path) -> None:
    path = tmp_path / "xx.json"
    there: dict[str, Any] = dict(language().templates)
    path.write_text(json.dumps(there), "utf-8")
    assert wrong(path) == []
    del there["no-epoch"]
    there |= {"no-such-text": "x", "not-replayed": "{metric} {wrong}"}
    path.write_text(json.dumps(there), "utf-8")
    assert wrong(path) == ["lacks no-epoch", "no-such-text is no text of ours", "not-replayed has no {wrong}"]

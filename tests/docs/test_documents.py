"""What the README and the pages under docs/ say can be done is done here, word for word."""

from __future__ import annotations

import argparse
import importlib
import json
import re
from pathlib import Path

import pytest

from diagnose.cli import COMMANDS
from diagnose.rules import RULES
from tests.cli.command import ROOT, start

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = [path for path in DOCUMENTS if re.search(r"^```(python|bash)$", path.read_text(encoding="utf-8"), re.M)]


@pytest.mark.slow
@pytest.mark.parametrize("document", RUN, ids=lambda path: path.name)
def test_every_snippet_and_command_runs(document: Path, tmp_path: Path) -> None:
    script = Path(__file__).with_name("scripts") / "snippets.py"
    done = start(str(script), str(document), cwd=tmp_path).done()
    assert done.code == 0, done.stderr
    ran = json.loads(done.stdout.splitlines()[-1])
    assert ran and [each for each in ran if not each[1]] == []


def links() -> list[tuple[Path, str]]:
    """The links of all documents that lead into this repository."""
    return [
        (document, target)
        for document in [*DOCUMENTS, ROOT / "CONTRIBUTING.md"]
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
        if "://" not in target
    ]


@pytest.mark.parametrize(("document", "target"), links(), ids=lambda value: getattr(value, "name", value))
def test_every_link_leads_somewhere(document: Path, target: str) -> None:
    name, _, place = target.partition("#")
    path = document if not name else document.parent / name
    assert path.exists()
    if place:
        titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
        assert place in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def test_every_rule_is_told_once() -> None:
    told = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "rules.md").read_text(encoding="utf-8"), re.M)
    assert sorted(told) == sorted(RULES)


def synopsis() -> dict[str, str]:
    """The README's lines of each verb."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^python -m diagnose (\w+)((?:.*\n)(?: +.*\n)*)", text, re.M)
    return {verb: rest for verb, rest in found if (verb in COMMANDS and "SCRIPT.py" in rest) or verb != "run"}


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_synopsis_has_every_option_and_no_other(verb: str) -> None:
    parser = argparse.ArgumentParser()
    importlib.import_module(COMMANDS[verb][0]).add_arguments(parser)
    taken = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
    assert set(re.findall(r"--[a-z-]+", synopsis()[verb])) == taken - {"--help"}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 1500

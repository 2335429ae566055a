"""Sentences with ids: how templates are filled, in which language, and what JSON keeps of them."""

from __future__ import annotations

import copy
import json
import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diagnose.errors import DiagnoseError
from diagnose.report.json import dumps, loads
from diagnose.result.diagnosis import Diagnosis, Finding
from diagnose.result.texts import Said, Text, Texts, pieces, read_texts, render, say, sentences, speaking

GAP = Text("test.gap", "{metric} is {value:number}{epoch:given( in epoch {epoch})}.")
BOTH = Text("test.both", "{who} saw {what:and}: {inner}")


def filled(template: str, texts: Texts | None = None, **params: Any) -> str:
    return "".join(pieces(template, params, texts))


@pytest.mark.parametrize(
    ("template", "params", "expected"),
    [
        ("{x:number}", {"x": 1 / 3}, "0.333333"),
        ("{x:number}", {"x": math.nan}, "NaN"),
        ("{x:number}", {"x": None}, "?"),
        ("{x:signed} {y:signed}", {"x": 2.0, "y": -2.0}, "+2 -2"),
        ("{x:.0%} {n:,}", {"x": 0.5, "n": 1234}, "50% 1,234"),
        ("{n:plural(# epoch|# epochs)}", {"n": 1}, "1 epoch"),
        ("{n:plural(# epoch|# epochs)}", {"n": 1000}, "1000 epochs"),
        ("{n:plural(## epoch|## epochs)}", {"n": 1000}, "1,000 epochs"),
        ("{x:given(a {x}|none)}", {"x": 0}, "a 0"),
        ("{x:given(a {x}|none)}", {"x": None}, "none"),
        ("{x:given(a {x})}!", {"x": []}, "!"),
        ("{x:given(|not)} {y:given(yes)}", {"x": True, "y": True}, " yes"),
        ("{k:select(min=lowest|max=highest {m})}", {"k": "max", "m": "loss"}, "highest loss"),
        ("{k:select(min=lowest|other {k})}", {"k": "max"}, "other max"),
        ("{k:select(a={x:given((one|two)|three)}|b=four)}", {"k": "a", "x": None}, "two)"),
        ("{names:list}; {names:and}; {names:or}", {"names": ["a", "b", "c"]}, "a, b, c; a, b and c; a, b or c"),
        ("{names:quoted}", {"names": ["a", "b"]}, "'a', 'b'"),
        ("{v:span} {w:span}", {"v": [5, 9], "w": [5, 5]}, "5–9 5"),
        ("{code:python}", {"code": "a = {1}"}, "```python\na = {1}\n```"),
    ],
)
def test_a_template_is_filled(template: str, params: dict[str, Any], expected: str) -> None:
    assert filled(template, **params) == expected


def test_what_a_parameter_holds_is_no_template() -> None:
    assert GAP(metric="{value} # | {x:number}", value=1.0, epoch=None) == "{value} # | {x:number} is 1."


def test_a_sentence_is_its_english() -> None:
    said = GAP(metric="loss", value=0.5, epoch=3)
    assert said == "loss is 0.5 in epoch 3." and isinstance(said, str)
    assert (said.id, said.params) == ("test.gap", {"metric": "loss", "value": 0.5, "epoch": 3})
    with pytest.raises(AttributeError):
        said.id = "other"
    for again in (pickle.loads(pickle.dumps(said)), copy.deepcopy(said)):
        assert (again, again.id, again.params) == (said, said.id, said.params)


def test_an_id_stands_for_one_text() -> None:
    with pytest.raises(ValueError, match=r"test\.gap"):
        Text("test.gap", "another")


def test_a_parameter_that_is_missing_is_no_sentence() -> None:
    with pytest.raises(KeyError):
        GAP(metric="loss")


GERMAN = Texts(
    {
        "test.gap": "{epoch:given(In Epoche {epoch}|Zuletzt)} war {metric} {value:number}.",
        "test.both": "{inner} Das sah {who}, nämlich {what:and}.",
        "list.and": "{rest} und {last}",
    }
)


def test_another_language_orders_as_it_likes() -> None:
    inner = GAP(metric="loss", value=0.5, epoch=None)
    said = BOTH(who="ReduceLROnPlateau", what=["a", inner], inner=inner)
    expected = "Zuletzt war loss 0.5. Das sah ReduceLROnPlateau, nämlich a und Zuletzt war loss 0.5.."
    assert render(said, GERMAN) == expected
    with speaking(GERMAN):
        assert say(said) == expected
    assert say(said) == "ReduceLROnPlateau saw a and loss is 0.5.: loss is 0.5."


def test_forms_of_number_are_the_languages() -> None:
    polish = Texts({"plural": "n==1 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2"})
    template = "{n:plural(# epoka|# epoki|# epok)}"
    assert [filled(template, polish, n=n) for n in (1, 3, 5, 22)] == ["1 epoka", "3 epoki", "5 epok", "22 epoki"]


@pytest.mark.parametrize("template", ["{unknown}", "{value:select(a=b)}", "{metric:plural(a|b)}", "{value:d}", "{"])
def test_what_a_language_gets_wrong_is_said_in_english(template: str) -> None:
    said = GAP(metric="loss", value=0.5, epoch=None)
    assert render(said, Texts({"test.gap": template})) == said


def test_whole_sentences_follow_one_another() -> None:
    one, two = GAP(metric="a", value=1, epoch=None), GAP(metric="b", value=2, epoch=None)
    assert sentences(one, "") is one
    assert sentences(one, "", two) == "a is 1. b is 2."
    assert render(sentences(one, two), Texts({"list.sentences": "{rest}{last}"})) == "a is 1.b is 2."


def finding(title: str, evidence: Any = None) -> Finding:
    return Finding("a-rule", "passed", title, evidence or {}, "")


def diagnosis(one: Finding) -> Diagnosis:
    return Diagnosis(1, "3", "tensorflow", 0, GAP(metric="h", value=2, epoch=1), (), (), None, (), None, (one,))


def test_json_holds_what_another_language_needs() -> None:
    inner = GAP(metric="loss", value=math.inf, epoch=None)
    text = dumps([diagnosis(finding(BOTH(who="x", what=["a", "b"], inner=inner), {"given": inner, "n": 1}))])
    found = json.loads(text)["fits"][0]["findings"][0]
    assert found["title"] == "x saw a and b: loss is inf."
    assert found["texts"]["title"]["id"] == "test.both"
    assert found["texts"]["title"]["params"]["what"] == ["a", "b"]
    (again,) = loads(text)
    title = again.findings[0].title
    assert render(title, GERMAN) == "Zuletzt war loss inf. Das sah x, nämlich a und b."
    assert render(again.findings[0].evidence["given"], GERMAN) == "Zuletzt war loss inf."
    assert render(again.headline, GERMAN) == "In Epoche 1 war h 2."
    assert dumps([again]) == text


@pytest.mark.parametrize(
    "texts",
    [
        {"title": 5},
        {"title": {"id": 5, "params": {}}},
        {"title": {"id": "test.gap", "params": {"metric": "other", "value": 1, "epoch": None}}},
        {"title": {"id": "test.gap", "params": {}}},
        {"title": {"id": "test.gap", "params": {"metric": {"id": "test.gap", "params": 3}, "value": {}}}},
        {"title": [1], "evidence": 3, "rule": {}},
    ],
)
def test_a_forged_file_changes_no_text(texts: Any) -> None:
    document = {"schema": 1, "fits": [json.loads(dumps([diagnosis(finding("as it is"))]))["fits"][0]]}
    document["fits"][0]["findings"][0]["texts"] = texts
    (again,) = loads(json.dumps(document))
    assert again.findings[0].title == "as it is"
    assert render(again.findings[0].title, GERMAN) == "as it is"


def test_a_text_put_in_another_ones_place_is_not_taken_for_it() -> None:
    said = GAP(metric="loss", value=0.5, epoch=None)
    assert not isinstance(replace(finding(said), title="another").title, Said)


def test_a_language_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "de.json"
    path.write_text(json.dumps(dict(GERMAN.templates)), "utf-8")
    assert read_texts(path) == GERMAN
    for text in ("[]", '{"a": 1}', "{", '{"plural": "import os"}'):
        path.write_text(text, "utf-8")
        with pytest.raises(DiagnoseError, match=r"de\.json is no language"):
            read_texts(path)

"""Sentences with ids. A rule or a view says `Text(id, template)` beside what it decides; a second language is one file
`{id: template}`. Knows no sentence of its own but how lists are joined.

A template is plain text with fields `{name}` and `{name:form}`. Forms:

- `number`, `signed`: six significant digits; any of Python's for numbers, such as `.0%`; `span`: `5` or `5–9`
- `list`, `and`, `or`, `quoted`, `clauses`, `sentences`: several texts, joined as the language does
- `python`: a block of code
- `plural(# epoch|# epochs)`: one form per number; `#` is the number, `##` with its thousands separated
- `given(one|other)`: the first where there is a value (0 is one; None, False and "" are none), else the second, if any
- `select(min=lowest|max=highest|any)`: by the value; the last without a `=` for all others

What stands in a form may hold fields of the same sentence. So every sentence is one template that another grammar can
order as it likes.
"""

from __future__ import annotations

import gettext
import json
import os
import string
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from diagnose.errors import DiagnoseError
from diagnose.result.text import ABSENT, short, span

FORMS: Final = ("plural", "given", "select")
_REGISTRY: dict[str, str] = {}
_UNFIT: Final = (KeyError, ValueError, TypeError, IndexError, AttributeError, ArithmeticError, RecursionError)
"""What a template raises that does not fit its parameters: another release's, or those of a file."""


class Said(str):
    """A sentence, or a noun that stands by itself, in English, that knows its `id` and `params`: plain JSON values,
    or what was `Said`, or lists of these. Frozen."""

    __slots__ = ("id", "params")
    id: str
    params: Mapping[str, Any]

    def __new__(cls, english: str, id: str, params: Mapping[str, Any]) -> Said:
        said = super().__new__(cls, english)
        object.__setattr__(said, "id", id)
        object.__setattr__(said, "params", params)
        return said

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a sentence is frozen: {name}")

    def __reduce__(self) -> tuple[Any, ...]:
        return Said, (str(self), self.id, dict(self.params))


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence of ours: `id` is its name in every language, `template` its English."""

    id: str
    template: str

    def __post_init__(self) -> None:
        if self.id in _REGISTRY:
            raise ValueError(f"two texts are called {self.id}")
        _REGISTRY[self.id] = self.template

    def __call__(self, **params: Any) -> Said:
        """The sentence with these parameters. Raises KeyError where the template needs one that is not given."""
        return Said("".join(pieces(self.template, params, None)), self.id, params)

    def say(self, **params: Any) -> str:
        """The same, in the language being spoken (see `speaking`)."""
        return say(self(**params))


LIST = Text("list", "{rest}, {last}")
AND = Text("list.and", "{rest} and {last}")
OR = Text("list.or", "{rest} or {last}")
CLAUSES = Text("list.clauses", "{rest}; {last}")
SENTENCES = Text("list.sentences", "{rest} {last}")
QUOTED = Text("list.quoted", "'{name}'")
PLURAL = Text("plural", "n != 1")
"""The number of the plural form as gettext has it: an expression of C in n."""
LANGUAGE = Text("language", "en")
"""The language's tag, for the page."""

_ALL = Text("sentences", "{all:sentences}")


@dataclass(frozen=True)
class Texts:
    """One language: id → template. What it lacks is said in English."""

    templates: Mapping[str, str] = field(default_factory=dict)

    def template(self, text: Text) -> str:
        return self.templates.get(text.id, text.template)

    @cached_property
    def plural(self) -> Callable[[int], int]:
        """The number of the form for a count."""
        found: Callable[[int], int] = gettext.c2py(self.template(PLURAL))
        return found


ENGLISH: Final = Texts()
_SPOKEN: ContextVar[Texts] = ContextVar("spoken", default=ENGLISH)


def english() -> dict[str, str]:
    """id → English template of all texts of the modules that are loaded."""
    return dict(_REGISTRY)


def read_texts(path: str | os.PathLike[str]) -> Texts:
    """A language from its file, a JSON object `{id: template}`. Raises DiagnoseError where it is none."""
    try:
        found = json.loads(Path(path).read_text("utf-8"))
        if not isinstance(found, dict) or not all(isinstance(x, str) for x in found.values()):
            raise ValueError("it is no object of texts")
        texts = Texts(found)
        texts.plural(1)
    except (OSError, ValueError, RecursionError) as error:
        raise DiagnoseError(f"{path} is no language: {error}.") from None
    return texts


@contextmanager
def speaking(texts: Texts | None) -> Iterator[None]:
    """Within, views speak this language; None: go on as before."""
    token = _SPOKEN.set(_SPOKEN.get() if texts is None else texts)
    try:
        yield
    finally:
        _SPOKEN.reset(token)


def spoken() -> Texts:
    """The language being spoken."""
    return _SPOKEN.get()


def say(text: str) -> str:
    """What was `Said`, in the language being spoken; any other text as it is."""
    return render(text, _SPOKEN.get())


def render(text: str, texts: Texts) -> str:
    """What was `Said`, in a language. In English what that has no text for, or another release gave other parameters;
    any other text as it is."""
    if not isinstance(text, Said) or texts is ENGLISH:
        return text
    template = texts.templates.get(text.id, _REGISTRY.get(text.id))
    if template is None:
        return str(text)
    try:
        return "".join(pieces(template, text.params, texts))
    except _UNFIT:
        return str(text)


def is_english(text: Said) -> bool:
    """Whether the template of its id gives it from its parameters, as far as its module is loaded."""
    try:
        return text.id not in _REGISTRY or "".join(pieces(_REGISTRY[text.id], text.params, None)) == text
    except _UNFIT:
        return False


def filled(text: Text, params: Mapping[str, Any], texts: Texts) -> list[str]:
    """The sentence with these parameters in parts, as `pieces` tells them apart."""
    try:
        return list(pieces(texts.template(text), params, texts))
    except _UNFIT:
        return list(pieces(text.template, params, None))


def sentences(first: Said, *others: str) -> Said:
    """Whole sentences, one after the other; empty ones are left out."""
    found = [first, *(one for one in others if one)]
    return _ALL(all=found) if len(found) > 1 else first


# ── templates ──


def pieces(template: str, params: Mapping[str, Any], texts: Texts | None) -> Iterator[str]:
    """The text in parts, those of the template and those of the parameters; joined, the whole.

    Raises:
        KeyError: a parameter is missing.
        ValueError: the template is none.
    """
    for literal, name, form, _ in string.Formatter().parse(template):
        if literal:
            yield literal
        if name is not None:
            yield from _spelled(params[name], form or "", params, texts or ENGLISH)


def _spelled(value: Any, form: str, params: Mapping[str, Any], texts: Texts) -> Iterator[str]:
    name = form.partition("(")[0]
    if name in FORMS and name != form:
        parts = options(form)
        if name == "plural":
            chosen = parts[min(texts.plural(value), len(parts) - 1)]
            chosen = chosen.replace("##", f"{value:,}").replace("#", f"{value}")
        elif name == "given":
            absent = value is None or value is False or value in ("", [], ())
            chosen = [*parts, ""][1 if absent else 0]
        else:
            chosen = _selected(parts, value)
        yield from pieces(chosen, params, texts)
    elif isinstance(value, (list, tuple)) and form != "span":
        yield _joined([_one(x, "", texts) for x in value], form, texts)
    else:
        yield _one(value, form, texts)


def _one(value: Any, form: str, texts: Texts) -> str:
    if form == "span":
        return span(*value)
    if form == "python":
        return f"```python\n{value}\n```"
    if isinstance(value, str):
        if form == "quoted":
            return _joined([value], form, texts)
        return render(value, texts)
    if form == "signed":
        return f"{'+' if value > 0 else ''}{short(value)}"
    if form == "number" or (form == "" and isinstance(value, float)):
        return short(value)
    if value is None:
        return ABSENT
    return format(value, form)


def _joined(names: list[str], form: str, texts: Texts) -> str:
    if form == "quoted":
        names = ["".join(pieces(texts.template(QUOTED), {"name": name}, texts)) for name in names]
    between = {"clauses": CLAUSES, "sentences": SENTENCES}.get(form, LIST)
    found = "".join(names[:1])
    for i, name in enumerate(names[1:], 2):
        end = {"and": AND, "or": OR}.get(form, between) if i == len(names) else between
        found = "".join(pieces(texts.template(end), {"rest": found, "last": name}, texts))
    return found


def _selected(parts: list[str], value: Any) -> str:
    pairs = [part.partition("=") for part in parts]
    for key, is_key, chosen in pairs:
        if is_key and key == str(value):
            return chosen
    key, is_key, _ = pairs[-1]
    if is_key:
        raise ValueError(f"nothing is said for {value!r}")
    return parts[-1]


def options(form: str) -> list[str]:
    """The templates that a form chooses from, with the keys of a `select`; none for other forms."""
    name, bracket, rest = form.partition("(")
    if not bracket or name not in FORMS:
        return []
    found, depth = [""], 0
    for c in rest.removesuffix(")"):
        depth += (c == "{") - (c == "}")
        if c == "|" and not depth:
            found.append("")
        else:
            found[-1] += c
    return found

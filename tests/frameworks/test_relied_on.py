"""The table of private names against the installed release, and against the code that uses them."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest

from diagnose.frameworks.keras import releases
from diagnose.frameworks.keras.relied_on import FIRST, RELIED_ON, Relied

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "diagnose"
HOME = PACKAGE / "frameworks" / "keras"

BY_NAME = ("getattr", "hasattr", "setattr", "delattr", "__setattr__", "__delattr__")
"""Functions that take an attribute's name as a string."""


def last(relied: Relied) -> str:
    return re.split(r"[.:]", relied.name)[-1]


def found(dotted: str) -> Any:
    """What a dotted name stands for; its first parts are modules."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            thing = getattr(thing, part)
        return thing
    raise ModuleNotFoundError(dotted)


def is_set_by(owner: type, name: str) -> bool:
    """Whether the code of a class, or of one it inherits from, sets an attribute of its instances."""
    sources = (inspect.getsource(c) for c in owner.__mro__ if c.__module__.startswith(("keras", "tensorflow", "torch")))
    return any(re.search(rf"""(self\.|["']){name}\b""", source) for source in sources)


@pytest.mark.parametrize(
    "relied", [r for r in RELIED_ON if keras.backend.backend() in r.backends], ids=lambda r: r.name
)
def test_the_name_is_there_in_this_release(relied: Relied) -> None:
    function, _, local = relied.name.partition(":")
    if local:
        code = inspect.unwrap(found(function)).__code__
        assert local in (*code.co_varnames, *code.co_consts)
        return
    owner = found(relied.name.rpartition(".")[0])
    assert hasattr(owner, last(relied)) or (inspect.isclass(owner) and is_set_by(owner, last(relied)))


def test_the_installed_release_is_within_the_tested_ones() -> None:
    """Red with a new Keras: look over what the tests of its internals say, then raise `LAST`."""
    assert releases.tested(keras.__version__)


def test_the_oldest_tested_release_is_the_oldest_that_is_installed_with() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "keras>={}.{}".format(*FIRST) in project["dependencies"]


# ── the code ──


def trees(below: Path = PACKAGE) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(below.rglob("*.py")):
        if "_scenarios" not in path.parts:
            yield path, ast.parse(path.read_text("utf-8"))


def is_private(name: Any) -> bool:
    return isinstance(name, str) and re.fullmatch(r"_[a-zA-Z]\w*", name) is not None


def of_itself(node: ast.Attribute) -> bool:
    """`self._x`, `type(self)._x`, `super()._x`, `sys._x`."""
    return re.fullmatch(r"self|cls|sys|type\(self\)|super\(\)", ast.unparse(node.value)) is not None


def own_names() -> set[str]:
    """Whatever private is defined in this package outside `frameworks`: functions, classes, fields, globals."""
    names: set[str] = set()
    for path, tree in trees():
        for node in ast.walk(tree):
            if HOME in path.parents:
                continue
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and of_itself(node):
                names.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return {name for name in names if is_private(name)}


def attributes_of_others(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Private attributes of anything but `self`, asked for directly or by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and not of_itself(node):
            yield node.lineno, node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in BY_NAME:
            for argument in node.args:
                if isinstance(argument, ast.Constant) and is_private(argument.value):
                    yield node.lineno, argument.value


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def test_nothing_else_touches_what_is_private_of_keras() -> None:
    ours = own_names()
    theirs = {name for r in RELIED_ON if is_private(name := last(r))}
    wrong = []
    for path, tree in trees():
        if HOME in path.parents:
            continue
        where = path.relative_to(ROOT)
        wrong += [f"{where}:{line}: {n}" for line, n in attributes_of_others(tree) if n not in ours or n in theirs]
        modules = [(line, name) for line, name in imported(tree)]
        modules += [(n.lineno, str(n.value)) for n in ast.walk(tree) if isinstance(n, ast.Constant)]
        hidden = re.compile(r"(keras\.src|tensorflow\.python|jax\._src|jaxlib|torch\._\w+)\.\S*")
        wrong += [f"{where}:{line}: {name}" for line, name in modules if hidden.fullmatch(name)]
    assert wrong == []


def used_names() -> set[str]:
    """Private names in the code of `frameworks/keras` that it does not define itself."""
    defined, used = set(), set()
    for path, tree in trees(HOME):
        if path.name in ("relied_on.py", "stored_names.py"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                defined.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                defined.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and of_itself(node):
                defined.add(node.attr)
            elif isinstance(node, ast.Attribute) and not ast.unparse(node).startswith("sys."):
                used.add(node.attr)
            elif isinstance(node, ast.Constant):
                used.add(node.value)
    return {name for name in used - defined if is_private(name)}


def test_the_table_has_all_that_is_used() -> None:
    table = [last(relied) for relied in RELIED_ON]
    # Of a family of classes, the code names the beginning.
    assert [used for used in sorted(used_names()) if not any(name.startswith(used) for name in table)] == []


def test_nothing_in_the_table_is_idle() -> None:
    code = "\n".join(path.read_text("utf-8") for path in HOME.glob("*.py") if path.name != "relied_on.py")
    used = used_names()
    idle = [
        relied.name
        for relied in RELIED_ON
        if not any(last(relied).startswith(name) for name in used) and not re.search(rf"\b{last(relied)}\b", code)
    ]
    assert idle == []


def test_each_is_there_once() -> None:
    names = [relied.name for relied in RELIED_ON]
    assert len(set(names)) == len(names)

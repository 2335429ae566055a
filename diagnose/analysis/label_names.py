"""Which names of a script stand for labels, read from its source: what it gives as labels to fit, evaluate or a data
set, and what that was made from. Runs nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

_TAKERS: Final = frozenset(("fit", "evaluate", "train_on_batch", "test_on_batch", "flow", "score"))
_PAIRS: Final = frozenset(("from_tensor_slices", "from_tensors"))
ROUNDS: Final = 4
"""Assignments that are followed from what was given to what it was made from."""


class LabelNames:
    """Of one module: dotted names, as they are written."""

    def __init__(self, tree: ast.AST) -> None:
        nodes = list(ast.walk(tree))
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        self._given = {name for node in calls for e in labels_of(node) for name in _names(e, whole=True)}
        assigned = [node for node in nodes if isinstance(node, ast.Assign)]
        made = [pair for node in assigned for pair in _assigned(node)]
        same = [pair for node in assigned if not isinstance(node.value, ast.Call) for pair in _assigned(node)]
        functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
        # A function's own name for what it is called with, and a second name for the same.
        for _ in range(ROUNDS):
            self._given |= {a for f in functions for a, e in _arguments(f, calls) if self.given(e)}
            self._given |= {name for name, e in same if self.given(e)}
        self._known = set(self._given)
        self._known |= {name for node in calls for e in labels_of(node) for name in _names(e)}
        for _ in range(ROUNDS):
            self._known |= {source for name, e in made if name in self._known for source in _names(e)}
        imports = [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
        self._known -= {(a.asname or a.name).partition(".")[0] for node in imports for a in node.names}

    def given(self, e: ast.AST) -> bool:
        """Whether these are labels just as they were given, or a piece of them."""
        return any(name in self._given for name in _names(e, whole=True))

    def in_(self, e: ast.AST) -> bool:
        """Whether labels, or what they were made from, are a part of this."""
        return any(written(node) in self._known for node in ast.walk(e))


def labels_of(call: ast.Call) -> Iterator[ast.expr]:
    """What a call is given as labels."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if name in _PAIRS:
        pairs = call.args[:1]
    elif name in _TAKERS:
        yield from call.args[1:2]
        yield from (k.value for k in call.keywords if k.arg == "y")
        pairs = [k.value for k in call.keywords if k.arg == "validation_data"]
    else:
        return
    for pair in pairs:
        if isinstance(pair, (ast.Tuple, ast.List)) and len(pair.elts) > 1:
            yield pair.elts[1]


def _assigned(node: ast.Assign) -> Iterator[tuple[str, ast.expr]]:
    """Names with what they are given. Of what a call takes apart (`a, b, c, d = split(x, y)`), the argument that stands
    in the same place: as many targets come of each."""
    for target in node.targets:
        targets = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
        values: list[ast.expr] = [node.value] * len(targets)
        if len(targets) > 1 and isinstance(node.value, (ast.Tuple, ast.List)):
            values = node.value.elts if len(node.value.elts) == len(targets) else []
        elif len(targets) > 1 and isinstance(node.value, ast.Call):
            given = node.value.args
            each = len(targets) // len(given) if given and len(targets) % len(given) == 0 else 0
            values = [given[i // each] for i in range(len(targets))] if each else []
        for one, value in zip(targets, values, strict=False):
            if (name := written(one)) is not None:
                yield name, value


def _arguments(function: ast.FunctionDef, calls: list[ast.Call]) -> Iterator[tuple[str, ast.expr]]:
    names = parameters(function)
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id == function.name:
            yield from zip(names, call.args, strict=False)
            yield from ((k.arg, k.value) for k in call.keywords if k.arg in names)


def _names(e: ast.AST, whole: bool = False) -> Iterator[str]:
    """Dotted names in this; `whole`: only where it is one, or a piece of one."""
    if isinstance(e, ast.Subscript) and isinstance(e.slice, ast.Slice):
        yield from _names(e.value, whole)
    elif (name := written(e)) is not None:
        yield name
    elif not whole:
        # Of a function, what it is given; not itself, nor its module.
        inner = [*(e.args if isinstance(e, ast.Call) else ast.iter_child_nodes(e))]
        if isinstance(e, ast.Call) and isinstance(e.func, ast.Attribute):
            inner.append(e.func.value)
        for child in inner:
            yield from _names(child)


def written(e: ast.AST) -> str | None:
    """`a`, `a.b`; None for anything else."""
    if isinstance(e, ast.Name):
        return e.id
    if isinstance(e, ast.Attribute):
        held = written(e.value)
        return None if held is None else f"{held}.{e.attr}"
    return None


def called(call: ast.Call) -> str:
    """The last part of what is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def parameters(function: ast.FunctionDef) -> list[str]:
    """Those that may be given by place."""
    return [a.arg for a in function.args.args]

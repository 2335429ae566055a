"""Which names of a script stand for labels in the order in which fit was given them, read from its source: those that
stand for nothing else once fit had them. Runs nothing; what it cannot tell is in no order."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from diagnose.analysis.label_names import ROUNDS, called, labels_of, parameters, written

_TRAINERS: Final = frozenset(("fit", "flow", "from_tensor_slices", "from_tensors"))
"""`evaluate` may be given other rows than fit, or the same in another order."""
_REORDER: Final = frozenset(("shuffle", "sort"))

_Scope = ast.FunctionDef | ast.Module
_Bound = tuple[int, str]
"""A name in a function, or in the module."""


class LabelOrder:
    """Of one module."""

    def __init__(self, tree: ast.Module) -> None:
        self._module = tree
        self._scopes: dict[int, _Scope] = {}
        self._looped: set[int] = set()
        self._places: dict[_Bound, list[ast.AST]] = {}
        self._visit()
        nodes = list(ast.walk(tree))
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        functions = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}
        given = [(e, node) for node in calls if called(node) in _TRAINERS for e in labels_of(node)]
        self._found: set[_Bound] = set()
        self._others: set[_Bound] = set()
        by_name: dict[str, list[ast.Call]] = {}
        for call in calls:
            by_name.setdefault(called(call), []).append(call)
        for e, call in given:
            self._give(e, call)
        for _ in range(ROUNDS):
            for node in nodes:
                self._alias(node)
            for function in functions.values():
                self._handed_on(function, by_name.get(function.name, []))

    def holds(self, e: ast.AST, scope: ast.AST) -> bool:
        """Whether these are all labels, in fit's order, in this function (or at the level of the module)."""
        name = written(e)
        return name is not None and self._key(name, scope) in self._found - self._others

    def _visit(self) -> None:
        waiting: list[tuple[ast.AST, _Scope, bool]] = [(self._module, self._module, False)]
        while waiting:
            node, scope, looped = waiting.pop()
            self._scopes[id(node)] = scope
            if looped or isinstance(node, ast.For):
                self._looped.add(id(node))
            for name in _rebound(node):
                self._places.setdefault((id(scope), name), []).append(node)
            if isinstance(node, ast.FunctionDef):
                scope, looped = node, False
            inside = looped or isinstance(node, (ast.For, ast.While))
            waiting += [(child, scope, inside) for child in ast.iter_child_nodes(node)]

    def _key(self, name: str, scope: ast.AST) -> _Bound:
        """The name as it is bound there, or else in the module."""
        own = isinstance(scope, ast.FunctionDef) and name.partition(".")[0] in parameters(scope)
        return (id(scope) if own or (id(scope), name) in self._places else id(self._module), name)

    def _give(self, e: ast.expr, call: ast.Call) -> None:
        """A call has these for labels: they are as given where their name is bound nowhere after it."""
        name, scope = written(e), self._scopes[id(call)]
        if name is None:
            return
        key = self._key(name, scope)
        places = self._places.get(key, [])
        if key[0] != id(scope):  # when a function is called that uses a name of the module is not looked at
            fine = len(places) <= 1
        else:
            fine = all(id(node) not in self._looped and _line(node) < _line(call) for node in places)
        (self._found if fine else self._others).add(key)

    def _alias(self, node: ast.AST) -> None:
        if not isinstance(node, ast.Assign) or not self.holds(node.value, self._scopes[id(node)]):
            return
        for target in node.targets:
            name = written(target)
            key = None if name is None else self._key(name, self._scopes[id(node)])
            if key is not None and len(self._places.get(key, ())) == 1:
                self._found.add(key)

    def _handed_on(self, function: ast.FunctionDef, calls: list[ast.Call]) -> None:
        """What a function gives to fit its callers gave it; and what all of them give it, it has."""
        for name in parameters(function):
            given = [e for call in calls if (e := argument(function, name, call)) is not None]
            if (id(function), name) in self._found - self._others:
                for e, call in zip(given, calls, strict=False):
                    self._give(e, call)
            elif given and len(given) == len(calls) and (id(function), name) not in self._places:
                held = [self.holds(e, self._scopes[id(call)]) for e, call in zip(given, calls, strict=True)]
                if all(held):
                    self._found.add((id(function), name))


def argument(function: ast.FunctionDef, name: str, call: ast.Call) -> ast.expr | None:
    """What a call gives a function for one of its parameters."""
    place = parameters(function).index(name)
    by_name = next((k.value for k in call.keywords if k.arg == name), None)
    return by_name if by_name is not None or place >= len(call.args) else call.args[place]


def _line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)


def _rebound(node: ast.AST) -> Iterator[str]:
    """Names that stand for something else from here on, or for the same in another order."""
    targets: list[ast.AST] = []
    if isinstance(node, ast.Assign):
        targets = [*node.targets]
    elif isinstance(node, (ast.AnnAssign, ast.For)):
        targets = [node.target]
    elif isinstance(node, ast.Call) and called(node) in _REORDER:
        targets = [*node.args, node.func]
    for target in targets:
        yield from {name for e in ast.walk(target) if (name := written(e)) is not None}

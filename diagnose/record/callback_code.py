"""Finds, by parsing (never running) a callback's own code, where it compares a logged value and then stops training.

What is recognised: a comparison of `logs["key"]` or `logs.get("key"…)`, directly or through a local name, with a
number, an attribute of the callback, or a global number; in an `if` whose body sets `stop_training`."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from diagnose.trace.model import Json

HOOKS = ("on_epoch_end", "on_train_batch_end", "on_batch_end", "on_test_end")
_OPERATORS = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<="}
_MIRRORED = {">": "<", ">=": "<=", "<": ">", "<=": ">="}
_OPPOSITE = {">": "<=", ">=": "<", "<": ">=", "<=": ">"}


def thresholds(callback: Any) -> list[dict[str, Json]]:
    """One entry per threshold found: key, op (value in logs `op` threshold), value (None: not readable), hook, code."""
    found = []
    for hook in HOOKS:
        function = _own_function(callback, hook)
        if function is not None:
            found.extend(_in_function(function, callback, hook))
    return found


def _own_function(callback: Any, hook: str) -> Callable[..., Any] | None:
    given = vars(callback).get(hook)
    if given is not None and inspect.isfunction(given):  # LambdaCallback sets functions on the instance
        return given
    method = getattr(type(callback), hook, None)
    if not inspect.isfunction(method) or (method.__module__ or "").startswith("keras."):
        return None
    return method


def _in_function(function: Callable[..., Any], callback: Any, hook: str) -> list[dict[str, Json]]:
    try:
        source = textwrap.dedent(inspect.getsource(function))
        tree = ast.parse(source)
    except (OSError, TypeError, SyntaxError, ValueError):
        return []
    keys = _names_of_keys(tree)
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, (ast.If, ast.IfExp)):
            continue
        branches: list[tuple[Any, bool]] = [(node.body, False)]
        if not (isinstance(node.orelse, list) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If)):
            branches.append((node.orelse, True))  # an `elif` has its own turn
        for compare, negated in [c for body, other in branches if _stops(body) for c in _comparisons(node.test, other)]:
            entry = _threshold(compare, keys, function, callback, negated=negated)
            if entry is not None:
                code = ast.get_source_segment(source, compare) or ""
                found.append({**entry, "hook": hook, "code": code[:200]})
    return found


def _comparisons(node: ast.AST, negated: bool) -> Iterator[tuple[ast.Compare, bool]]:
    """The comparisons a test is made of, and whether it asks for their opposite."""
    if isinstance(node, ast.Compare):
        if len(node.ops) == 1:
            yield node, negated
        return
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        negated = not negated
    for child in ast.iter_child_nodes(node):
        yield from _comparisons(child, negated)


def _names_of_keys(tree: ast.AST) -> dict[str, str]:
    """Local names that hold one logged value and never anything else: `acc = logs.get("accuracy")`."""
    names: dict[str, str] = {}
    known: set[int] = set()
    assigned = [n for n in ast.walk(tree) if isinstance(n, (ast.Assign, ast.NamedExpr))]
    for node in sorted(assigned, key=lambda n: (n.lineno, n.col_offset)):
        target = (
            node.targets[0]
            if isinstance(node, ast.Assign) and len(node.targets) == 1
            else getattr(node, "target", None)
        )
        key = _key(node.value, names)
        if isinstance(target, ast.Name) and key is not None and names.setdefault(target.id, key) == key:
            known.add(id(target))
    stored = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    other = {n.id for n in stored if id(n) not in known}
    return {name: key for name, key in names.items() if name not in other}


def _key(node: ast.AST, names: dict[str, str]) -> str | None:
    if isinstance(node, ast.NamedExpr):
        return _key(node.value, names)
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Name) and function.id in ("float", "round", "abs") and node.args:
            return _key(node.args[0], names)
        if isinstance(function, ast.Attribute) and function.attr == "get" and _is_logs(function.value) and node.args:
            return _text(node.args[0])
    if isinstance(node, ast.Subscript) and _is_logs(node.value):
        return _text(node.slice)
    return None


def _is_logs(node: ast.AST) -> bool:
    if isinstance(node, ast.BoolOp):  # (logs or {})["accuracy"]
        return any(_is_logs(value) for value in node.values)
    return isinstance(node, ast.Name) and node.id in ("logs", "log", "l")


def _text(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _threshold(
    compare: ast.Compare, keys: dict[str, str], function: Callable[..., Any], callback: Any, *, negated: bool
) -> dict[str, Json] | None:
    op = _OPERATORS.get(type(compare.ops[0]))
    if op is None:
        return None
    left, right = compare.left, compare.comparators[0]
    key = _key(left, keys)
    if key is None:
        key, right, op = _key(right, keys), left, _MIRRORED[op]
    if key is None:
        return None
    if negated:
        op = _OPPOSITE[op]
    return {"key": key, "op": op, "value": _number(right, function, callback)}


def _number(node: ast.AST, function: Callable[..., Any], callback: Any) -> float | None:
    value: Any = None
    if isinstance(node, ast.Constant):
        value = node.value
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _number(node.operand, function, callback)
        value = None if inner is None else -inner
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        value = vars(callback).get(node.attr, getattr(type(callback), node.attr, None))
    elif isinstance(node, ast.Name):
        value = _closure(function).get(node.id, getattr(function, "__globals__", {}).get(node.id))
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _closure(function: Callable[..., Any]) -> dict[str, Any]:
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    cells = getattr(function, "__closure__", None) or ()
    values = {}
    for name, cell in zip(names, cells, strict=False):
        try:
            values[name] = cell.cell_contents
        except ValueError:
            continue
    return values


def _stops(body: Any) -> bool:
    return any(_sets_stop(node) for statement in _statements(body) for node in ast.walk(statement))


def _statements(body: Any) -> Iterator[ast.AST]:
    yield from body if isinstance(body, list) else [body]


def _sets_stop(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign) and not (isinstance(node.value, ast.Constant) and not node.value.value):
        return any(isinstance(t, ast.Attribute) and t.attr == "stop_training" for t in node.targets)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr":
        return any(isinstance(a, ast.Constant) and a.value == "stop_training" for a in node.args)
    return False

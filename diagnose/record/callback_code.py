"""Finds, by parsing (never running) a callback's own code, which logged values it reads, and where it compares one and
then stops training.

Recognised as a read: `logs["key"]`, `logs.get("key"…)` and `logs.pop("key"…)`, whatever the parameter is called, the
key written out or held by an attribute of the callback or a global name; and what takes all values at once. As a
threshold: a comparison of such a value, directly or through a local name, with a number, an attribute of the callback,
or a global number; in an `if` whose body sets `stop_training`."""

from __future__ import annotations

import ast
import inspect
import linecache
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from diagnose.frameworks.keras.origin import by_keras
from diagnose.record.handlers import let_through
from diagnose.tracefile.model import Json

HOOKS = ("on_epoch_end", "on_train_batch_end", "on_batch_end", "on_test_end")
ALL = "*"
"""Among the keys a hook reads: whatever is in its logs."""
_OPERATORS = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<="}
_MIRRORED = {">": "<", ">=": "<=", "<": ">", "<=": ">="}
_OPPOSITE = {">": "<=", ">=": "<", "<": ">=", "<=": ">"}


def thresholds(callback: Any) -> list[dict[str, Json]]:
    """One entry per threshold found: key, op (value in logs `op` threshold), value (None: not readable), hook, code."""
    return [entry for hook in _hooks(callback) for entry in hook.thresholds()]


def reads(callback: Any) -> dict[str, list[str]]:
    """The keys of `logs` that each hook's own code reads, in the order of the code; `ALL` where it takes all of them.

    A batch hook's value that the code multiplies by its batch number is left out: so a running mean is undone."""
    return {hook.name: keys for hook in _hooks(callback) if (keys := hook.reads())}


def _hooks(callback: Any) -> Iterator[_Hook]:
    for name in HOOKS:
        function = _own_function(callback, name)
        parsed = None if function is None else _parsed(function)
        if function is not None and parsed is not None:
            yield _Hook(name, function, callback, *parsed)


def _own_function(callback: Any, hook: str) -> Callable[..., Any] | None:
    given = vars(callback).get(hook)
    if given is not None and inspect.isfunction(given):  # LambdaCallback sets functions on the instance
        return given
    method = getattr(type(callback), hook, None)
    if not inspect.isfunction(method) or by_keras(method):
        return None
    return method


def _parsed(function: Callable[..., Any]) -> tuple[str, ast.AST] | None:
    """A function's source and its tree; None where the source cannot be had."""
    try:
        if function.__name__ == "<lambda>":
            return _lambda(function)
        source = textwrap.dedent(inspect.getsource(function))
        return source, ast.parse(source)
    except (OSError, TypeError, SyntaxError, ValueError, RecursionError) as error:
        let_through(error)
        return None


def _lambda(function: Callable[..., Any]) -> tuple[str, ast.AST] | None:
    """The lines of a lambda are seldom a statement of their own, so it is looked up in its whole file."""
    code = function.__code__
    source = "".join(linecache.getlines(code.co_filename, function.__globals__))
    places = set(code.co_positions())
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno:
            body = node.body
            if (body.lineno, body.end_lineno, body.col_offset, body.end_col_offset) in places:
                return source, node
    return None


class _Hook:
    """The code of one hook."""

    def __init__(self, name: str, function: Callable[..., Any], callback: Any, source: str, tree: ast.AST) -> None:
        self.name = name
        self.function = function
        self.callback = callback
        self.source = source
        self.tree = tree
        code = inspect.unwrap(function).__code__
        names = code.co_varnames[: code.co_argcount]
        # Keras hands over the number of the epoch or batch, but at the end of a test, and then the logs.
        on_class = inspect.getattr_static(type(callback), name, None)
        alone = vars(callback).get(name) is function or isinstance(on_class, staticmethod)
        before = (name != "on_test_end") + (not alone)
        self.logs = names[before] if len(names) > before else None
        self.batch = names[before - 1] if self.logs is not None and "batch" in name else None

    def reads(self) -> list[str]:
        held = self._names_of_keys()
        undone = {
            key
            for node in ast.walk(self.tree)
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)
            for value, factor in ((node.left, node.right), (node.right, node.left))
            if (key := self._key(value, held)) is not None and self._mentions_batch(factor)
        }
        found: dict[str, None] = {}
        nodes = [n for n in ast.walk(self.tree) if isinstance(n, ast.expr)]
        for node in sorted(nodes, key=lambda n: (n.lineno, n.col_offset)):
            key = ALL if self._takes_all(node) else self._key(node, {})
            for name in self._looped(node) if key is None else (key,):
                if name not in undone:
                    found[name] = None
        return list(found)

    def _looped(self, node: ast.AST) -> list[str]:
        """The keys of `logs[name]` or `logs.get(name)` where a loop runs `name` over keys that can be read."""
        key: ast.AST | None = None
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and self._is_logs(node.value):
            key = node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            key = node.args[0] if node.func.attr == "get" and self._is_logs(node.func.value) else None
        if not isinstance(key, ast.Name):
            return []
        loops = [n for n in ast.walk(self.tree) if isinstance(n, (ast.For, ast.comprehension))]
        found = [items for n in loops for items in self._run_over(key.id, n.target, n.iter)]
        return [item for item in found if isinstance(item, str)]

    def _run_over(self, name: str, target: ast.AST, over: ast.AST) -> list[Any]:
        """What a loop's `name` is in turn: keys of a dict, items of a list; of pairs, the part that it stands for."""
        place = None
        if isinstance(target, ast.Tuple):
            names = [part.id if isinstance(part, ast.Name) else None for part in target.elts]
            place = names.index(name) if name in names else None
            if place is None:
                return []
        elif not (isinstance(target, ast.Name) and target.id == name):
            return []
        pairs = False
        if isinstance(over, ast.Call) and isinstance(over.func, ast.Attribute) and not over.args:
            pairs = over.func.attr == "items"
            over = over.func.value if over.func.attr in ("items", "keys") else over
        if isinstance(over, (ast.List, ast.Tuple, ast.Set)):
            held: Any = [_value(part, self.function, self.callback) for part in over.elts]
        else:
            held = _value(over, self.function, self.callback)
        if not isinstance(held, (dict, list, tuple, set, frozenset)):
            return []
        listed = list(held.items()) if pairs and isinstance(held, dict) else list(held)
        if place is None:
            return listed
        return [part[place] for part in listed if isinstance(part, (list, tuple)) and len(part) > place]

    def thresholds(self) -> Iterator[dict[str, Json]]:
        keys = self._names_of_keys()
        for node in ast.walk(self.tree):
            if not isinstance(node, (ast.If, ast.IfExp)):
                continue
            branches: list[tuple[Any, bool]] = [(node.body, False)]
            if not (isinstance(node.orelse, list) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If)):
                branches.append((node.orelse, True))  # an `elif` has its own turn
            for compare, negated in [
                c for body, other in branches if _stops(body) for c in _comparisons(node.test, other)
            ]:
                entry = self._threshold(compare, keys, negated=negated)
                if entry is not None:
                    code = ast.get_source_segment(self.source, compare) or ""
                    yield {**entry, "hook": self.name, "code": code[:200]}

    def _threshold(self, compare: ast.Compare, keys: dict[str, str], *, negated: bool) -> dict[str, Json] | None:
        op = _OPERATORS.get(type(compare.ops[0]))
        if op is None:
            return None
        left, right = compare.left, compare.comparators[0]
        key = self._key(left, keys)
        if key is None:
            key, right, op = self._key(right, keys), left, _MIRRORED[op]
        if key is None:
            return None
        if negated:
            op = _OPPOSITE[op]
        return {"key": key, "op": op, "value": _number(right, self.function, self.callback)}

    def _names_of_keys(self) -> dict[str, str]:
        """Local names that hold one logged value and never anything else: `acc = logs.get("accuracy")`."""
        names: dict[str, str] = {}
        known: set[int] = set()
        assigned = [n for n in ast.walk(self.tree) if isinstance(n, (ast.Assign, ast.NamedExpr))]
        for node in sorted(assigned, key=lambda n: (n.lineno, n.col_offset)):
            target = (
                node.targets[0]
                if isinstance(node, ast.Assign) and len(node.targets) == 1
                else getattr(node, "target", None)
            )
            key = self._key(node.value, names)
            if isinstance(target, ast.Name) and key is not None and names.setdefault(target.id, key) == key:
                known.add(id(target))
        stored = [n for n in ast.walk(self.tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        other = {n.id for n in stored if id(n) not in known}
        return {name: key for name, key in names.items() if name not in other}

    def _mentions_batch(self, node: ast.AST) -> bool:
        return any(isinstance(n, ast.Name) and n.id == self.batch for n in ast.walk(node))

    def _is_logs(self, node: ast.AST) -> bool:
        if isinstance(node, ast.BoolOp):  # (logs or {})["accuracy"]
            return any(self._is_logs(value) for value in node.values)
        return isinstance(node, ast.Name) and node.id == self.logs

    def _key(self, node: ast.AST, names: dict[str, str]) -> str | None:
        """The key of the logged value that `node` stands for, `names` being local names that hold one."""
        if isinstance(node, ast.NamedExpr):
            return self._key(node.value, names)
        if isinstance(node, ast.Name):
            return names.get(node.id)
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and self._is_logs(node.value):
            return self._text(node.slice)
        if isinstance(node, ast.Call):
            function, arguments = node.func, node.args
            if isinstance(function, ast.Name) and function.id in ("float", "round", "abs") and arguments:
                return self._key(arguments[0], names)
            if (
                isinstance(function, ast.Attribute)
                and function.attr in ("get", "pop")
                and self._is_logs(function.value)
            ):
                return self._text(arguments[0]) if arguments else None
        return None

    def _text(self, node: ast.AST) -> str | None:
        value = _value(node, self.function, self.callback)
        return value if isinstance(value, str) else None

    def _takes_all(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Dict):  # {"batch": batch, **logs}
            return any(k is None and self._is_logs(v) for k, v in zip(node.keys, node.values, strict=True))
        if not isinstance(node, ast.Call):
            return False
        function = node.func
        if isinstance(function, ast.Attribute) and self._is_logs(function.value):
            return function.attr in ("items", "values", "copy")
        given = any(self._is_logs(argument) for argument in node.args)
        if isinstance(function, ast.Attribute) and function.attr == "append":  # self.history.append(logs)
            return given
        return isinstance(function, ast.Name) and function.id == "dict" and given


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


def _number(node: ast.AST, function: Callable[..., Any], callback: Any) -> float | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _number(node.operand, function, callback)
        return None if inner is None else -inner
    value = _value(node, function, callback)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _value(node: ast.AST, function: Callable[..., Any], callback: Any) -> Any:
    """What a constant, an attribute of the callback or a name outside the function holds; None for anything else."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        return vars(callback).get(node.attr, getattr(type(callback), node.attr, None))
    if isinstance(node, ast.Name):
        return _closure(function).get(node.id, getattr(function, "__globals__", {}).get(node.id))
    return None


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

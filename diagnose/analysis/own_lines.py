"""What the script's own lines do with the predictions of a call, read from its source: which of the known ways of
scoring them stands there. Runs nothing, and says nothing where it cannot tell: labels are what the source gives to fit,
evaluate or a data set as such, whatever their name."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator
from typing import Final

from diagnose.analysis.label_names import LabelNames, called
from diagnose.analysis.label_order import LabelOrder
from diagnose.result.calls import Does, OwnLine

_KEEP: Final = frozenset(("astype", "round", "copy", "clip", "numpy"))
_FLAT: Final = frozenset(("ravel", "flatten", "squeeze", "reshape"))
_SAME: Final = frozenset(("asarray", "array", "round", "rint", "clip", "where", "greater", "cast", "convert_to_tensor"))
_WEIGHTS: Final = ("weights", "where", "sample_weight")
_SCORES: Final = frozenset(
    ("accuracy_score", "f1_score", "precision_score", "recall_score", "classification_report", "confusion_matrix")
)
_SOUND: Final = frozenset(
    (
        *("roc_auc_score", "average_precision_score", "roc_curve", "precision_recall_curve", "balanced_accuracy_score"),
        *("mean_squared_error", "mean_absolute_error", "r2_score", "root_mean_squared_error", "cohen_kappa_score"),
    )
)
"""Functions of scikit-learn that pair each prediction with its own label, whatever the shapes."""


def own_lines(file: str, line: int, call: str) -> tuple[OwnLine, ...] | None:
    """What is done with what `call`, a method, returns at this line; None where that is not seen: the source cannot be
    read, or hands the predictions on."""
    try:
        return _read("".join(linecache.getlines(file)), line, call)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _read(source: str, line: int, call: str) -> tuple[OwnLine, ...] | None:
    tree = ast.parse(source)
    made = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == call
    ]
    made = [node for node in made if node.lineno <= line <= (node.end_lineno or node.lineno)]
    if len(made) != 1:
        return None
    scopes = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.Module)) and made[0] in ast.walk(n)]
    return _Use(scopes[-1], made[0], LabelNames(tree), LabelOrder(tree)).found()


class _Use:
    """How predictions are used in one function, or at the level of the module."""

    def __init__(self, scope: ast.AST, call: ast.Call, labels: LabelNames, order: LabelOrder) -> None:
        self.call, self.labels, self.names = call, labels, dict[str, str]()
        self.scope, self.order = scope, order
        self.first = call.lineno
        self.handed_on = False
        nodes = [node for node in ast.walk(scope) if getattr(node, "lineno", 0) >= self.first]
        self.nodes = sorted(nodes, key=lambda n: (getattr(n, "lineno", 0), getattr(n, "col_offset", 0)))
        self.above = {id(child): node for node in ast.walk(scope) for child in ast.iter_child_nodes(node)}
        # A name that was given other axes somewhere is no plain row of labels.
        self.reshaped = {
            target.id
            for node in ast.walk(scope)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and self._reshapes(node.value)
        }

    def found(self) -> tuple[OwnLine, ...] | None:
        made: dict[OwnLine, None] = {}
        for node in self.nodes:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._assigned(node.targets[0].id, node.value)
            for does in self._does(node):
                made[OwnLine(getattr(node, "lineno", self.first), does)] = None
        return None if self.handed_on and not made else tuple(made)

    def _assigned(self, name: str, value: ast.expr) -> None:
        kind = self._kind(value)
        if kind is not None:
            self.names[name] = kind
        elif name in self.names and not self._mentions(value):
            del self.names[name]

    def _kind(self, e: ast.AST) -> str | None:
        """Of what form a value is that comes of the predictions: "as-is", each number in its place; "classes", the
        place of the largest; "flat", in one row. None: no such value, or of another form."""
        if e is self.call:
            return "as-is"
        if isinstance(e, ast.Name):
            return self.names.get(e.id)
        if isinstance(e, ast.UnaryOp):
            return self._kind(e.operand)
        if isinstance(e, ast.Compare) and isinstance(e.ops[0], (ast.Gt, ast.GtE, ast.Lt, ast.LtE)):
            return self._kind(e.left)
        if isinstance(e, ast.BinOp):
            kinds = [self._kind(side) for side in (e.left, e.right)]
            other = [side for side, kind in zip((e.left, e.right), kinds, strict=True) if kind is None]
            return next((k for k in kinds if k), None) if other and isinstance(other[0], ast.Constant) else None
        if isinstance(e, ast.Subscript):
            plain = isinstance(e.slice, (ast.Slice, ast.Constant))
            return self._kind(e.value) if plain else "flat" if self._kind(e.value) else None
        if isinstance(e, ast.Call) and isinstance(e.func, ast.Attribute):
            for given, same in ((e.func.value, _KEEP), *((x, _SAME) for x in e.args[:1])):
                if (kind := self._kind(given)) is not None:
                    name = e.func.attr
                    return (
                        kind if name in same else "classes" if name == "argmax" else "flat" if name in _FLAT else None
                    )
        return None

    def _does(self, node: ast.AST) -> Iterator[Does]:
        if isinstance(node, ast.Call):
            yield from self._calls(node)
        pair = _pair(node)
        if pair is None:
            return
        kinds = [self._kind(side) for side in pair]
        if kinds.count(None) != 1:
            return
        kind, other = (kinds[0], pair[1]) if kinds[0] else (kinds[1], pair[0])
        if kind == "as-is" and self._is_labels(other):
            yield "pairs"
        if isinstance(node, ast.Compare) and kind in ("as-is", "classes", "flat") and self.labels.in_(other):
            if self.order.holds(other, self.scope):
                yield "in-order"
            yield "some-steps" if self._in_part(node, pair) else "every-step"

    def _calls(self, node: ast.Call) -> Iterator[Does]:
        name = called(node)
        value = node.func.value if isinstance(node.func, ast.Attribute) else None
        if name == "argmax" and "as-is" in [self._kind(x) for x in (value, *node.args[:1]) if x is not None]:
            yield "first"
        given = [x for x in node.args if self._mentions(x)]
        if given and name in ("log_loss", "log"):
            if self.labels.in_(self._statement(node)):
                yield "log-loss"
        elif given and name in _SCORES and self.labels.in_(node):
            if any(self.order.holds(x, self.scope) for x in (*node.args, *(k.value for k in node.keywords))):
                yield "in-order"
            parts = [n for x in node.args for n in ast.walk(x) if isinstance(n, ast.Subscript)]
            masked = any(not isinstance(n.slice, ast.Slice) for n in parts)
            yield "some-steps" if masked or node.keywords else "every-step"
        elif given and node is not self.call and isinstance(node.func, ast.Name) and name not in (*_BUILTINS, *_SOUND):
            self.handed_on = True

    def _in_part(self, node: ast.AST, pair: tuple[ast.expr, ast.expr]) -> bool:
        """Whether what is compared, or what comes of it, is picked or weighted."""
        if any(
            isinstance(n, ast.Subscript) and not isinstance(n.slice, ast.Slice) for side in pair for n in ast.walk(side)
        ):
            return True
        if self._picked(node):
            return True
        above = self._statement(node)
        names = {t.id for t in above.targets if isinstance(t, ast.Name)} if isinstance(above, ast.Assign) else set()
        return any(isinstance(n, ast.Name) and n.id in names and self._picked(n) for n in self.nodes)

    def _statement(self, node: ast.AST) -> ast.AST:
        """The statement it is part of."""
        while isinstance(node, (ast.expr, ast.keyword, ast.comprehension)):
            node = self.above.get(id(node), self.call)
            if node is self.call:
                break
        return node

    def _picked(self, node: ast.AST) -> bool:
        """Whether a part of this value is taken, or its parts are weighted, on the way to a number."""
        above = self.above.get(id(node))
        while isinstance(above, ast.expr):
            if isinstance(above, ast.Subscript) or (isinstance(above, ast.BinOp) and isinstance(above.op, ast.Mult)):
                return True
            if isinstance(above, ast.Call) and any(k.arg in _WEIGHTS for k in above.keywords):
                return True
            above = self.above.get(id(above))
        return False

    def _is_labels(self, other: ast.expr) -> bool:
        if isinstance(other, ast.Subscript) and isinstance(other.slice, ast.Slice):
            other = other.value
        return self.labels.given(other) and not (isinstance(other, ast.Name) and other.id in self.reshaped)

    def _mentions(self, e: ast.AST) -> bool:
        return any(n is self.call or (isinstance(n, ast.Name) and n.id in self.names) for n in ast.walk(e))

    def _reshapes(self, e: ast.expr) -> bool:
        for n in ast.walk(e):
            if isinstance(n, ast.Attribute) and n.attr in ("reshape", "expand_dims", "to_categorical", "newaxis"):
                return True
            if isinstance(n, ast.Subscript) and isinstance(n.slice, ast.Tuple):
                return True
        return False


_BUILTINS: Final = frozenset(
    ("print", "len", "float", "int", "round", "str", "type", "list", "zip", "enumerate", "range")
)


def _pair(node: ast.AST) -> tuple[ast.expr, ast.expr] | None:
    """The two sides of a comparison for equality, or of a difference."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
        return node.left, node.comparators[0]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
        return node.left, node.right
    return None

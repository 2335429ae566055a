"""Which recorded variable each array of a model or file is: by Keras's own places and names, else by content, never by
guess."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.errors import DiagnoseError
from diagnose.identify.files import open_weights
from diagnose.identify.files.stored import Stored
from diagnose.result.texts import Said, Text
from diagnose.tracefile.about import Variable
from diagnose.tracefile.digest import array_digest, numpy_dtype
from diagnose.tracefile.model import Digest, NDArray
from diagnose.tracefile.reader import Trace

_NUMBER = re.compile("[0-9]{1,9}")

WEIGHTS = ("trainable", "non_trainable")
"""What `get_weights()` returns; seeds and the states of stateful layers are no weights."""

OPTIMIZER = ("optimizer/", "optimizer_weights/")
"""Where Keras puts the optimizer's variables, in its files and in its older `.h5`."""


CAST = Text(
    "held.cast", "Arrays stored as {types:list} were compared in the dtype of the recorded variable, without loss."
)
LACKING = Text("held.lacking", "{count} recorded variables are not in it ({names:list}).")


@dataclass(frozen=True, slots=True)
class Held:
    """Weights to identify. `arrays`: index in `header.variables` -> contents. `optimizer`: digests of the optimizer's
    variables, in its order; None where there are none. `unassigned`: names of arrays that could be several variables.
    `notes` say what was not as usual."""

    source: str
    arrays: Mapping[int, NDArray]
    optimizer: tuple[Digest, ...] | None = None
    unassigned: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def weights_of(trace: Trace) -> dict[int, Variable]:
    """Index -> description of the variables that are weights."""
    listed = trace.header.variables
    if not listed or not trace.states:
        raise DiagnoseError(f"{trace.path} holds no weights: its fit was not recorded up to a first step.")
    return {i: v for i, v in enumerate(listed) if v.group in WEIGHTS}


def held_by_model(trace: Trace, model: Any) -> Held:
    """The weights of a Keras model, by their order."""
    wanted = weights_of(trace)
    if not getattr(model, "built", False):
        raise DiagnoseError("The model has no weights yet: it was never built.")
    arrays = [np.array(v.numpy()) for v in model.weights]
    expected = [v.shape for v in wanted.values()]
    if [a.shape for a in arrays] != expected:
        raise _other_architecture("The model", trace, [a.shape for a in arrays], wanted)
    optimizer = getattr(model, "optimizer", None)
    slots = None if optimizer is None else [np.array(v.numpy()) for v in optimizer.variables]
    digests = None if not slots else tuple(array_digest(a) for a in slots)
    return Held("The model", dict(zip(wanted, arrays, strict=True)), digests)


def held_by_file(trace: Trace, path: Path) -> Held:
    """The weights in a file. Raises WeightsFileError if it is none, DiagnoseError if it is of another architecture."""
    wanted = weights_of(trace)
    with open_weights(path) as stored:
        work = _Assignment(trace, wanted, stored)
        work.by_place()
        work.by_name()
        work.by_order()
        work.by_content()
        optimizer = _optimizer(stored)
    shapes = [stored.entries[name].shape for name in work.weights]
    fits = sorted(shapes) == sorted(v.shape for v in wanted.values())
    if not work.found or (not fits and not work.any_recorded()):
        raise _other_architecture(str(path), trace, shapes, wanted)
    return Held(path.name, dict(sorted(work.found.items())), optimizer, tuple(work.names), tuple(work.notes(fits)))


def _other_architecture(
    what: str, trace: Trace, shapes: Sequence[tuple[int, ...]], wanted: Mapping[int, Variable]
) -> DiagnoseError:
    here, recorded = Counter(shapes), Counter(v.shape for v in wanted.values())
    extra = next((s for s in shapes if here[s] > recorded[s]), None)
    lacking = next((v for v in wanted.values() if recorded[v.shape] > here[v.shape]), None)
    parts = [f"{len(shapes)} arrays of weights against {len(wanted)} recorded"]
    if lacking is not None:
        parts.append(f"none of the shape {lacking.shape} of {lacking.path}")
    if extra is not None:
        parts.append(f"one of the shape {extra}")
    return DiagnoseError(f"{what} is of another architecture than the model in {trace.path}: {', '.join(parts)}.")


class _Assignment:
    """Takes arrays of a file and variables away from two lists, in steps that are each beyond doubt."""

    def __init__(self, trace: Trace, wanted: Mapping[int, Variable], stored: Stored) -> None:
        self.found: dict[int, NDArray] = {}
        self.weights = [name for name in stored.entries if not name.startswith(OPTIMIZER)]
        self.names = dict.fromkeys(self.weights)
        self._wanted = dict(wanted)
        self._open = dict(wanted)
        self._stored = stored
        self._cast: set[str] = set()
        self._loaded: dict[str, NDArray] = {}
        self._recorded: dict[int, set[Digest]] = {i: {s.arrays[i] for s in trace.states} for i in wanted}

    def by_place(self) -> None:
        """Where Keras puts the variable in its files."""
        self._pair({name: name for name in self.names}, lambda v: v.saved_as)

    def by_name(self) -> None:
        """The variable's path, as Keras's older files, and files written by hand, name it."""
        for spelled in (_older_name, str, lambda name: name.replace(".", "/")):
            names = [spelled(name) for name in self.names]
            times = Counter(names)
            once = {s: n for s, n in zip(names, self.names, strict=True) if times[s] == 1}
            self._pair(once, lambda v: v.path)

    def by_order(self) -> None:
        """`np.savez(path, *model.get_weights())` numbers the arrays."""
        numbered = [f"arr_{i}" for i in range(len(self._wanted))]
        if sorted(self.names) == sorted(numbered) and not self.found:
            shapes = [self._stored.entries[name].shape for name in numbered]
            if shapes == [v.shape for v in self._wanted.values()]:
                for i, name in zip(self._wanted, numbered, strict=True):
                    self._take(i, name)

    def by_content(self) -> None:
        """Arrays of one shape that several variables have: told by what was recorded of each; the last one left over is
        told by its shape. Repeated, as those found may leave another with one place only."""
        places, names = defaultdict(list), defaultdict(list)
        for i, v in self._open.items():
            places[v.shape].append(i)
        for name in self.names:
            names[self._stored.entries[name].shape].append(name)
        for shape, at in places.items():
            while told := self._told(at, names[shape]):
                for i, name in told.items():
                    self._take(i, name)
                at = [i for i in at if i not in told]
                left = set(told.values())
                names[shape] = [name for name in names[shape] if name not in left]

    def _told(self, places: Sequence[int], names: Sequence[str]) -> dict[int, str]:
        """Of variables and arrays of one shape: which is beyond doubt which. A name and a place that belong together
        this way are each other's only ones, so that without them the others are no nearer to being told."""
        if not names or not places:
            return {}
        if len(places) == len(names) == 1:
            return {places[0]: names[0]}
        holding: dict[Digest, list[str]] = {}
        for name in names:
            holding.setdefault(array_digest(self._array(name, places[0])), []).append(name)
        if len(places) == len(names) and len(holding) == 1:
            return dict(zip(places, names, strict=True))  # whichever is which, the contents are the same
        fitting: dict[Digest, list[int]] = {}
        for i in places:
            for digest in self._recorded[i] & holding.keys():
                fitting.setdefault(digest, []).append(i)
        claims = Counter[int]()
        for digest, found in fitting.items():
            for i in found:
                claims[i] += len(holding[digest])
        return {f[0]: holding[d][0] for d, f in fitting.items() if len(f) == 1 and claims[f[0]] == 1}

    def any_recorded(self) -> bool:
        return any(array_digest(a) in self._recorded[i] for i, a in self.found.items())

    def notes(self, fits: bool) -> list[Said]:
        found = []
        if self._cast:
            found.append(CAST(types=sorted({self._stored.entries[name].dtype for name in self._cast})))
        if not fits and self._open:
            lacking = [*(v.path for v in list(self._open.values())[:3]), *["…"] * (len(self._open) > 3)]
            found.append(LACKING(count=len(self._open), names=lacking))
        return found

    def _pair(self, names: Mapping[str, str], key: Callable[[Variable], str | None]) -> None:
        times = Counter(key(v) for v in self._open.values())
        for i, v in list(self._open.items()):
            wanted = key(v)
            name = None if wanted is None or times[wanted] > 1 else names.get(wanted)
            if name is not None and self._stored.entries[name].shape == v.shape:
                self._take(i, name)

    def _take(self, i: int, name: str) -> None:
        self.found[i] = self._array(name, i)
        del self._open[i]
        del self.names[name]

    def _array(self, name: str, i: int) -> NDArray:
        """The array, in the recorded dtype where that loses nothing."""
        if name not in self._loaded:
            array = self._stored.load(name)
            wanted = numpy_dtype(self._wanted[i].dtype)
            # Nothing is stored in so much less than what it was: that would only take memory.
            if array.dtype != wanted and wanted.itemsize <= 4 * array.dtype.itemsize:
                with np.errstate(all="ignore"):
                    cast = array.astype(wanted)
                    same = np.array_equal(cast.astype(array.dtype), array, equal_nan=array.dtype.kind == "f")
                if same:
                    array = cast
                    self._cast.add(name)
            self._loaded[name] = array
        return self._loaded[name]


def _older_name(name: str) -> str:
    """model_weights/LAYER/PATH:0 of Keras's `.h5`."""
    parts = name.removesuffix(":0").split("/", 2)
    return parts[2] if parts[0] == "model_weights" and len(parts) == 3 else name


def _optimizer(stored: Stored) -> tuple[Digest, ...] | None:
    """The optimizer's variables, in its order. Keras's older `.h5` orders them by name, so they are passed over."""
    names = [name for name in stored.entries if name.startswith("optimizer/")]
    if not names or not all(_NUMBER.fullmatch(name.rpartition("/")[2]) for name in names):
        return None
    names.sort(key=lambda name: (name.rpartition("/")[0], int(name.rpartition("/")[2])))
    return tuple(array_digest(stored.load(name)) for name in names)

"""Answers, for each call of the script's own, why it returned what it did: which weights it had and which rows, whether
replay gives its values, and what lies between them and the logged value it would be compared with."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from diagnose.analysis.call_changed import changed, given_and_undone, with_inputs
from diagnose.analysis.call_data import DEFAULT_BATCH, Held, Known, batches
from diagnose.analysis.call_scale import on_another_scale
from diagnose.analysis.call_values import CallValues, Values
from diagnose.analysis.call_walk import Walk
from diagnose.analysis.scored import Evaluated, scored
from diagnose.errors import ReplayError
from diagnose.record.call_items import Call, Calls
from diagnose.replay.replayer import Replayer
from diagnose.replay.runs import EvaluationData
from diagnose.result.calls import Call as CallFound
from diagnose.result.calls import CallLedger, ComparedWith, OtherScale, Otherwise
from diagnose.result.calls import CallRows as RowsFound
from diagnose.result.diagnosis import Ledger
from diagnose.result.problems import Problems
from diagnose.result.texts import Text
from diagnose.rules.size import apart
from diagnose.tracefile.model import Batch, Epoch, State
from diagnose.tracefile.reader import Trace

MOST_NAMES: Final = 100
"""Variables that are named."""

MOST_VALUES: Final = 8
"""Values of one call that are taken apart, those that are farthest from their logs."""

NOT_ALL = Text(
    "calls.not-all",
    "Not all of the script's own calls of evaluate and predict were noted: "
    "{count:given({count:plural(# was|# were)} passed over, as noting takes time{error:given(; )})}"
    "{error:given(none was after an error in noting one \\({error}\\))}.",
)

NOISE: Final = 1e-6
"""Relative size below which an amount is float rounding, and stays in the residual."""


def calls_found(
    calls: Calls | None,
    trace: Trace,
    replayer: Replayer | None,
    data: EvaluationData | None,
    ledgers: Sequence[Ledger],
    validated: Callable[[State, int], Values],
    problems: Problems,
    drawn: frozenset[str] = frozenset(),
) -> tuple[CallFound, ...]:
    """One entry for each call of the script's, in the order they were made.

    Args:
        calls: what was noted of them, None: nothing was.
        validated: metrics of a state over the batches of an epoch's validation pass, by their names in the logs.
        drawn: metrics of which evaluate draws the value at random. What lies between two draws is no factor's.
    """
    if calls is None:
        return ()
    if calls.left_out or calls.error is not None:
        problems.note(NOT_ALL(count=calls.left_out or None, error=calls.error))
    values = CallValues(calls, replayer)
    return _Calls(calls, trace, values, Walk(trace, values, data, ledgers, validated), problems, drawn).found()


class _Calls:
    """The calls of one fit."""

    def __init__(
        self, calls: Calls, trace: Trace, values: CallValues, walk: Walk, problems: Problems, drawn: frozenset[str]
    ) -> None:
        self.calls, self.trace, self.values, self.walk, self.problems = calls, trace, values, walk, problems
        self.drawn = drawn
        self.known = Known(trace)

    def found(self) -> tuple[CallFound, ...]:
        made = []
        for call in reversed(self.calls.made):  # the last first: they are the ones a person compares
            if self._stranger(call):
                continue
            entry = self._plain(call)
            with self.problems.noted("calls of the script"):
                entry = self._call(call, entry)
            made.append(entry)
        return tuple(reversed(made))

    def _stranger(self, call: Call) -> bool:
        """Whether it is of a model of other variables that holds none of this fit's."""
        return not call.same_model and len(call.weights) != self.known.variables and not self.known.held(call).loaded

    def _plain(self, call: Call) -> CallFound:
        held = self.known.held(call)
        size = call.batch_size or (None if call.rows is None or call.kind.endswith("_on_batch") else DEFAULT_BATCH)
        if call.sizes is not None:
            size = call.sizes[0] if len({call.sizes[0], *call.sizes[:-1]}) == 1 else None
        in_part = not call.same_model and held.version is None
        return CallFound(
            call=call.kind,
            file=_shown(call.file),
            line=call.line,
            epoch=call.epoch,
            returned=dict(call.returned),
            version=held.version,
            ends_epoch=held.ends_epoch,
            after_fit=held.after_fit,
            changed=held.changed,
            strange=() if held.version is not None else held.strange[:MOST_NAMES],
            loaded=held.loaded if in_part else (),
            differing=held.differing if in_part else (),
            absent=held.absent if in_part else (),
            same_model=call.same_model,
            same_compile=call.same_compile,
            otherwise=_otherwise(call),
            rows=None if call.rows is None else RowsFound("other", call.rows.count, 0),
            batch_size=size,
            steps=call.steps,
            weighted=call.rows is not None and call.rows.sample_weight is not None,
            why=call.why,
        )

    def _call(self, call: Call, entry: CallFound) -> CallFound:
        call = self._labelled(call)
        rows, held = call.rows, self.known.held(call)
        if rows is None:
            return entry
        of_inputs = call.kind.startswith("predict") and rows.y is None
        try:
            ids, exact = self.known.ids(rows), True
            if of_inputs and self.known.signature is not None:
                ids, exact = self.known.inputs(rows)
            where = self.known.found(rows.count, ids, of_inputs=of_inputs)
            redrawn = self.known.redrawn(ids) if call.sizes is not None and not call.of_fit else 0
            entry = replace(entry, rows=replace(where, before=call.before, redrawn=redrawn))
            change = changed(self.known, self.calls, call) if entry.rows and entry.rows.kind == "other" else None
            if change is not None:
                entry = replace(entry, rows=change.rows)
                ids = list(change.ids)
            if not exact:
                return entry  # whose labels are not known
            given = undone = batches(self.calls, call, self.known, ids)
            if change is not None and given is not None:
                given, undone = given_and_undone(change, given)
            if entry.rows is not None and entry.rows.map in ("labels-one-hot", "labels-sparse"):
                given = undone  # the fit's metrics take the others only
            values, why = self._values(call, held, given)
            if call.kind.startswith("predict") and change is None:
                penalties = partial(self.values.penalties, call, held, given or ())
                seen = Evaluated(values or {}, self.values.mask(call, given or ()), penalties)
                entry = replace(entry, scored=scored(self.known, self.calls, call, ids, seen))
            if why is not None:
                return replace(entry, why=why)
            if given is not None and entry.rows is not None and entry.rows.kind == "other" and not entry.rows.same:
                entry = replace(entry, scale=self._scale(call, held, given))
        except ReplayError as reason:
            return replace(entry, why=str(reason))
        own: Values = {}
        with self.problems.noted("what a call was compiled with"):
            own = self.values.by_its_own(call, held, given or ())
        shown = {name: value for name, value in own.items() if name in call.otherwise}
        reproduced = self.values.reproduced(entry, None if values is None else {**values, **shown})
        entry = replace(entry, replayed=values or {}, recompiled=shown, reproduced=reproduced)
        return self._compared(call, entry, held, undone)

    def _values(self, call: Call, held: Held, given: Sequence[Batch] | None) -> tuple[Values | None, str | None]:
        """What replay gives; None, with the reason where there is one: NumPy may score predictions all the same."""
        try:
            return None if given is None else self.values.of(call, held, given, "own"), None
        except ReplayError as reason:
            return None, str(reason)

    def _scale(self, call: Call, held: Held, given: Sequence[Batch]) -> OtherScale | None:
        found = on_another_scale(self.known, self.calls, call)
        values = None if found is None else self.values.of(call, held, with_inputs(given, found[1]), "on fit's scale")
        return None if found is None or values is None else replace(found[0], values=values)

    def _labelled(self, call: Call) -> Call:
        """Predictions over inputs that another call had with their labels: these are then known."""
        rows = call.rows
        if rows is None or rows.y is not None or rows.x is None or call.sizes is not None:
            return call
        with_labels = (c.rows for c in self.calls.made if c.rows is not None and c.rows.y and c.rows.x == rows.x)
        found = next(with_labels, None)
        return call if found is None else replace(call, rows=replace(found, sample_weight=None, weight_tree=None))

    def _compared(self, call: Call, entry: CallFound, held: Held, given: Sequence[Batch] | None) -> CallFound:
        kind = None if entry.rows is None else entry.rows.of or entry.rows.kind
        values = entry.returned or entry.replayed
        epoch = self._epoch(call, held)
        if kind not in ("training", "validation") or epoch is None or entry.rows is None:
            return entry
        prefix, count = "val_" if kind == "validation" else "", entry.rows.count
        logged = {n: v for n in values if (v := _number(epoch.logs.get(prefix + n))) is not None}
        if not logged:
            return entry

        def surprise(name: str) -> tuple[bool, bool, float, bool]:
            """The loss comes last: it moves where nothing that people look at does."""
            far = apart(self.trace, name, count, values[name], logged[name])
            return far > 0.0, name != "loss", far, "acc" in name

        names = sorted(logged, key=surprise, reverse=True)[:MOST_VALUES]
        found = [
            self._ledger(call, entry, held, given, ComparedWith(epoch.epoch, prefix + n, logged[n]), n) for n in names
        ]
        first = found[0]
        entry = replace(entry, compared_with=first.compared_with, entries=first.entries, residual=first.residual)
        return replace(entry, others=tuple(found[1:]))

    def _ledger(
        self,
        call: Call,
        entry: CallFound,
        held: Held,
        given: Sequence[Batch] | None,
        compared: ComparedWith,
        name: str,
    ) -> CallLedger:
        """The way from a logged value to the call's."""
        value = (entry.returned or entry.replayed)[name]
        if name in self.drawn:
            return CallLedger(compared, value)
        entries = self.walk.entries(call, replace(entry, compared_with=compared), held, given, name)
        if entries is None or not math.isfinite(value):
            return CallLedger(compared, value)
        entries = [e for e in entries if abs(e.amount) > NOISE * max(abs(compared.logged), 1e-3)]
        residual = math.fsum([value, -compared.logged, *(-e.amount for e in entries)])
        return CallLedger(compared, value, tuple(entries), residual)

    def _epoch(self, call: Call, held: Held) -> Epoch | None:
        number = held.ends_epoch or call.epoch
        found = next((e for e in self.trace.epochs if e.epoch == number), None)
        return found or (self.trace.epochs[-1] if self.trace.epochs else None)


def _otherwise(call: Call) -> dict[str, Otherwise]:
    """Without identities, which say nothing elsewhere."""
    return {name: Otherwise(*(None if x is None else x.partition("@")[0] for x in both)) for name, both in
            call.otherwise.items()}  # fmt: skip


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _shown(file: str) -> str:
    """The name alone: reports are passed on and need not tell more. A cell of a notebook has a made-up one."""
    return "notebook" if "ipykernel" in file or file.startswith("<ipython-input") else os.path.basename(file)

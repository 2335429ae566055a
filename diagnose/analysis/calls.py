"""Answers, for each call of the script's own, why it returned what it did: which weights it had and which rows, whether
replay gives its values, and what lies between them and the logged value it would be compared with."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from diagnose.analysis.call_data import DEFAULT_BATCH, Held, Known, batches, in_batches_of, with_inputs
from diagnose.errors import ReplayError
from diagnose.record.call_items import Call, Calls
from diagnose.replay.replayer import Replayer
from diagnose.replay.runs import EvaluationData
from diagnose.result.calls import Call as CallFound
from diagnose.result.calls import CallEntry, ComparedWith
from diagnose.result.calls import CallRows as RowsFound
from diagnose.result.diagnosis import Ledger
from diagnose.result.problems import Problems
from diagnose.tracefile.model import Batch, Epoch, State
from diagnose.tracefile.reader import Trace

MOST_ROWS: Final = 500_000
"""Of all calls together that are replayed; the last calls first."""

MOST_NAMES: Final = 100
"""Variables that are named."""

NOISE: Final = 1e-6
"""Relative size below which an amount is float rounding, and stays in the residual."""

Values = Mapping[str, float]


def calls_found(
    calls: Calls | None,
    trace: Trace,
    replayer: Replayer | None,
    data: EvaluationData | None,
    ledgers: Sequence[Ledger],
    validated: Callable[[State, int], Values],
    problems: Problems,
) -> tuple[CallFound, ...]:
    """One entry for each call of the script's, in the order they were made.

    Args:
        calls: what was noted of them, None: nothing was.
        validated: metrics of a state over the batches of an epoch's validation pass, by their names in the logs.
    """
    if calls is None or not calls.made:
        return ()
    return _Calls(calls, trace, replayer, data, ledgers, validated, problems).found()


class _Calls:
    """The calls of one fit."""

    def __init__(
        self,
        calls: Calls,
        trace: Trace,
        replayer: Replayer | None,
        data: EvaluationData | None,
        ledgers: Sequence[Ledger],
        validated: Callable[[State, int], Values],
        problems: Problems,
    ) -> None:
        self.calls, self.trace, self.replayer, self.data = calls, trace, replayer, data
        self.ledgers = {(x.epoch, x.metric): x for x in ledgers}
        self.validated = validated
        self.problems = problems
        self.known = Known(trace)
        self._left = MOST_ROWS
        self._values: dict[Any, Values] = {}

    def found(self) -> tuple[CallFound, ...]:
        made = []
        for call in reversed(self.calls.made):  # the last first: they are the ones a person compares
            entry = self._plain(call)
            with self.problems.noted("calls of the script"):
                entry = self._call(call, entry)
            made.append(entry)
        return tuple(reversed(made))

    def _plain(self, call: Call) -> CallFound:
        held = self.known.held(call)
        size = call.batch_size or (None if call.rows is None or call.kind.endswith("_on_batch") else DEFAULT_BATCH)
        size = max(call.sizes) if call.sizes else size
        return CallFound(
            call=call.kind,
            file=_shown(call.file),
            line=call.line,
            epoch=call.epoch,
            returned=dict(call.returned),
            version=None if held is None else held.version,
            ends_epoch=None if held is None else held.ends_epoch,
            after_fit=held is not None and held.after_fit,
            changed=self.known.variables if held is None else held.changed,
            strange=() if held is None or held.version is not None else held.strange[:MOST_NAMES],
            same_model=call.same_model,
            same_compile=call.same_compile,
            rows=None if call.rows is None else RowsFound("other", call.rows.count, 0),
            batch_size=size,
            steps=call.steps,
            weighted=call.rows is not None and call.rows.sample_weight is not None,
            why=call.why,
        )

    def _call(self, call: Call, entry: CallFound) -> CallFound:
        held, rows = self.known.held(call), call.rows
        if rows is None:
            return entry
        of_inputs = call.kind.startswith("predict") and rows.y is None
        ids: list[int | None] = []
        if not of_inputs:
            ids = self.known.ids(rows)
        elif self.known.signature is not None:
            ids = self.known.inputs(rows)
        entry = replace(entry, rows=self.known.found(rows.count, ids, of_inputs=of_inputs))
        if held is None:
            return entry
        try:
            changed = self.known.changed(self.calls, call) if entry.rows and entry.rows.kind == "other" else None
            given = undone = batches(self.calls, call, self.known, ids if changed is None else changed[1])
            if changed is not None and given is not None:
                entry = replace(entry, rows=changed[0])
                leaves = self.calls.arrays(rows.leaves)
                given = None if leaves is None else with_inputs(given, leaves[0])
                undone = None if undone is None else with_inputs(undone, changed[2].undone)
            values = None if given is None else self._value(call, held, given, "own")
        except ReplayError as reason:
            return replace(entry, why=str(reason))
        entry = replace(entry, replayed=values or {}, reproduced=self._reproduced(entry, values))
        return self._compared(call, entry, held, undone)

    # ── replay ──

    def _value(self, call: Call, held: Held, given: Sequence[Batch], how: str) -> Values | None:
        replayer = self.replayer
        if replayer is None or (replayer.spread is not None and replayer.spread.partial is not None):
            return None
        rows = None if call.rows is None else (call.rows.leaves, call.rows.sample_weight)
        key = (call.weights, rows, tuple(b.size for b in given), how)
        if key not in self._values:
            count = sum(b.size for b in given)
            arrays = None if held.state is not None else self.calls.arrays(call.weights)
            if count > self._left or (held.state is None and arrays is None):
                return None
            if arrays is not None and [a.shape for a in arrays] != replayer.engine.shapes:
                return None  # a model of other layers
            self._left -= count
            if held.state is not None:
                self._values[key] = replayer.over(held.state, given)
            else:
                assert arrays is not None
                self._values[key] = replayer.with_weights(arrays, given)
        return self._values[key]

    def _reproduced(self, entry: CallFound, values: Values | None) -> bool | None:
        from diagnose.replay.check import close

        shared = [name for name in entry.returned if values and name in values]
        if not shared or values is None or self.replayer is None:
            return None
        replayer = self.replayer
        return all(close(replayer, values[name], entry.returned[name]) for name in shared)

    # ── the way from a logged value ──

    def _compared(self, call: Call, entry: CallFound, held: Held, given: Sequence[Batch] | None) -> CallFound:
        kind = None if entry.rows is None else entry.rows.of or entry.rows.kind
        values = entry.returned or entry.replayed
        if kind not in ("training", "validation") or not values:
            return entry
        epoch = self._epoch(call, held)
        prefix = "val_" if kind == "validation" else ""
        names = [] if epoch is None else [n for n in values if _number(epoch.logs.get(prefix + n)) is not None]
        if epoch is None or not names:
            return entry
        name = next((n for n in names if "acc" in n), names[0])
        metric = prefix + name
        logged = float(epoch.logs[metric])
        entry = replace(entry, compared_with=ComparedWith(epoch.epoch, metric, logged))
        walk = self._from_validation if kind == "validation" else self._from_training
        # As fit had these rows, where the call had their inputs otherwise.
        plain = (
            None
            if given is None
            else self._value(call, held, given, "undone" if entry.rows and entry.rows.of else "own")
        )
        entries = None if given is None or plain is None else walk(call, entry, held, given, plain, name)
        if entries is None or plain is None:
            return entry
        entries.append(CallEntry("rows-changed", entry.replayed.get(name, plain[name]) - plain[name]))
        replayed = entry.replayed.get(name)
        returned = values[name]
        if entry.same_compile is False and replayed is not None and entry.reproduced is False:
            entries.append(CallEntry("other-compile", returned - replayed))
        entries = [e for e in entries if abs(e.amount) > NOISE * max(abs(logged), 1e-3)]
        residual = math.fsum([returned, -logged, *(-e.amount for e in entries)])
        return replace(entry, entries=tuple(entries), residual=residual)

    def _epoch(self, call: Call, held: Held) -> Epoch | None:
        number = held.ends_epoch or call.epoch
        found = next((e for e in self.trace.epochs if e.epoch == number), None)
        return found or (self.trace.epochs[-1] if self.trace.epochs else None)

    def _from_training(
        self, call: Call, entry: CallFound, held: Held, given: Sequence[Batch], plain: Values, name: str
    ) -> list[CallEntry] | None:
        assert entry.compared_with is not None
        ledger = self.ledgers.get((entry.compared_with.epoch, name))
        if ledger is None or self.replayer is None or self.data is None or name not in plain:
            return None
        entries = [CallEntry(e.factor, e.amount) for e in ledger.entries]
        with_these = ledger.evaluated
        if not held.after_fit:
            whole = self._value(replace(call, rows=None), held, self.data.batches, "fit's rows")
            if whole is None:
                return None
            with_these = whole[name]
            # What a restore put back after the fit is not what this call had.
            restored = math.fsum(e.amount for e in entries if e.factor == "restored-weights")
            entries = [e for e in entries if e.factor != "restored-weights"]
            entries.append(CallEntry("other-weights", with_these - ledger.evaluated + restored))
        in_fits = self._value(call, held, in_batches_of(given, self.data), "fit's batches")
        if in_fits is None:
            return None
        every = entry.rows is not None and entry.rows.count == entry.rows.known
        return [
            *entries,
            *([] if every else [CallEntry("other-rows", in_fits[name] - with_these)]),
            CallEntry("batching", plain[name] - (with_these if every else in_fits[name])),
        ]

    def _from_validation(
        self, call: Call, entry: CallFound, held: Held, given: Sequence[Batch], plain: Values, name: str
    ) -> list[CallEntry] | None:
        compared = entry.compared_with
        assert compared is not None
        evaluation = self.trace.index.validation_of(compared.epoch)
        if evaluation is None or name not in plain or held.state is None:
            return None
        then = self.trace.states[evaluation.state]
        at_log, now = (self.validated(state, compared.epoch).get(compared.metric) for state in (then, held.state))
        if at_log is None or now is None:
            return None
        every = entry.rows is not None and entry.rows.count == entry.rows.known
        rest = "batching" if every else "other-rows"
        return [CallEntry("other-weights", now - at_log), CallEntry(rest, plain[name] - now)]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _shown(file: str) -> str:
    """The name alone: reports are passed on and need not tell more. A cell of a notebook has a made-up one."""
    return "notebook" if "ipykernel" in file or file.startswith("<ipython-input") else os.path.basename(file)

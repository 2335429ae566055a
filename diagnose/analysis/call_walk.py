"""The way from a logged value to what a call of the script's returned, a factor at a time: the weights, the rows, their
batches, their weighting, how they were changed, and what computed the value."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from diagnose.analysis.call_data import Held, in_batches_of
from diagnose.analysis.call_values import CallValues, Values
from diagnose.record.call_items import Call
from diagnose.replay.runs import EvaluationData
from diagnose.result.calls import Call as CallFound
from diagnose.result.calls import CallEntry
from diagnose.result.diagnosis import Ledger
from diagnose.tracefile.model import Batch, State
from diagnose.tracefile.reader import Trace


class Walk:
    """Of the calls of one fit."""

    def __init__(
        self,
        trace: Trace,
        values: CallValues,
        data: EvaluationData | None,
        ledgers: Sequence[Ledger],
        validated: Callable[[State, int], Values],
    ) -> None:
        self.trace, self.values, self.data, self.validated = trace, values, data, validated
        self.ledgers = {(x.epoch, x.metric): x for x in ledgers}

    def entries(
        self, call: Call, entry: CallFound, held: Held, given: Sequence[Batch] | None, name: str
    ) -> list[CallEntry] | None:
        """None where there is no way, as something on it was not computed.

        Args:
            given: the call's batches, with the rows as fit had them.
            name: of the value, as the call has it.
        """
        compared = entry.compared_with
        if given is None or compared is None or not math.isfinite(compared.logged):
            return None
        try:
            walked = (self._validation if compared.metric != name else self._training)(call, entry, held, given, name)
        except _NoValue:
            return None
        made, here = walked
        replayed = entry.replayed.get(name, here)
        made.append(CallEntry("rows-changed", replayed - here))
        if name in call.otherwise and name in entry.recompiled:
            made.append(CallEntry("other-compile", entry.recompiled[name] - replayed))
        return made

    def _value(self, call: Call, held: Held, batches: Sequence[Batch], how: str, name: str) -> float:
        found = self.values.of(call, held, batches, how)
        if found is None or name not in found:
            raise _NoValue
        return found[name]

    def _training(
        self, call: Call, entry: CallFound, held: Held, given: Sequence[Batch], name: str
    ) -> tuple[list[CallEntry], float]:
        """As the ledger of the epoch goes, then from its end."""
        assert entry.compared_with is not None
        ledger = self.ledgers.get((entry.compared_with.epoch, name))
        if ledger is None or self.data is None or any(b.sample_weight is not None for b in self.data.batches):
            raise _NoValue
        made = [CallEntry(e.factor, e.amount) for e in ledger.entries]
        with_these = ledger.evaluated
        if not held.after_fit:
            with_these = self._value(replace(call, rows=None), held, self.data.batches, "fit's rows", name)
            # What a restore put back after the fit is not what this call had.
            restored = math.fsum(e.amount for e in made if e.factor == "restored-weights")
            made = [e for e in made if e.factor != "restored-weights"]
            made.append(CallEntry("other-weights", with_these - ledger.evaluated + restored))
        return self._rows(call, entry, held, given, name, made, with_these, max(self.data.batch_size, 1))

    def _validation(
        self, call: Call, entry: CallFound, held: Held, given: Sequence[Batch], name: str
    ) -> tuple[list[CallEntry], float]:
        """From the pass that the value was logged for."""
        compared = entry.compared_with
        found = None if compared is None else self.trace.index.validation_of(compared.epoch)
        if compared is None or found is None or found.batches is None:
            raise _NoValue
        then = self.validated(self.trace.states[found.state], compared.epoch).get(compared.metric)
        if then is None:
            raise _NoValue
        batches = [self.trace.batch(ref) for ref in self.trace.batches(found.batches)]
        whole, plain = replace(call, rows=None), _unweighted(batches)
        if held.state is not None:
            now = self.validated(held.state, compared.epoch).get(compared.metric)
        else:
            now = self._value(whole, held, batches, "validation", name)
        if now is None:
            raise _NoValue
        made = [CallEntry("other-weights", now - then)]
        if any(b.sample_weight is not None for b in batches):
            bare = self._value(whole, held, plain, "validation", name)
            made.append(CallEntry("class-weights", bare - now))
            now = bare
        size = max((b.size for b in batches), default=1)
        return self._rows(call, entry, held, given, name, made, now, size)

    def _rows(
        self,
        call: Call,
        entry: CallFound,
        held: Held,
        given: Sequence[Batch],
        name: str,
        made: list[CallEntry],
        start: float,
        size: int,
    ) -> tuple[list[CallEntry], float]:
        """From all rows without weights, in batches of `size`, to those of the call, in its own and with its own."""
        own = _unweighted(given)
        every = entry.rows is not None and entry.rows.count == entry.rows.known
        if not every:
            rows = self._value(call, held, in_batches_of(own, size), "batches of the log", name)
            made.append(CallEntry("other-rows", rows - start))
            start = rows
        how = "own" if entry.rows is None or entry.rows.of is None else "undone"
        bare = self._value(call, held, own, how, name)
        made.append(CallEntry("batching", bare - start))
        if any(b.sample_weight is not None for b in given):
            weighted = self._value(call, held, given, how, name)
            made.append(CallEntry("class-weights", weighted - bare))
            bare = weighted
        return _joined(made), bare


class _NoValue(Exception):
    """One value on the way was not computed."""


def _unweighted(batches: Sequence[Batch]) -> list[Batch]:
    return [replace(b, sample_weight=None, weight_tree=None) for b in batches]


def _joined(entries: Sequence[CallEntry]) -> list[CallEntry]:
    """One for each factor: what comes twice on the way is one amount."""
    amounts: dict[str, list[float]] = {}
    for e in entries:
        amounts.setdefault(e.factor, []).append(e.amount)
    return [CallEntry(factor, math.fsum(each)) for factor, each in amounts.items()]

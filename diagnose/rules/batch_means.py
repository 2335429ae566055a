"""What each batch of an epoch added to the metrics that are means: totals and counts, as recorded."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from diagnose.rules.facts import Facts
from diagnose.tracefile.increments import mean, sums
from diagnose.tracefile.model import Epoch

CLOSE = 1e-4
"""Relative size below which a difference may be the rounding of a float32 running total."""


@dataclass(frozen=True, slots=True)
class BatchMeans:
    """One metric (`total` / `count`) over the batches of one epoch. `log` is its name in the logs, `of_loss` tells a
    loss that Keras keeps itself from a metric of the user's, `same_as` is the log name of the loss with the same
    function, `rows`, `totals` and `counts` are per batch."""

    log: str
    of_loss: bool
    function: str | None
    same_as: str | None
    epoch: int
    rows: tuple[int, ...]
    totals: tuple[float, ...]
    counts: tuple[float, ...]

    @property
    def values(self) -> tuple[float, ...]:
        """Each batch's own value."""
        return tuple(mean(t, c) for t, c in zip(self.totals, self.counts, strict=True))

    @property
    def value(self) -> float:
        """The epoch's value: what Keras logs."""
        return mean(math.fsum(self.totals), math.fsum(self.counts))

    @property
    def by_rows(self) -> float:
        """The epoch's value if each batch counted by its rows."""
        weighted = (v * n for v, n in zip(self.values, self.rows, strict=True))
        return math.fsum(weighted) / sum(self.rows) if sum(self.rows) else math.nan

    @property
    def counts_rows(self) -> bool:
        """Whether each batch counts in proportion to its rows."""
        return close(self.shares)

    @property
    def counts_batches(self) -> bool:
        """Whether each batch counts the same, however many rows it has."""
        return close(self.counts)

    @property
    def shares(self) -> tuple[float, ...]:
        """Each batch's count per row."""
        return tuple(c / n for c, n in zip(self.counts, self.rows, strict=True))


def close(values: Iterable[float], tolerance: float = CLOSE) -> bool:
    """Whether numbers that are not negative are all the same but for rounding."""
    found = list(values)
    return not found or max(found) - min(found) <= tolerance * max(abs(v) for v in found)


def batch_means(facts: Facts, epoch: Epoch) -> list[BatchMeans]:
    """The means that were recorded at every step of an epoch and give its logged value. Empty for a trace that does
    not say which metrics belong to the loss, and for a fit on several replicas, where a batch counts once on each."""
    described = facts.trace.header.metric_variables
    steps = facts.trace.index.steps_of(epoch.epoch)
    replicas = facts.trace.header.replicas
    if not steps or (replicas is not None and replicas.count > 1):
        return []
    added = [sums(facts.trace, step) for step in steps]
    rows = tuple(len(step.batch.row_ids) for step in steps)
    found: dict[str, BatchMeans] = {}
    for v in described:
        log = v.log
        if log is None or v.of_loss is None or log in found or any(log not in a for a in added) or 0 in rows:
            continue
        means = BatchMeans(
            log,
            v.of_loss,
            v.function,
            v.same_as,
            epoch.epoch,
            rows,
            tuple(a[log][0] for a in added),
            tuple(a[log][1] for a in added),
        )
        logged = epoch.logs.get(log)
        if isinstance(logged, (int, float)) and math.isclose(means.value, logged, rel_tol=CLOSE, abs_tol=1e-9):
            found[log] = means
    return list(found.values())

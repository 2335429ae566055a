"""What is remembered of the rows of earlier fits; the oracle is a set of digests."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from diagnose.record import trained_rows
from diagnose.record.trained_rows import TrainedRows


def digest(number: int) -> bytes:
    return hashlib.md5(str(number).encode()).digest()


def ids(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def test_a_later_fit_finds_the_rows_that_were_trained_on_until_an_epoch() -> None:
    first = TrainedRows()
    first.added([digest(n) for n in range(10)])
    first.trained(ids(0, 1, 2), 1)
    first.trained(ids(2, 3), 2)
    for epoch, known in ((1, {0, 1, 2}), (2, {0, 1, 2, 3})):
        second = TrainedRows()
        second.begin(first.now().until(epoch))
        second.added([digest(n) for n in range(5)])
        assert [second.before([ids(n)]) for n in range(5)] == [int(n in known) for n in range(5)]
        assert second.before([ids(0, 0, 4), ids(1)]) == 3
        assert second.before([ids(-1, 99)]) == 0


def test_a_third_fit_knows_those_of_both() -> None:
    first, second, third = TrainedRows(), TrainedRows(), TrainedRows()
    first.added([digest(1)])
    first.trained(ids(0), 1)
    second.begin(first.now().until(1))
    second.added([digest(2), digest(1)])
    second.trained(ids(0), 4)
    third.begin(second.now().until(3))
    third.added([digest(1), digest(2)])
    assert [third.before([ids(0)]), third.before([ids(1)])] == [1, 0]
    third = TrainedRows()
    third.begin(second.now().until(4))
    third.added([digest(1), digest(2)])
    assert third.before([ids(0, 1)]) == 2


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained_rows, "MOST_ROWS", 8)
    rows = TrainedRows()
    rows.added([digest(n) for n in range(6)])
    rows.added([digest(n) for n in range(6, 100)])
    rows.trained(ids(*range(100)), 1)
    known = rows.now()
    assert len(known.keys) == len(known.epochs) == 8
    later = TrainedRows()
    later.begin(known.until(1))
    later.added([digest(n) for n in range(200, 208)])
    later.trained(ids(*range(8)), 1)
    assert len(later.now().keys) == 8

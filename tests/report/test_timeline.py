"""Which versions each logged value is tied to, and which stretch is drawn."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from diagnose.report.timeline import FOCUS_EPOCHS, build_timeline
from diagnose.result.diagnosis import Clock, Diagnosis, Span
from tests.report import examples


def ties_of(diagnosis: Diagnosis) -> list[tuple[int, int, Span | None]]:
    view = build_timeline(diagnosis)
    assert view is not None
    return [(tie.epoch, tie.filed_at, tie.computed_at) for tie in view.ties]


def test_one_step_epochs_are_tied_to_the_version_before() -> None:
    assert ties_of(examples.single_batch()) == [(e, e, Span(e - 1, e - 1)) for e in range(1, 9)]
    view = build_timeline(examples.single_batch())
    assert view is not None and view.best is not None and view.held is not None
    assert (view.best.epoch, view.best.computed_at, view.best.logged_label) == (6, Span(5, 5), "33.216")
    assert (view.held.version, view.held.value, view.held.word) == (6, 38.88181, "restored")
    assert (view.window, view.focus, view.scale) == (Span(0, 8), None, "linear")
    assert "slants back" in view.caption


def test_many_steps_are_tied_to_a_range() -> None:
    assert ties_of(examples.many_batches(10, 16))[2] == (3, 48, Span(32, 47))
    view = build_timeline(examples.many_batches())
    assert view is not None and "wedge" in view.caption


def test_validation_is_tied_to_the_end_of_its_epoch() -> None:
    assert ties_of(examples.aligned()) == [(e, 5 * e, Span(5 * e, 5 * e)) for e in range(1, 13)]
    view = build_timeline(examples.aligned())
    assert view is not None and "upright" in view.caption and not view.has_reevaluated


@pytest.mark.parametrize("span", [None, Span(2, 2), Span(0, 3)])
def test_each_value_is_tied_to_what_its_rows_clock_says(span: Span | None) -> None:
    base = examples.single_batch()
    rows = tuple(replace(row, clocks={"loss": Clock("train-steps", span)}) for row in base.epoch_rows)
    assert {at for _, _, at in ties_of(replace(base, epoch_rows=rows))} == {span}


def test_key_metric() -> None:
    assert examples.single_batch().key_metric == "loss"
    assert examples.aligned().key_metric == "val_loss"
    assert examples.threshold().key_metric == "accuracy"
    assert replace(examples.threshold(), findings=()).key_metric == "loss"
    assert examples.empty().key_metric is None and build_timeline(examples.empty()) is None


def test_long_fits_get_a_window_around_what_matters() -> None:
    view = build_timeline(examples.threshold(300, 4))
    assert view is not None and view.focus == view.window
    assert [tie.epoch for tie in view.shown] == list(range(300 - FOCUS_EPOCHS + 1, 301))
    assert len(view.ties) == 300
    assert view.threshold == 1.0


@pytest.mark.parametrize(("best", "held"), [(150, 150), (150, 149), (2, 3), (299, 300), (150, 290), (100, 125)])
def test_the_window_holds_the_best_and_if_near_the_restored(best: int, held: int) -> None:
    base = examples.many_batches(300, 4)
    assert base.restoration is not None
    restoration = replace(
        base.restoration, best_epoch=best, restored_version=held * 4, computed_at=Span(best * 4 - 4, best * 4 - 1)
    )
    view = build_timeline(replace(base, restoration=restoration))
    assert view is not None and view.best is not None
    shown = [tie.epoch for tie in view.shown]
    assert best in shown and FOCUS_EPOCHS <= len(shown) <= 40
    assert (held in shown) == (abs(best - held) <= 30)
    assert view.window == Span(4 * shown[0] - 4, 4 * shown[-1])


def test_values_over_decades_are_drawn_on_a_log_scale() -> None:
    view = build_timeline(examples.not_finite())
    assert view is not None and view.scale == "log"


def test_values_that_are_not_finite_are_named_with_their_epochs() -> None:
    view = build_timeline(examples.not_finite())
    assert view is not None
    assert [run.text for run in view.not_finite] == ["logged NaN, epochs 4–6", "re-evaluated inf/NaN, epochs 3–6"]
    assert [tie.logged_label for tie in view.shown][2:4] == ["3.1000e+33", "NaN"]


def test_labels_of_close_values_differ() -> None:
    base = examples.single_batch()
    rows = tuple(
        replace(row, logged={"loss": 1 + row.epoch * 1e-6}, reevaluated={"loss": 1 + (row.epoch + 1) * 1e-6})
        for row in base.epoch_rows
    )
    view = build_timeline(replace(base, epoch_rows=rows))
    assert view is not None
    for tie in view.shown:
        assert tie.logged_label != tie.reevaluated_label
    labels = [tie.logged_label for tie in view.shown]
    assert len(set(labels)) == 8 and labels[1] == view.shown[0].reevaluated_label


def test_an_unknown_held_version_is_not_invented() -> None:
    base = examples.single_batch()
    assert base.restoration is not None
    lost = replace(base.restoration, verdict="replaced", restored_version=None, restored_epoch=None)
    view = build_timeline(replace(base, restoration=lost))
    assert view is not None and view.held is None


def test_without_a_restore_the_last_version_is_marked() -> None:
    view = build_timeline(replace(examples.single_batch(), restoration=None))
    assert view is not None and view.held is not None and view.best is None
    assert (view.held.version, view.held.word) == (8, "last")


def test_a_value_missing_in_an_epoch_is_missing_in_the_figure() -> None:
    base = examples.aligned()
    rows = tuple(
        replace(row, logged={"loss": row.logged["loss"]}, validation_version=None) if row.epoch % 2 else row
        for row in base.epoch_rows
    )
    view = build_timeline(replace(base, epoch_rows=rows))
    assert view is not None and [tie.epoch for tie in view.ties] == [2, 4, 6, 8, 10, 12]
    assert all(tie.logged is not None and math.isfinite(tie.logged) for tie in view.ties)


def test_a_wide_tie_of_the_same_weights_is_no_average() -> None:
    base = examples.many_batches()

    def with_different(*different: int) -> str:
        rows = [
            replace(row, clocks={k: replace(c, different=different[i % len(different)]) for k, c in row.clocks.items()})
            for i, row in enumerate(base.epoch_rows)
        ]
        view = build_timeline(replace(base, epoch_rows=tuple(rows)))
        assert view is not None
        return view.caption

    assert "all steps of an epoch were computed with them" in with_different(1)
    assert "in some epochs" in with_different(1, 2) and "wedge" in with_different(2)

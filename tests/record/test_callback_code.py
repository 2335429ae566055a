"""What is recognised in a callback's own code, thresholds and reads, and which near misses must not be. None is run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import pytest

from diagnose.record import describe
from diagnose.record.callback_code import reads, thresholds

LIMIT = 0.75
WORD = "high"


class Base(keras.callbacks.Callback):
    """Its subclasses only have code to read; running it would be a failure of the test."""


def method(function: Callable[..., Any], hook: str = "on_epoch_end", **attributes: Any) -> Any:
    cb = type("Stops", (Base,), {hook: function})()
    vars(cb).update(attributes)
    return cb


def found(cb: Any) -> list[tuple[str, str, float | None]]:
    return [(t["key"], t["op"], t["value"]) for t in thresholds(cb)]


def subscript(self: Any, epoch: int, logs: Any = None) -> None:
    if logs["accuracy"] >= 0.9:
        self.model.stop_training = True


def get(self: Any, epoch: int, logs: Any = None) -> None:
    logs = logs or {}
    if logs.get("accuracy", 0.0) > 0.9:
        print("done")
        self.model.stop_training = True


def through_a_local_name(self: Any, epoch: int, logs: Any = None) -> None:
    current = logs.get("loss")
    if current is not None and current < 0.1:
        self.model.stop_training = True


def through_the_walrus(self: Any, epoch: int, logs: Any = None) -> None:
    if (current := (logs or {})["loss"]) and current <= 0.1:
        self.model.stop_training = True


def on_an_attribute(self: Any, epoch: int, logs: Any = None) -> None:
    if float(logs["accuracy"]) >= self.target:
        self.model.stop_training = True


def on_a_global(self: Any, epoch: int, logs: Any = None) -> None:
    if logs["accuracy"] >= LIMIT:
        self.model.stop_training = True


def mirrored(self: Any, epoch: int, logs: Any = None) -> None:
    if logs["accuracy"] >= 0.9:
        self.model.stop_training = True


def negative(self: Any, epoch: int, logs: Any = None) -> None:
    if logs["score"] > -0.5:
        self.model.stop_training = True


def computed(self: Any, epoch: int, logs: Any = None) -> None:
    if logs["accuracy"] >= self.targets[epoch]:
        self.model.stop_training = True


def by_setattr(self: Any, epoch: int, logs: Any = None) -> None:
    if logs["accuracy"] >= 0.9:
        setattr(self.model, "stop_training", True)  # noqa: B010


def two_conditions(self: Any, epoch: int, logs: Any = None) -> None:
    if logs["accuracy"] >= 0.9 and logs["loss"] < 0.2:
        self.model.stop_training = True


def nested(self: Any, epoch: int, logs: Any = None) -> None:
    if logs["accuracy"] >= 0.9:  # noqa: SIM102
        if epoch > 3:
            self.model.stop_training = True


def in_a_chain(self: Any, epoch: int, logs: Any = None) -> None:
    if logs["loss"] > 9.0:
        print("poor")
    elif logs["accuracy"] >= 0.9:
        self.model.stop_training = True


@pytest.mark.parametrize(
    ("function", "attributes", "expected"),
    [
        (subscript, {}, [("accuracy", ">=", 0.9)]),
        (get, {}, [("accuracy", ">", 0.9)]),
        (through_a_local_name, {}, [("loss", "<", 0.1)]),
        (through_the_walrus, {}, [("loss", "<=", 0.1)]),
        (on_an_attribute, {"target": 1}, [("accuracy", ">=", 1.0)]),
        (on_a_global, {}, [("accuracy", ">=", 0.75)]),
        (mirrored, {}, [("accuracy", ">=", 0.9)]),
        (negative, {}, [("score", ">", -0.5)]),
        (computed, {"targets": [0.9]}, [("accuracy", ">=", None)]),
        (by_setattr, {}, [("accuracy", ">=", 0.9)]),
        (nested, {}, [("accuracy", ">=", 0.9)]),
        (in_a_chain, {}, [("accuracy", ">=", 0.9)]),
        (two_conditions, {}, [("accuracy", ">=", 0.9), ("loss", "<", 0.2)]),
    ],
    ids=lambda p: getattr(p, "__name__", ""),
)
def test_recognised(function: Any, attributes: dict[str, Any], expected: list[Any]) -> None:
    assert found(method(function, **attributes)) == expected


def test_a_closure_is_read() -> None:
    limit = 0.6

    def closes(self: Any, epoch: int, logs: Any = None) -> None:
        if logs["accuracy"] > limit:
            self.model.stop_training = True

    assert found(method(closes)) == [("accuracy", ">", 0.6)]


def test_a_lambda_callback_is_read() -> None:
    def stop(epoch: int, logs: Any) -> None:
        if logs["accuracy"] > 0.5:
            keras.backend.stop_training = True

    assert found(keras.callbacks.LambdaCallback(on_epoch_end=stop)) == [("accuracy", ">", 0.5)]


def test_a_batch_hook_is_read_and_named() -> None:
    (entry,) = thresholds(method(subscript, hook="on_train_batch_end"))
    assert entry["hook"] == "on_train_batch_end"
    assert entry["code"] == 'logs["accuracy"] >= 0.9'


def test_an_inherited_hook_is_read() -> None:
    parent = type(method(on_an_attribute))
    child = type("Child", (parent,), {"target": 0.8})()
    assert found(child) == [("accuracy", ">=", 0.8)]


# ── near misses ──


def stops_elsewhere(self: Any, epoch: int, logs: Any = None) -> None:
    if logs["accuracy"] >= 0.9:
        print("good")
    self.model.stop_training = epoch > 3


def only_prints(self: Any, epoch: int, logs: Any = None) -> None:
    if logs["accuracy"] >= 0.9:
        print("good")


def compares_the_epoch(self: Any, epoch: int, logs: Any = None) -> None:
    if epoch >= 10:
        self.model.stop_training = True


def compares_something_else(self: Any, epoch: int, logs: Any = None) -> None:
    if self.results["accuracy"] >= 0.9:
        self.model.stop_training = True


def equality(self: Any, epoch: int, logs: Any = None) -> None:
    if logs["accuracy"] == 1.0:
        self.model.stop_training = True


def key_is_not_written_out(self: Any, epoch: int, logs: Any = None) -> None:
    if logs[self.monitor] >= 0.9:
        self.model.stop_training = True


def reads_the_flag(self: Any, epoch: int, logs: Any = None) -> None:
    if logs["accuracy"] >= 0.9:
        self.stopped = self.model.stop_training


@pytest.mark.parametrize(
    "function",
    [
        stops_elsewhere,
        only_prints,
        compares_the_epoch,
        compares_something_else,
        equality,
        key_is_not_written_out,
        reads_the_flag,
    ],
    ids=lambda f: f.__name__,
)
def test_not_recognised(function: Any) -> None:
    assert found(method(function)) == []


def resets_the_flag(self: Any, epoch: int, logs: Any = None) -> None:
    if logs["accuracy"] < 0.9:
        self.model.stop_training = False


def test_taking_the_flag_back_is_no_threshold() -> None:
    assert found(method(resets_the_flag)) == []


def goes_on_above(self: Any, epoch: int, logs: Any = None) -> None:
    if logs["accuracy"] < 0.9:
        print("not yet")
    else:
        self.model.stop_training = True


def test_stopping_in_the_else_branch_turns_the_comparison_round() -> None:
    assert found(method(goes_on_above)) == [("accuracy", ">=", 0.9)]


def stops_unless(self: Any, epoch: int, logs: Any = None) -> None:
    if not logs["accuracy"] < 0.9:
        self.model.stop_training = True


def test_a_negated_comparison_is_turned_round() -> None:
    assert found(method(stops_unless)) == [("accuracy", ">=", 0.9)]


def a_local_that_is_used_again(self: Any, epoch: int, logs: Any = None) -> None:
    value = logs["loss"]
    self.seen = value
    value = self.previous
    if value < 0.5:
        self.model.stop_training = True


def test_a_local_name_that_came_to_hold_something_else_is_left_out() -> None:
    assert found(method(a_local_that_is_used_again)) == []


def a_threshold_of_words(self: Any, epoch: int, logs: Any = None) -> None:
    if logs["accuracy"] >= WORD:
        self.model.stop_training = True


def test_a_threshold_that_is_no_number_has_no_value() -> None:
    assert found(method(a_threshold_of_words)) == [("accuracy", ">=", None)]
    assert found(method(on_an_attribute, target=True)) == [("accuracy", ">=", None)]
    assert math.isinf(found(method(on_an_attribute, target=math.inf))[0][2] or 0)


def test_code_without_source_is_left_out() -> None:
    namespace: dict[str, Any] = {}
    exec("def made(self, epoch, logs=None):\n    if logs['a'] > 1:\n        self.model.stop_training = True", namespace)
    assert found(method(namespace["made"])) == []


def test_callbacks_of_keras_itself_have_none() -> None:
    assert found(keras.callbacks.EarlyStopping(baseline=0.5)) == []


class Trap:
    """Raises if anything of it is run: compared, converted, called."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"ran {name}")

    def __float__(self) -> float:
        raise AssertionError("ran __float__")


class Trapped(Base):
    @property
    def target(self) -> float:
        raise AssertionError("ran a property")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs["accuracy"] >= self.target:
            self.model.stop_training = True
        if logs["loss"] < self.trap:
            self.model.stop_training = True


def test_nothing_of_the_callback_is_run() -> None:
    cb = Trapped()
    vars(cb)["trap"] = Trap()
    assert found(cb) == [("accuracy", ">=", None), ("loss", "<", None)]


# ── what hooks read ──

KEY = "accuracy"


def reads_two(self: Any, batch: int, logs: Any = None) -> None:
    logs = logs or {}
    if "loss" in logs:
        self.losses.append(float(logs["loss"]))
    self.seen = logs.get("accuracy", 0.0)


def reads_under_another_name(self: Any, batch: int, values: Any = None) -> None:
    print(values["loss"])


def reads_through_an_attribute(self: Any, batch: int, logs: Any = None) -> None:
    self.seen.append(logs[self.monitor])


def reads_through_a_global(self: Any, batch: int, logs: Any = None) -> None:
    self.seen.append(logs.get(KEY))


def reads_through_a_number(self: Any, batch: int, logs: Any = None) -> None:
    self.seen.append(logs[batch])


def takes_the_items(self: Any, batch: int, logs: Any = None) -> None:
    for name, value in logs.items():
        print(name, value)


def keeps_all(self: Any, batch: int, logs: Any = None) -> None:
    self.history.append(logs)


def keeps_a_copy(self: Any, batch: int, logs: Any = None) -> None:
    self.last = dict(logs)


def writes_all_beside_others(self: Any, batch: int, logs: Any = None) -> None:
    self.write({"batch": batch, **logs})


def passes_on(self: Any, batch: int, logs: Any = None) -> None:
    super(Base, self).on_train_batch_end(batch, logs)


def looks_only_whether(self: Any, batch: int, logs: Any = None) -> None:
    if logs is None or "loss" not in logs:
        return


def writes_into_the_logs(self: Any, batch: int, logs: Any = None) -> None:
    logs["rate"] = 0.1


def reads_something_else(self: Any, batch: int, logs: Any = None) -> None:
    print(self.results["loss"])


def undoes_the_mean(self: Any, batch: int, logs: Any = None) -> None:
    so_far = (batch + 1) * float(logs["loss"])
    self.own, self.before = so_far - self.before, so_far
    print(logs["accuracy"])


def undoes_it_through_a_name(self: Any, batch: int, logs: Any = None) -> None:
    mean = logs["loss"]
    self.own = mean * (1 + batch) - self.before


def makes_percent(self: Any, batch: int, logs: Any = None) -> None:
    print(100 * logs["accuracy"])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (reads_two, ["loss", "accuracy"]),
        (reads_under_another_name, ["loss"]),
        (reads_through_an_attribute, ["val_loss"]),
        (reads_through_a_global, ["accuracy"]),
        (reads_through_a_number, None),
        (takes_the_items, ["*"]),
        (keeps_all, ["*"]),
        (keeps_a_copy, ["*"]),
        (writes_all_beside_others, ["*"]),
        (passes_on, None),
        (looks_only_whether, None),
        (writes_into_the_logs, None),
        (reads_something_else, None),
        (undoes_the_mean, ["accuracy"]),
        (undoes_it_through_a_name, None),
        (makes_percent, ["accuracy"]),
    ],
    ids=lambda p: getattr(p, "__name__", ""),
)
def test_keys_that_a_batch_hook_reads(function: Any, expected: list[str] | None) -> None:
    cb = method(function, hook="on_train_batch_end", monitor="val_loss")
    assert reads(cb) == ({} if expected is None else {"on_train_batch_end": expected})


def test_the_epoch_number_is_no_number_of_batches() -> None:
    assert reads(method(undoes_the_mean)) == {"on_epoch_end": ["loss", "accuracy"]}


def test_each_hook_has_its_own_keys() -> None:
    cb = type("Both", (Base,), {"on_epoch_end": subscript, "on_train_batch_end": reads_two})()
    assert reads(cb) == {"on_epoch_end": ["accuracy"], "on_train_batch_end": ["loss", "accuracy"]}


def test_lambdas_are_told_apart_though_they_share_lines() -> None:
    cb = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: print(logs["loss"]), on_epoch_end=lambda epoch, logs: print(logs["mae"]),
        on_epoch_begin=lambda epoch, logs: print(logs["not read"]),
    )  # fmt: skip
    assert reads(cb) == {"on_epoch_end": ["mae"], "on_train_batch_end": ["loss"]}


def test_a_lambda_inside_a_call_of_several_lines_is_read() -> None:
    seen: list[float] = []
    found = [
        keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, values: seen.append(values["loss"])),
        None,
    ][0]
    assert reads(found) == {"on_train_batch_end": ["loss"]}


def says_mean(self: Any, batch: int, logs: Any = None) -> None:
    print("Up to batch {}, the average loss is {:7.2f}.".format(batch, logs["loss"]))


def says_mean_of_a_local_name(self: Any, batch: int, logs: Any = None) -> None:
    value = float(logs["loss"])
    print(f"{batch}: running loss {value:.3f}")


def says_mean_and_keeps(self: Any, batch: int, logs: Any = None) -> None:
    print(f"average loss {logs['loss']:.3f}")
    self.losses.append(logs["loss"])


def averages_it_again(self: Any, batch: int, logs: Any = None) -> None:
    self.total += logs["loss"]
    print(f"average loss {self.total / (batch + 1):.3f}")


def names_a_metric(self: Any, batch: int, logs: Any = None) -> None:
    print(f"mean absolute error {logs['mean_absolute_error']:.3f}")


@pytest.mark.parametrize(
    ("function", "read"),
    [
        (says_mean, []),
        (says_mean_of_a_local_name, []),
        (says_mean_and_keeps, ["loss"]),
        (averages_it_again, ["loss"]),
        (names_a_metric, ["mean_absolute_error"]),
    ],
)
def test_a_running_mean_that_is_shown_as_one_is_not_taken_for_more(function: Any, read: list[str]) -> None:
    assert reads(method(function, "on_train_batch_end")).get("on_train_batch_end", []) == read


def test_at_the_end_of_an_epoch_a_value_shown_as_a_mean_is_read_all_the_same() -> None:
    assert reads(method(says_mean, "on_epoch_end")) == {"on_epoch_end": ["loss"]}


def test_callbacks_of_keras_itself_are_not_read() -> None:
    assert reads(keras.callbacks.ProgbarLogger()) == {}
    assert describe.callback(keras.callbacks.ReduceLROnPlateau())["reads"] == {}


def test_reading_runs_nothing_of_the_callback() -> None:
    def reads_what_raises(self: Any, batch: int, logs: Any = None) -> None:
        print(logs[self.target], logs[self.trap])

    cb = type("Reads", (Trapped,), {"on_train_batch_end": reads_what_raises})()
    vars(cb)["trap"] = Trap()
    assert "on_train_batch_end" not in reads(cb)


def test_hooks_set_on_the_instance_are_among_its_hooks() -> None:
    cb = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: print(logs["loss"]))
    described = describe.callback(cb)
    assert described["hooks"] == ["on_train_batch_end"]
    assert described["reads"] == {"on_train_batch_end": ["loss"]}


# ── one reader for both ──


def of_another_parameter(self: Any, epoch: int, metrics: Any = None) -> None:
    if metrics["accuracy"] > 0.9:
        self.model.stop_training = True


def of_an_attribute(self: Any, epoch: int, logs: Any = None) -> None:
    if logs[self.watch] > 0.9:
        self.model.stop_training = True


def of_a_pop(self: Any, epoch: int, logs: Any = None) -> None:
    if logs.pop("accuracy") > 0.9:
        self.model.stop_training = True


def of_the_second_of_three(self: Any, epoch: int, found: Any = None, verbose: int = 0) -> None:
    if found.get("accuracy") > 0.9 and verbose["loss"] > 0.5:
        self.model.stop_training = True


def of_no_self(epoch: int, found: Any = None) -> None:
    if found["accuracy"] > 0.9:
        Base.model.stop_training = True


FORMS = [
    of_another_parameter, of_an_attribute, of_a_pop, of_the_second_of_three, staticmethod(of_no_self),
]  # fmt: skip


@pytest.mark.parametrize("function", FORMS, ids=lambda f: f.__name__)
def test_what_is_read_is_seen_in_a_threshold_too(function: Any) -> None:
    cb = method(function, watch="accuracy")
    assert reads(cb) == {"on_epoch_end": ["accuracy"]}
    assert found(cb) == [("accuracy", ">", 0.9)]


def test_at_the_end_of_a_test_the_logs_are_the_only_argument() -> None:
    def stops(self: Any, found: Any = None) -> None:
        if found["loss"] < 0.1:
            self.model.stop_training = True

    cb = method(stops, hook="on_test_end")
    assert reads(cb) == {"on_test_end": ["loss"]} and found(cb) == [("loss", "<", 0.1)]

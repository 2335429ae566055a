from __future__ import annotations

import json
import math
import sys
import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnose.tracefile.jsontext import MAX_REPR, from_json, json_cost, to_json
from tests.tracefile.sample import plain

KEYS = st.text(max_size=4) | st.sampled_from(["$float", "$$float", "$"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


def comparable(value: Any) -> Any:
    """As `plain`, with one NaN: JSON keeps that it is one, not its payload bits."""
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    return [comparable(item) for item in value] if isinstance(value, list) else plain(value)


@given(VALUES)
def test_json_comes_back_as_it_was(value: Any) -> None:
    text = to_json(value)
    json.loads(text, parse_constant=pytest.fail)  # strict JSON: no NaN or Infinity literals
    assert comparable(from_json(text)) == comparable(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_floats_are_spelled_out(value: float) -> None:
    assert json.loads(to_json(value)) == {"$float": str(value)}
    assert str(from_json(to_json({"loss": np.float32(value)}))["loss"]) == str(value)


class Tensor:
    def __float__(self) -> float:
        return float("nan")


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5), (np.int8(-3), -3), (np.bool_(True), True), (np.float64(1e300), 1e300), ((1, 2), [1, 2]),
        (ml_dtypes.bfloat16(1.5), 1.5), (np.array(7), 7), (np.array([[1, 2]]), [[1, 2]]),
        ({1: "a"}, {"1": "a"}), (1j, "1j"),
        (b"x", "b'x'"), (Broken(), "<Broken that cannot be shown>"), (np.str_("s"), "s"),
        ({"$float": "nan"}, {"$float": "nan"}),
    ],
)  # fmt: skip
def test_values_of_other_types_become_the_nearest_json(value: Any, expected: Any) -> None:
    back = from_json(to_json(value))
    assert back == expected and type(back) is type(expected)


def test_what_converts_to_a_number_becomes_one() -> None:
    assert math.isnan(from_json(to_json(Tensor())))


def test_long_circular_and_huge_values_are_cut_not_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert len(from_json(to_json(object.__new__(type("C", (), {"__repr__": lambda _: "y" * 9999}))))) == MAX_REPR
    assert to_json(circle).startswith("[[[[")
    assert from_json(to_json(10**5000)).startswith("0x")


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "NaN", "[Infinity]", '{"$float":"seven"}', '{"$code":1}', "[" * 200_000, "1" * 5000, '{"$float":[]}',
        "[" * 81 + "]" * 81, '{"a":[' * 41 + "0" + "]}" * 41, f"-{'1' * 160}", '["]]]",' + "[" * 100 + "]" * 101,
    ],
)  # fmt: skip
def test_bad_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(text)


def test_brackets_in_texts_do_not_count_as_nesting() -> None:
    value = ["[" * 500, '"[{', {"\\": "[" * 500}] * 40
    assert from_json(json.dumps(value)) == value


def test_as_deep_as_is_written_can_be_read() -> None:
    deep: Any = float("nan")
    for _ in range(100):
        deep = [deep] if len(str(deep)) % 2 else {"key": deep}
    assert to_json(from_json(to_json(deep))) == to_json(deep)
    assert from_json(str(2**512 - 1)) == 2**512 - 1


@given(VALUES)
def test_the_cost_is_no_less_than_the_memory(value: Any) -> None:
    text = to_json([value])

    def memory(item: Any) -> int:
        inside = []
        if isinstance(item, dict):
            inside = [memory(part) + sys.getsizeof(key) for key, part in item.items()]
        if isinstance(item, list):
            inside = [memory(part) for part in item]
        return sys.getsizeof(item) + sum(inside)

    # Dicts have room for entries to come; one value alone is not what fills the memory.
    assert json_cost(text) + 200 * (1 + text.count("{")) + 100 >= memory(from_json(text))


@pytest.mark.parametrize("long", ['"' + "a" * 2_000_000 + '"', '"' + "\\n" * 1_000_000 + '"'])
def test_a_long_text_in_something_deep_takes_no_more_than_itself(long: str) -> None:
    """How deep a text is nested is counted outside its strings, which are looked over in one go."""
    text = "[" * 70 + "]" * 70
    tracemalloc.start()
    try:
        with pytest.raises(ValueError):
            from_json(f"[{text},{text},{long}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(long)

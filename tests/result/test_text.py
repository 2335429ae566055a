"""Spelling of numbers and names."""

from __future__ import annotations

import json
import math
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnose.result import text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (33.21640, "33.216"),
        (38.88181, "38.882"),
        (0.984, "0.98400"),
        (9.99996, "10.000"),
        (123456.7, "123457"),
        (-0.00012345678, "-0.00012346"),
        (3.1e33, "3.1000e+33"),
        (0.0, "0"),
        (None, "–"),
        (math.nan, "NaN"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
    ],
)
def test_number(value: float | None, expected: str) -> None:
    assert text.number(value) == expected


def test_number_with_sign() -> None:
    assert [text.number(x, sign=True) for x in (1.5, -1.5, 0.0, math.nan)] == ["+1.5000", "-1.5000", "0", "NaN"]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=6))
def test_different_values_never_look_the_same(values: list[float]) -> None:
    texts = text.spell(values)
    for i, a in enumerate(values):
        for j, b in enumerate(values):
            assert (texts[i] == texts[j]) == (a == b), (i, j)


@given(st.floats(-1e300, 1e300), st.integers(1, 15))
def test_what_is_shown_is_the_value_rounded(value: float, digits: int) -> None:
    shown = float(text.number(value, digits))
    assert shown == pytest.approx(value, rel=0.5001 * 10.0 ** (1 - digits), abs=0)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_exact_reads_back(value: float) -> None:
    assert float(text.exact(value)) == value


def test_values_that_are_not_finite_do_not_ask_for_digits() -> None:
    assert text.spell([math.nan, math.inf, 1.0, None]) == ["NaN", "inf", "1.0000", "–"]


def test_ticks_stand_where_they_say() -> None:
    assert text.ticks([0.9955, 0.997, 0.9985, 1.0]) == ["0.9955", "0.997", "0.9985", "1"]
    assert text.ticks([30.0, 60.0, 90.0]) == ["30", "60", "90"]
    assert text.ticks([100000.0, 100000.5]) == ["100000", "100000.5"]


def test_printable_takes_out_what_repaints_a_terminal() -> None:
    assert text.printable("a\x1b[31m\u202e\x00b") == "a�[31m��b"
    assert text.printable("two\nlines\tand\r\nmore") == "two lines and  more"
    assert text.printable("é漢字") == "é漢字"


@given(st.text(max_size=60), st.integers(4, 40))
def test_clip_and_shorten_keep_to_the_width(value: str, columns: int) -> None:
    for cut in (text.clip(value, columns), text.shorten(value, columns)):
        assert text.width(cut) <= columns
        if text.width(value) <= columns:
            assert cut == value


def test_wide_characters_take_two_columns() -> None:
    assert text.width("漢字a") == 5
    assert text.width(text.clip("漢字" * 30, 21)) in (20, 21)


UNSEEN = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def test_every_control_character_and_mark_is_made_visible() -> None:
    assert len(UNSEEN) > 2000
    for c in UNSEEN:
        assert text.visible(c) == ascii(c)[1:-1].replace("'", ""), hex(ord(c))
    assert text.visible("a\n\tb", keep="\n") == "a\n\\tb"
    assert text.visible("漢é\U0001f600 ‘–’ \ufffd") == "漢é\U0001f600 ‘–’ \ufffd"


@given(st.text(st.characters() | st.sampled_from(UNSEEN), max_size=20))
def test_json_with_marks_made_visible_reads_back_as_the_same(value: str) -> None:
    found = text.visible_json(json.dumps({value: [value, 1.5]}, ensure_ascii=False, indent=1))
    assert json.loads(found) == {value: [value, 1.5]}
    assert not {c for c in found if c != "\n"} & set(UNSEEN)


def test_of_a_very_long_text_the_beginning_is_shown() -> None:
    shown = text.printable("w\u0301" * 200_000)
    assert len(shown) == text.MOST_CHARS + 1 and shown.endswith("w\u0301…")
    assert text.width(text.clip("w" * 100_000, 30)) == 30

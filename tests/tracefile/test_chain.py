from __future__ import annotations

import struct

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from diagnose.tracefile.chain import Chain, decode_values, encode_values

VALUES = st.lists(
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    max_size=5,
)


@given(VALUES, VALUES)
def test_encodings_are_equal_exactly_if_types_and_values_are(a: list, b: list) -> None:
    def typed(values: list) -> list:
        return [struct.pack("<d", v) if type(v) is float else (type(v), v) for v in values]

    assert (encode_values(a) == encode_values(b)) == (typed(a) == typed(b))
    assert typed(decode_values(encode_values(a))) == typed(a)


def test_rows_with_shifted_borders_differ() -> None:
    assert (
        len({encode_values(v) for v in ([b"ab", b"c"], [b"a", b"bc"], [b"abc"], ["ab", "c"], [b"ab", b"c", None])}) == 5
    )


@pytest.mark.parametrize(
    "data", [b"i\0", b"x", b"b\xff\xff\xff\xff\xff\xff\xff\xff", b"t\1\0\0\0\0\0\0\0\xff", b"r1234567"]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_values(data)


def test_chain_is_xxh3_over_tag_width_and_values_of_each_row() -> None:
    chain = Chain()
    chain.add(3, (1, b"xy", None))
    branch = chain.copy()
    chain.add(4, (2, "ä", 0.5))
    first = bytes([3, 3]) + b"i" + struct.pack("<q", 1) + b"b" + struct.pack("<Q", 2) + b"xy" + b"n"
    second = bytes([4, 3]) + b"i" + struct.pack("<q", 2) + b"t" + struct.pack("<Q", 2) + "ä".encode()
    second += b"r" + struct.pack("<d", 0.5)
    assert branch.digest() == xxhash.xxh3_128(b"diagnose trace 1\n" + first).digest()
    assert chain.digest() == xxhash.xxh3_128(b"diagnose trace 1\n" + first + second).digest()

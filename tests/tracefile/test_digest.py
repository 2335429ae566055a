from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diagnose.tracefile import digest

DTYPES = st.sampled_from(["bool", "int8", "uint16", "int32", "int64", "float16", "float32", "float64", "complex64"])
ARRAYS = DTYPES.flatmap(lambda name: hnp.arrays(name, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))


@given(ARRAYS, ARRAYS)
def test_digests_are_equal_exactly_if_dtype_shape_and_bytes_are(a: np.ndarray, b: np.ndarray) -> None:
    same = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    assert (digest.array_digest(a) == digest.array_digest(b)) == same
    assert digest.array_digest(a) == digest.array_digest(a.copy(order="F"))


@given(ARRAYS.filter(lambda a: a.nbytes > 0), st.data())
def test_every_bit_counts(array: np.ndarray, data: st.DataObject) -> None:
    raw = bytearray(array.tobytes())
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << (bit % 8)
    flipped = np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)
    assert digest.array_digest(flipped) != digest.array_digest(array)


def test_array_digest_is_xxh3_of_header_and_little_endian_c_order_bytes() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = xxhash.xxh3_128(b"float32:2,3\n" + array.astype("<f4").tobytes()).digest()
    for same in (array, np.asfortranarray(array), array.astype(">f4"), np.repeat(array, 2, axis=1)[:, ::2]):
        assert digest.array_digest(same) == expected


def test_shape_and_dtype_are_part_of_the_digest() -> None:
    zeros = [np.zeros(s, d) for s in ((), (1,), (1, 1), (0,), (0, 1)) for d in ("float32", "int32", "uint32")]
    assert len({digest.array_digest(a) for a in zeros}) == len(zeros)


def test_extended_floats_have_digests() -> None:
    one = np.ones(3, ml_dtypes.bfloat16)
    assert digest.array_digest(one) == xxhash.xxh3_128(b"bfloat16:3\n" + one.tobytes()).digest()
    assert digest.numpy_dtype("float8_e4m3fn") == np.dtype(ml_dtypes.float8_e4m3fn)


@pytest.mark.parametrize("dtype", ["O", "U3", "S3", "M8[s]", "V4", "longdouble"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(TypeError, match="cannot hold arrays of dtype"):
        digest.array_digest(np.zeros(2, dtype))


def test_a_groups_digest_depends_on_members_and_order() -> None:
    a, b = b"a" * 16, b"b" * 16
    groups = [[], [a], [b], [a, b], [b, a], [a, a]]
    assert len({digest.group_digest(g) for g in groups}) == len(groups)
    assert digest.group_digest(iter([a, b])) == xxhash.xxh3_128(b"group\n" + a + b).digest()


@given(hnp.arrays(np.uint8, st.tuples(st.integers(0, 5), st.integers(0, 9))))
def test_row_digests_are_those_of_each_rows_bytes(packed: np.ndarray) -> None:
    expected = [xxhash.xxh3_128(row.tobytes()).digest() for row in packed]
    assert digest.row_digests(packed) == expected
    assert digest.row_digests(np.asfortranarray(packed)) == expected


def test_split_digests_undoes_joining() -> None:
    digests = (b"a" * 16, b"b" * 16)
    assert digest.split_digests(b"".join(digests)) == digests
    with pytest.raises(ValueError, match="multiple of 16"):
        digest.split_digests(b"a" * 17)

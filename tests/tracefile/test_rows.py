from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diagnose.tracefile.model import Leaf, Signature
from diagnose.tracefile.rows import build, in_columns, pack_rows, unpack_rows

DTYPES = ["bool", "uint8", "int32", "int64", "float16", "float32", "float64", "complex128"]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)


@st.composite
def row_leaves(draw: st.DrawFn) -> list[np.ndarray]:
    count = draw(st.integers(0, 4))
    kinds = draw(st.lists(st.tuples(st.sampled_from(DTYPES), SHAPES), min_size=1, max_size=3))
    return [draw(hnp.arrays(dtype, (count, *shape))) for dtype, shape in kinds]


def signature_of(leaves: list[np.ndarray]) -> Signature:
    return Signature(None, tuple(Leaf(leaf.dtype.name, leaf.shape[1:]) for leaf in leaves))


@given(row_leaves())
def test_rows_are_the_leaves_bytes_one_after_the_other_and_come_back(leaves: list[np.ndarray]) -> None:
    packed = pack_rows(leaves)
    plain = [b"".join(leaf[row].tobytes() for leaf in leaves) for row in range(len(leaves[0]))]
    assert [row.tobytes() for row in packed] == plain
    assert packed.shape == (len(plain), signature_of(leaves).row_nbytes)
    for leaf, back in zip(leaves, unpack_rows(packed, signature_of(leaves)), strict=True):
        assert (back.dtype, back.shape, back.tobytes()) == (leaf.dtype, leaf.shape, leaf.tobytes())
        assert not back.flags.writeable


def test_big_endian_strided_and_extended_leaves() -> None:
    leaves = [np.arange(6.0).astype(">f8").reshape(3, 2)[::-1], np.ones((3, 4), ml_dtypes.bfloat16)[:, ::2]]
    back = unpack_rows(pack_rows(leaves), signature_of(leaves))
    assert back[0].tolist() == leaves[0].tolist()
    assert back[1].dtype == ml_dtypes.bfloat16 and back[1].astype(float).tolist() == leaves[1].astype(float).tolist()


def test_whole_leaves_are_no_part_of_rows() -> None:
    signature = Signature(None, (Leaf("float32", (2,)), Leaf("float64", (9,), whole=True), Leaf("int8", ())))
    assert signature.row_nbytes == 9
    assert len(unpack_rows(np.zeros((3, 9), np.uint8), signature)) == 2


@pytest.mark.parametrize("leaves", [[], [np.float32(1)], [np.zeros(2), np.zeros(3)]])
def test_leaves_without_a_common_row_axis_are_refused(leaves: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="same number of rows"):
        pack_rows([np.asarray(leaf) for leaf in leaves])


def test_unpacking_refuses_other_widths_and_bools_that_are_none() -> None:
    signature = Signature(None, (Leaf("bool", (2,)),))
    with pytest.raises(ValueError, match="do not fit"):
        unpack_rows(np.zeros((1, 3), np.uint8), signature)
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        unpack_rows(np.array([[0, 2]], np.uint8), signature)


def test_build_makes_the_tree_the_structure_describes() -> None:
    a, b = np.zeros(1), np.ones(1)
    node = {"dict": {"p": {"list": [{"leaf": 1}, {"none": True}]}, "q": {"tuple": [{"leaf": 0}]}}}
    tree = build(node, [a, b])
    assert tree["p"][0] is b and tree["p"][1] is None and tree["q"] == (a,) and isinstance(tree["p"], list)


NESTED: Any = {"leaf": 0}
for _ in range(50):
    NESTED = {"list": [NESTED]}


@pytest.mark.parametrize(
    "node",
    [None, {}, {"leaf": 2}, {"leaf": -1}, {"leaf": True}, {"code": "x"}, {"leaf": 0, "none": 1}, {"list": 1}, NESTED],
)
def test_build_refuses_what_is_no_tree(node: Any) -> None:
    with pytest.raises(ValueError, match="structure"):
        build(node, [np.zeros(1), np.zeros(1)])


def test_arrays_with_numbers_for_each_row_stand_side_by_side_and_come_apart_again() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype("float32") for shape in ((5,), (5, 1), (5, 2, 3), (5, 0))]
    columns, nodes = in_columns(arrays)
    assert columns.shape == (5, 8)
    assert nodes[0] == {"leaf": 0}
    separate = [np.ascontiguousarray(columns[:, i]) for i in range(8)]
    for node, array in zip(nodes[:3], arrays[:3], strict=True):
        np.testing.assert_array_equal(build(node, separate), array)


@pytest.mark.parametrize("arrays", [[], [np.zeros(2), np.zeros(3)], [np.zeros(2), np.zeros(2, "float32")]])
def test_others_do_not_stand_side_by_side(arrays: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="same rows and dtype"):
        in_columns(arrays)


@pytest.mark.parametrize("content", [[], [-1, 1], [0, 9], [7, 2], ["a", 1], [0, 2.0], [0, 0]])
def test_columns_that_are_not_there_are_refused(content: list[Any]) -> None:
    with pytest.raises(ValueError, match="columns"):
        build({"columns": content}, [np.zeros(3)] * 8)

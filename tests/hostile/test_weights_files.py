"""Files of weights that are broken, or would have their reader follow, run or expand something: one test each."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from diagnose.errors import WeightsFileError
from diagnose.identify.files import open_weights

KERNEL = np.arange(6, dtype="float32").reshape(2, 3)


def read(path: Path) -> dict[str, np.ndarray]:
    with open_weights(path) as stored:
        return {name: stored.load(name) for name in stored.entries}


def refused(path: Path, match: str) -> None:
    """One sentence that names the file and what is wrong."""
    with pytest.raises(WeightsFileError, match=match) as caught:
        read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# ── any file ──


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.h5", "no such file")


def test_folder(tmp_path: Path) -> None:
    refused(tmp_path, "not a file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_named_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.h5")
    refused(tmp_path / "a.h5", "not a file")


@pytest.mark.parametrize(("content", "said"), [(b"", "empty"), (b"epoch,loss\n" * 9, "none of")])
def test_no_file_of_weights(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.weights.h5").write_bytes(content)
    refused(tmp_path / "a.weights.h5", said)


def test_pickle_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(pickle.dumps(KERNEL))
    refused(tmp_path / "a.npz", "none of")


def test_sharded_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.weights.json").write_text('{"weight_map": {}}')
    refused(tmp_path / "a.weights.json", "sharded")


# ── HDF5 ──


@pytest.fixture
def h5(tmp_path: Path) -> Callable[[Callable[[Any], None]], Path]:
    def make(fill: Callable[[Any], None]) -> Path:
        path = tmp_path / "a.weights.h5"
        with h5py.File(path, "w") as file:
            file["layers/dense/vars/0"] = KERNEL
            fill(file)
        return path

    return make


Make = Callable[[Callable[[Any], None]], Path]


def test_plain_hdf5_is_read(h5: Make) -> None:
    def fill(file: Any) -> None:
        file.create_dataset("z", data=KERNEL, chunks=(1, 3), compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("l", data=KERNEL, chunks=(1, 3), compression="lzf")
        file.create_dataset("big", data=KERNEL.astype(">f8"))

    found = read(h5(fill))
    assert set(found) == {"layers/dense/vars/0", "z", "l", "big"}
    for array in found.values():
        np.testing.assert_array_equal(array, KERNEL)
        assert array.dtype.isnative


def test_bfloat16_as_keras_writes_it(h5: Make) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")

    def fill(file: Any) -> None:
        file.create_dataset("b", data=KERNEL.astype(ml_dtypes.bfloat16)).attrs["dtype"] = "bfloat16"

    array = read(h5(fill))["b"]
    assert array.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(array.astype("float32"), KERNEL)


def test_external_link_is_not_followed(h5: Make, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as other:
        other["x"] = KERNEL

    def fill(file: Any) -> None:
        file["layers/link"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/x")

    refused(h5(fill), "external link")


def test_soft_link_is_not_followed(h5: Make) -> None:
    def fill(file: Any) -> None:
        file["soft"] = h5py.SoftLink("/layers/dense/vars/0")

    refused(h5(fill), "'soft' is a soft link")


def test_external_storage_is_not_read(h5: Make, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(24))

    def fill(file: Any) -> None:
        file.create_dataset("x", shape=(6,), dtype="f4", external=[(str(tmp_path / "secret.bin"), 0, 24)])

    refused(h5(fill), "external storage")


def test_virtual_dataset_is_not_read(h5: Make, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as other:
        other["x"] = KERNEL

    def fill(file: Any) -> None:
        layout = h5py.VirtualLayout((2, 3), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", (2, 3))
        file.create_virtual_dataset("v", layout)

    refused(h5(fill), "virtual")


def test_filter_of_a_plugin_is_not_loaded(h5: Make) -> None:
    def fill(file: Any) -> None:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((2, 3))
        settings.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())  # zstd, as a plugin
        h5py.h5d.create(file.id, b"f", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((2, 3)), settings)

    refused(h5(fill), "filter 32015")


def test_group_inside_itself(h5: Make) -> None:
    def fill(file: Any) -> None:
        file["layers/again"] = file["layers"]

    refused(h5(fill), "linked twice")


def test_groups_nested_without_end(h5: Make) -> None:
    refused(h5(lambda file: file.create_group("/".join("g" * 200)) and None), "nested too deeply")


@pytest.mark.parametrize(
    "dtype",
    [h5py.string_dtype(), h5py.vlen_dtype(np.int32), h5py.ref_dtype, np.dtype([("a", "f4"), ("b", "i4")]), "S5"],
    ids=["text", "lists", "references", "records", "bytes"],
)
def test_array_that_holds_no_numbers(h5: Make, dtype: Any) -> None:
    refused(h5(lambda file: file.create_dataset("o", shape=(2,), dtype=dtype) and None), "'o' holds no numbers")


def test_committed_type_is_no_array(h5: Make) -> None:
    def fill(file: Any) -> None:
        file["t"] = np.dtype("f4")

    refused(h5(fill), "neither a group nor an array")


def test_array_without_content(h5: Make) -> None:
    def fill(file: Any) -> None:
        file["e"] = h5py.Empty("f4")

    refused(h5(fill), "no content")


@pytest.mark.parametrize("chunks", [None, (1 << 10,)], ids=["contiguous", "chunked"])
def test_huge_array_out_of_nothing(h5: Make, chunks: Any) -> None:
    refused(
        h5(lambda f: f.create_dataset("h", shape=(1 << 40,), dtype="f4", chunks=chunks) and None), "'h' has 0 bytes"
    )


def test_array_that_expands_too_far(h5: Make, tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        made = file.create_dataset("b", shape=(1 << 34,), dtype="u1", chunks=(1 << 20,), compression="gzip")
        made.id.write_direct_chunk((0,), bytes(1 << 24))

    refused(h5(fill), "claims to expand to 17179869")


def test_chunk_far_larger_than_its_array(h5: Make) -> None:
    def fill(file: Any) -> None:
        made = file.create_dataset("c", shape=(8,), maxshape=(None,), dtype="u1", chunks=(1 << 30,), compression="gzip")
        made.id.write_direct_chunk((0,), b"x" * 64)

    refused(h5(fill), "chunks of 1073741824 bytes")


def test_compressed_content_that_is_damaged(h5: Make) -> None:
    def fill(file: Any) -> None:
        made = file.create_dataset("d", shape=(8,), dtype="f4", chunks=(8,), compression="gzip")
        made.id.write_direct_chunk((0,), b"not deflated at all, yet long enough")

    refused(h5(fill), "'d' is damaged")


def test_chunk_shorter_than_its_checksum(h5: Make) -> None:
    """HDF5 itself reads beyond the end of such a chunk, and the process is gone."""

    def fill(file: Any) -> None:
        made = file.create_dataset("n", shape=(8,), dtype="f4", chunks=(8,), shuffle=True, fletcher32=True)
        made.id.write_direct_chunk((0,), b"xy")

    refused(h5(fill), "'n' has a chunk that is not as long")


def test_truncated_hdf5(h5: Make) -> None:
    path = h5(lambda file: None)
    os.truncate(path, path.stat().st_size // 2)
    refused(path, "no whole HDF5 file")


def test_name_that_would_repaint_a_terminal(h5: Make) -> None:
    path = h5(lambda file: file.create_dataset("\x1b[2J", shape=(2,), dtype="S5") and None)
    with pytest.raises(WeightsFileError) as caught:
        read(path)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("at", range(0, 2000, 97))
def test_changed_bytes_are_read_or_refused(h5: Make, at: int) -> None:
    path = h5(lambda file: None)
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)
    try:
        read(path)
    except WeightsFileError as error:
        assert str(path) in str(error)


# ── zip: .keras and .npz ──


def weights() -> bytes:
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        file["layers/dense/vars/0"] = KERNEL
    return data.getvalue()


def zipped(path: Path, *members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def npy(array: Any, *, pickled: bool = False) -> bytes:
    data = io.BytesIO()
    np.lib.format.write_array(data, array, allow_pickle=pickled)
    return data.getvalue()


class Boom:
    def __reduce__(self) -> Any:
        return os.abort, ()


def test_config_of_an_archive_is_not_looked_at(tmp_path: Path) -> None:
    lambda_layer = b'{"class_name": "Lambda", "config": {"function": "gASVCgAAAAAAAACMAm9zlIwFYWJvcnSUk5QpUpQu"}}'
    members = [("config.json", lambda_layer), ("../../evil.py", b"boom"), ("model.weights.h5", weights())]
    found = read(zipped(tmp_path / "a.keras", *members))
    assert list(found) == ["layers/dense/vars/0"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.keras"]


def test_archive_without_weights(tmp_path: Path) -> None:
    refused(zipped(tmp_path / "a.keras", ("config.json", b"{}")), "needs one member model.weights.h5, and has 0")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archive_with_weights_twice(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.keras", ("model.weights.h5", weights()), ("model.weights.h5", weights()))
    refused(path, "and has 2")


def test_links_inside_an_archive_are_refused_too(tmp_path: Path) -> None:
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        file["x"] = h5py.ExternalLink("/etc/passwd", "/")
    refused(zipped(tmp_path / "a.keras", ("model.weights.h5", data.getvalue())), "external link")


def test_compression_bomb(tmp_path: Path) -> None:
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("model.weights.h5", "w") as member:
        for _ in range(1100):
            member.write(bytes(1 << 20))
    refused(path, "claims to expand to 1153433600")


def patched(path: Path, old: bytes, new: bytes, *, times: int) -> Path:
    content = path.read_bytes()
    assert content.count(old) == times
    path.write_bytes(content.replace(old, new))
    return path


def test_member_longer_than_it_claims(tmp_path: Path) -> None:
    """A small size in the directory, much more in the stream."""
    content = weights() + bytes(1 << 16)
    path = zipped(tmp_path / "a.keras", ("model.weights.h5", content), compression=zipfile.ZIP_DEFLATED)
    size = struct.pack("<I", len(content))
    refused(patched(path, size, struct.pack("<I", 100), times=2), "model.weights.h5")


def test_member_with_a_wrong_checksum(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.npz", ("a.npy", npy(KERNEL)))
    refused(patched(path, KERNEL.tobytes(), KERNEL[::-1].tobytes(), times=1), "Bad CRC-32")


def test_encrypted_member(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.npz", ("a.npy", npy(KERNEL)))
    content = bytearray(path.read_bytes())
    for magic, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(magic) + at] |= 1
    path.write_bytes(content)
    refused(path, "encrypted")


def test_other_compression(tmp_path: Path) -> None:
    refused(zipped(tmp_path / "a.npz", ("a.npy", npy(KERNEL)), compression=zipfile.ZIP_LZMA), "another way")


def test_archive_cut_off(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.npz", ("a.npy", npy(KERNEL)))
    os.truncate(path, path.stat().st_size - 10)
    refused(path, "zip directory is damaged")


def test_pickle_in_npz_is_not_loaded(tmp_path: Path) -> None:
    refused(zipped(tmp_path / "a.npz", ("a.npy", npy(np.array([Boom()], object), pickled=True))), "a pickle")


def test_bare_pickle_in_npz_is_not_loaded(tmp_path: Path) -> None:
    refused(zipped(tmp_path / "a.npz", ("a.npy", pickle.dumps(Boom()))), "no array of NumPy")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }", "takes 4398046511104"),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "no possible shape"),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os').abort(), }", "no array of NumPy"),
        (b"{'descr': '<U5', 'fortran_order': False, 'shape': (2,), }", "holds no numbers"),
    ],
    ids=["huge", "negative", "code", "text"],
)
def test_header_of_npy(tmp_path: Path, header: bytes, said: str) -> None:
    text = header.ljust(117) + b"\n"
    content = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + bytes(8)
    refused(zipped(tmp_path / "a.npz", ("a.npy", content)), said)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name(tmp_path: Path) -> None:
    refused(zipped(tmp_path / "a.npz", ("a.npy", npy(KERNEL)), ("a.npy", npy(KERNEL))), "two arrays 'a'")


def test_plain_npz_is_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", c=KERNEL, f=np.asfortranarray(KERNEL), b=KERNEL.astype(">f4"))
    for array in read(tmp_path / "a.npz").values():
        np.testing.assert_array_equal(array, KERNEL)
        assert array.dtype.isnative


# ── safetensors ──


def tensors(path: Path, header: Any, data: bytes = KERNEL.tobytes()) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(**changed: Any) -> dict[str, Any]:
    return {"k": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24], **changed}}


def test_plain_safetensors_is_read(tmp_path: Path) -> None:
    found = read(tensors(tmp_path / "a.safetensors", {"__metadata__": {"format": "pt"}, **entry()}))
    assert list(found) == ["k"]
    np.testing.assert_array_equal(found["k"], KERNEL)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b'{"k": ', "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no JSON object"),
        (b'{"k": 1, "k": 2}', "stands in it twice"),
        ({"k": 1}, "does not describe"),
        (entry(dtype="F99"), "holds no weights"),
        (entry(dtype=["F32"]), "holds no weights"),
        (entry(shape=[2, -3]), "no possible shape"),
        (entry(shape=[True, 24]), "no possible shape"),
        (entry(shape=[1 << 62, 1 << 62]), "takes"),
        (entry(shape=[2] * 40), "no possible shape"),
        (entry(data_offsets=[0, 20]), "has 20 bytes where its shape takes 24"),
        (entry(data_offsets=[8, 32]), "begins at byte 8"),
        (entry(data_offsets=[-24, 0]), "does not say where"),
        (entry(data_offsets=[0]), "does not say where"),
        ({**entry(), "l": entry()["k"]}, "begins at byte 0 where 24 is expected"),
    ],
)
def test_header_of_safetensors(tmp_path: Path, header: Any, said: str) -> None:
    refused(tensors(tmp_path / "a.safetensors", header), said)


@pytest.mark.parametrize("length", [0, 1 << 20, 1 << 62])
def test_header_longer_than_the_file(tmp_path: Path, length: int) -> None:
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", length) + b"{}")
    refused(tmp_path / "a.safetensors", "does not fit")


def test_bytes_that_belong_to_no_tensor(tmp_path: Path) -> None:
    refused(tensors(tmp_path / "a.safetensors", entry(), KERNEL.tobytes() + b"more"), "28 follow its header")

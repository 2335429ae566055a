"""Makes files of weights that claim, expand, point or name what no honest file does. Each maker returns a path."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tools.attacks import values

KERNEL = np.arange(6, dtype="float32").reshape(2, 3)
NAMES = (
    "layers/dense/vars/0", "layers/dense_" + "9" * 5000 + "/vars/0", "a", "a/b/c/d", "../up", "/abs", ".",
    *values.TEXTS,
)  # fmt: skip


def _name(chance: random.Random) -> str:
    text = chance.choice(NAMES).encode("utf-8", "replace").decode().replace("\0", "?")
    return text.strip("/") or "x"


def hdf5(folder: Path, chance: random.Random) -> Path:
    """Links, types, storage and names of every kind HDF5 has."""
    path = folder / chance.choice(("a.weights.h5", "a.h5"))
    with h5py.File(path, "w", libver=chance.choice(("earliest", "latest"))) as file:
        file["layers/dense/vars/0"] = KERNEL
        for _ in range(chance.choice((1, 1, 2, 5))):
            try:
                chance.choice(_HDF5)(file, chance)
            except (ValueError, TypeError, RuntimeError, OSError, KeyError, NotImplementedError):
                continue  # h5py will not write it
    return path


def _links(file: Any, chance: random.Random) -> None:
    name = _name(chance)
    kind = chance.randrange(5)
    if kind == 0:
        file[name] = h5py.SoftLink(chance.choice(("/", "/layers", "/none", "/layers/dense/vars/0")))
    elif kind == 1:
        file[name] = h5py.ExternalLink(chance.choice(("/etc/hostname", "other.h5")), "/x")
    elif kind == 2:
        file["layers/dense/again"] = file["layers"]
    elif kind == 3:
        file[name] = file["layers/dense/vars/0"]
    else:
        group = file
        for _ in range(chance.choice((5, 100, 1500))):
            group = group.create_group("g")
        group["x"] = KERNEL


def _types(file: Any, chance: random.Random) -> None:
    dtype: Any = chance.choice(
        ("f2", ">f8", "c8", "c16", "i1", ">u8", "?", "S5", "S0", "V3", h5py.string_dtype(), h5py.vlen_dtype("f4"),
         h5py.ref_dtype, h5py.regionref_dtype, h5py.enum_dtype({"a": 1}), [("a", "f4"), ("b", "i4")], ("f4", (2, 2)),
         h5py.opaque_dtype("M8[s]"), "f16")
    )  # fmt: skip
    dataset = file.create_dataset(_name(chance), shape=chance.choice(((), (0,), (2, 3), None)), dtype=dtype)
    if chance.random() < 0.5:
        dataset.attrs["dtype"] = chance.choice(("bfloat16", "float8_e4m3fn", "object", "x" * 5000, "float32", 7))


def _claims(file: Any, chance: random.Random) -> None:
    """Much is said to be there, little is."""
    shape = chance.choice(((2**40,), (2**20, 2**20), (10**6,), (0, 2**60), (1,) * 32, (30_000_000,)))
    kwargs: dict[str, Any] = {"dtype": chance.choice(("f4", "u1", "f8"))}
    if chance.random() < 0.7:
        kwargs |= {"chunks": tuple(min(n or 1, 1000) for n in shape), "fillvalue": chance.choice((0, 1))}
        if chance.random() < 0.5:
            kwargs["compression"] = "gzip"
    file.create_dataset(_name(chance), shape=shape, **kwargs)


def _expands(file: Any, chance: random.Random) -> None:
    """Little is stored of much."""
    size = chance.choice((10**5, 10**6, 2 * 10**7))
    data = np.zeros(size, "u1")
    chunks = chance.choice(((size,), (size // 10,), (1000 if size < 10**6 else size // 2,)))
    file.create_dataset(_name(chance), data=data, chunks=chunks, compression=chance.choice(("gzip", "lzf")))


def _inflates(file: Any, chance: random.Random) -> None:
    """A chunk inflates to much more than a chunk is said to have."""
    data = file.create_dataset(_name(chance), shape=(6,), dtype="f4", chunks=(6,), compression="gzip")
    data.id.write_direct_chunk((0,), zlib.compress(bytes(chance.choice((24, 25, 10**6, 5 * 10**7)))))


def _virtual(file: Any, chance: random.Random) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(chance.choice((".", "other.h5", "/etc/hostname")), "x", shape=(4,))
    file.create_virtual_dataset(_name(chance), layout)


def _many(file: Any, chance: random.Random) -> None:
    for i in range(chance.choice((10, 300, 2000))):
        file.create_dataset(f"layers/l{i}/vars/0", shape=chance.choice(((0,), (1,))), dtype="f4")


def _attributes(file: Any, chance: random.Random) -> None:
    names = chance.choice(([b"dense"], [b"dense"] * 500, "dense", 7, [1.5], [b"\xff\xfe"], [_name(chance).encode()]))
    file.attrs["layer_names"] = names
    group = file.require_group("dense")
    group.attrs["weight_names"] = chance.choice(([b"kernel:0"], [b"none"], [b"../x"], names, 3))
    if chance.random() < 0.5:
        group["kernel:0"] = KERNEL


_HDF5: tuple[Callable[[Any, random.Random], None], ...] = (
    _links, _types, _claims, _expands, _inflates, _virtual, _many, _attributes,
)  # fmt: skip


def archive(folder: Path, chance: random.Random) -> Path:
    """A `.keras` file: members missing, doubled, nested, bombs, false sizes."""
    inner = hdf5(folder, chance).read_bytes()
    path = folder / "a.keras"
    text = values.json_text(chance).encode("utf-8", "replace")
    bomb = bytes(chance.choice((0, 10**6, 3 * 10**7)))
    members: list[tuple[str, bytes]] = [
        ("metadata.json", chance.choice((b"{}", b"[" * 9999, b'{"keras_version": 3}', bomb))),
        ("config.json", chance.choice((b"{}", b"null", b'{"class_name": "__lambda__"}', text, bomb))),
        ("model.weights.h5", chance.choice((inner, inner, inner, inner[:100], b"", bomb, b"PK\3\4"))),
    ]  # fmt: skip
    if chance.random() < 0.3:
        members.append(("model.weights.h5", inner))
    if chance.random() < 0.3:
        members.append((_name(chance) or "x", chance.randbytes(10)))
    if chance.random() < 0.2:
        members = [members[2]]
    _zip(path, members, chance)
    return path


def npz(folder: Path, chance: random.Random) -> Path:
    """An `.npz`: heads of arrays that claim, name types, or are programs."""
    path = folder / "a.npz"
    members = [(_name(chance)[:60000] + ".npy", _npy(chance)) for _ in range(chance.choice((1, 1, 2, 30)))]
    _zip(path, members, chance)
    return path


def _npy(chance: random.Random) -> bytes:
    stream = io.BytesIO()
    np.save(stream, KERNEL)
    good = stream.getvalue()
    if chance.random() < 0.2:
        return good
    descr = chance.choice(
        ("'<f4'", "'|O'", "'<U9'", "[('a', '<f4')]", "'>f8'", "'M8[s]'", "'|V8'", "'<f4', 'x': 1", "__import__('os')",
         "(" * 300 + ")" * 300, "'<f4" + "x" * 5000 + "'", "''", "7", "[" * 60 + "]" * 60)
    )  # fmt: skip
    shape = chance.choice(
        ("(2, 3)", "(6,)", "()", "(2**62,)", "(4611686018427387904, 4)", "(-1,)", "(0, 9999999999999)",
         "(" + "1," * 40 + ")",
         "9" * 5000, "(" + "9" * 5000 + ",)", "[2, 3]", "(2, 3.0)", "(True, 6)", "(2, 3", "(30000000,)")
    )  # fmt: skip
    order = chance.choice(("False", "True", "0", "None"))
    head = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    version = chance.choice((b"\1\0", b"\2\0", b"\3\0", b"\4\0", b"\0\0"))
    length = chance.choice((len(head), len(head), len(head), 0, 65535, 2**31))
    packed = struct.pack("<H", length & 0xFFFF) if version == b"\1\0" else struct.pack("<I", length)
    return b"\x93NUMPY" + version + packed + head + KERNEL.tobytes()


def _zip(path: Path, members: list[tuple[str, bytes]], chance: random.Random) -> None:
    import warnings

    kind = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", kind) as archive:
        warnings.simplefilter("ignore")  # of doubled names, which are meant
        for name, content in members:
            info = zipfile.ZipInfo(name.encode("utf-8", "replace").decode()[:60000] or "x")
            info.compress_type = kind
            info.external_attr = chance.choice((0, 0, 0o120777 << 16, 0o40755 << 16))
            archive.writestr(info, content)
    if chance.random() < 0.4:
        damaged = bytearray(path.read_bytes())
        for _ in range(chance.choice((1, 4))):
            # Fields of local heads and of the directory: sizes, flags, offsets, methods.
            mark = chance.choice((b"PK\1\2", b"PK\3\4", b"PK\5\6"))
            places = [i for i in range(len(damaged) - 4) if damaged[i : i + 4] == mark] if len(damaged) < 9999 else []
            at = (chance.choice(places) if places else max(0, len(damaged) - 100)) + chance.randrange(4, 46)
            width = chance.choice((1, 2, 4))
            new = chance.choice((b"\0", b"\xff", b"\1", b"\x7f")) * width
            damaged[at : at + width] = new[: max(0, len(damaged) - at)]
        path.write_bytes(damaged)


def safetensors(folder: Path, chance: random.Random) -> Path:
    """A `.safetensors`: a head that lies."""
    path = folder / "a.safetensors"
    data = KERNEL.tobytes() * 2
    head: Any = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"x": "y"}}
    head[_name(chance)] = {
        "dtype": chance.choice(("F32", "BF16", "F8_E4M3", "I64", "X", 7, None, "f32", "BOOL")),
        "shape": chance.choice(
            ([2, 3], [6], [], [-1], [2**62, 4], [0, 2**63], [1] * 40, "23", [2.0, 3], [True, 6], [10**30])
        ),
        "data_offsets": chance.choice(
            ([24, 48], [0, 48], [48, 24], [-1, 23], [24], "x", [24, 2**63], [24.0, 48], None)
        ),
    }
    text = json.dumps(head)
    if chance.random() < 0.4:
        text = values.alter_json(text, chance)
    raw = text.encode("utf-8", "replace")
    length = chance.choice((len(raw),) * 6 + (0, 2**63, 2**64 - 1, 10**8 + 1, len(raw) + 9))
    path.write_bytes(struct.pack("<Q", length) + raw + data + chance.choice((b"", b"", b"\0")))
    return path


def odd(folder: Path, chance: random.Random) -> Path:
    """No file of weights at all, by some name of one."""
    path = folder / chance.choice(("a.weights.h5", "a.keras", "a.npz", "a.safetensors", "a.h5", "a\x1b[31m.h5"))
    heads = (b"", b"PK\3\4", b"PK\5\6", b"\x89HDF\r\n\x1a\n", b"\x93NUMPY", b"\x80\4\x95", b"x" * 8 + b"{", b"\0" * 8)
    path.write_bytes(chance.choice(heads) + chance.randbytes(chance.choice((0, 5, 300))))
    return path


MAKERS: tuple[Callable[[Path, random.Random], Path], ...] = (
    hdf5,
    hdf5,
    archive,
    npz,
    npz,
    safetensors,
    safetensors,
    odd,
)

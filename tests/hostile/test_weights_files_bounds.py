"""Any file of up to 10 MB is identified or refused within 10 seconds and 500 MB, whatever it claims or expands to. Each
in a process of its own, which ends before it can take the machine's memory."""

from __future__ import annotations

import functools
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from diagnose.tracefile.digest import array_digest, group_digest
from diagnose.tracefile.writer import TraceWriter
from tests.cli.command import ROOT

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read as Linux tells it")

SECONDS, MEGABYTES = 10, 500
ZEROS = bytes(1 << 20)
CHILD = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
from diagnose.cli import main
code = main(["identify", *sys.argv[1:]])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(code, time.process_time(), int(peak) // 1024, file=sys.stderr)
"""
"""`ru_maxrss` would count the process that started this one."""

NONE = group_digest([])


def write_trace(path: Path, shapes: list[list[int]]) -> Path:
    """A trace of three versions, all different, whose contents were not kept."""
    with TraceWriter(path) as writer:
        writer.info("keras", "3.15.1")
        writer.info(
            "variables",
            [
                {
                    "path": f"v{i}",
                    "name": f"v{i}",
                    "group": "trainable",
                    "shape": s,
                    "dtype": "float32",
                    "saved_as": None,
                }
                for i, s in enumerate(shapes)
            ],
        )
        for version in range(3):
            arrays = [array_digest(np.full(s, version, np.float32)) for s in shapes]
            writer.state(
                version=version, label="version", trainable=group_digest(arrays), non_trainable=NONE, seeds=NONE,
                optimizer=None, arrays=arrays, optimizer_arrays=None, kept=False,
            )  # fmt: skip
        writer.seal("complete")
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trace(tmp_path_factory.mktemp("small") / "fit.diag", [[3, 1], [1]])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trace(tmp_path_factory.mktemp("large") / "fit.diag", [[1]] * 20_000)


@functools.cache
def deflated(megabytes: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(ZEROS) for _ in range(megabytes)) + packer.flush()


def gzipped(target: Any, name: str, megabytes: int, rows: int) -> None:
    """An array of shape (3, 1) in one chunk that says it has `rows` rows, and expands to much more."""
    with h5py.File(target, "w") as file:
        made = file.create_dataset(
            name, shape=(3, 1), maxshape=(None, 1), dtype="f4", chunks=(rows, 1), compression="gzip"
        )
        made.id.write_direct_chunk((0, 0), deflated(megabytes))


def compressed(name: str, compression: str, chunk: int, count: int = 60 << 20) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset(name, data=np.zeros(count, "u1"), chunks=(chunk,), compression=compression)

    return write


def archive_in_archive(path: Path) -> None:
    content = io.BytesIO()
    gzipped(content, "layers/dense/vars/0", 900, 20_000)
    zipped(path, "model.weights.h5", content.getvalue())


def archive_of_zeros(path: Path) -> None:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["optimizer/vars/0"] = np.zeros(60 << 20, "u1")
    zipped(path, "model.weights.h5", content.getvalue())


def zipped(path: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr(name, content)


def lying_archive(path: Path) -> None:
    """A member said to have 100 bytes that expands to 900 MB."""
    name, data = b"model.weights.h5", deflated(900)[2:-4]
    sizes = struct.pack("<IIIHH", 0, len(data), 100, len(name), 0)
    local = b"PK\3\4" + struct.pack("<HHHHH", 20, 0, 8, 0, 0) + sizes + name
    central = b"PK\1\2" + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 0) + sizes + bytes(14) + name
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local) + len(data), 0)
    path.write_bytes(local + data + central + end)


def npz(count: int, array: Any, name: str = "a{}") -> Callable[[Path], None]:
    return lambda path: np.savez(path, **{name.format(i): array for i in range(count)})


def many_datasets(path: Path) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        for i in range(20_000):
            file.create_dataset(f"a{i}", shape=(0,), dtype="f4")


def many_chunks(path: Path) -> None:
    with h5py.File(path, "w") as file:
        made = file.create_dataset("optimizer/vars/0", shape=(30_000,), dtype="u1", chunks=(1,), compression="gzip")
        for i in range(30_000):
            made.id.write_direct_chunk((i,), zlib.compress(b"x"))


def header(content: bytes, data: bytes = b"") -> Callable[[Path], None]:
    return lambda path: path.write_bytes(struct.pack("<Q", len(content)) + content + data) and None


def tensors(names: list[str], shape: list[int], data: bytes) -> Callable[[Path], None]:
    size = len(data) // len(names)
    said = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [size * i, size * i + size]}
        for i, name in enumerate(names)
    }
    return header(json.dumps(said).encode(), data)


SHORT, LONG = [f"n{i}" for i in range(45_000)], [f"{i}" + "x" * 1_000_000 for i in range(9)]

FILES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a .keras of 4 kB that holds 900 MB": (".keras", archive_in_archive),
    "a .keras that says it has 100 bytes": (".keras", lying_archive),
    "a .keras of zeros": (".keras", archive_of_zeros),
    "a chunk that expands to more than it is": (".weights.h5", lambda p: gzipped(p, "v0", 60, 20_000)),
    "a chunk of many times its length": (".weights.h5", lambda p: gzipped(p, "v0", 900, 20_000)),
    "gzip": (".weights.h5", compressed("optimizer/vars/0", "gzip", 1 << 20)),
    "lzf": (".weights.h5", compressed("optimizer/vars/0", "lzf", 1 << 20)),
    "lzf in large chunks": (".weights.h5", compressed("optimizer/vars/0", "lzf", 60 << 20)),
    "many chunks": (".weights.h5", many_chunks),
    "many empty arrays of HDF5": (".weights.h5", many_datasets),
    "many empty arrays of NumPy": (".npz", npz(20_000, np.zeros(0, "f4"))),
    "many numbered arrays": (".npz", npz(20_000, np.zeros((), "f4"), "arr_{}")),
    "zeros of NumPy": (".npz", lambda p: np.savez_compressed(p, **{"optimizer/vars/0": np.zeros(60 << 20, "u1")})),
    "many empty tensors": (".safetensors", tensors(SHORT, [0], b"")),
    "many tensors of one shape": (".safetensors", tensors(SHORT, [3, 1], os.urandom(12 * len(SHORT)))),
    "many equal tensors": (".safetensors", tensors(SHORT, [3, 1], bytes(12 * len(SHORT)))),
    "names of a megabyte": (".safetensors", tensors(LONG, [3, 1], bytes(12 * len(LONG)))),
    "a number of 5,000 digits in a name": (".safetensors", tensors(["optimizer/vars/" + "9" * 5000], [1], bytes(4))),
    "a number of 5,000 digits in a shape": (
        ".safetensors",
        header(b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}', bytes(4)),
    ),
    "a header of empty lists": (".safetensors", header(b'{"a":[' + b"[]," * 3_300_000 + b"0]}")),
    "a header of objects": (".safetensors", header(b'{"a":[' + b'{"":0},' * 1_400_000 + b"0]}")),
    "a header of one key": (".safetensors", header(b"{" + b'"":0,' * 1_900_000 + b'"":0}')),
}

MATCHING: dict[str, tuple[str, Callable[[Path], None]]] = {
    "as many equal tensors": (".safetensors", tensors(SHORT[:20_000], [1], bytes(80_000))),
    "as many different tensors": (".safetensors", tensors(SHORT[:20_000], [1], os.urandom(80_000))),
    "as many numbered arrays": (".npz", npz(20_000, np.ones(1, "f4"), "arr_{}")),
    "as many of the same names": (".safetensors", tensors([f"v{i}" for i in range(20_000)], [1], b"\0\0\0\1" * 20_000)),
}


def identified(trace: Path, path: Path) -> str:
    """What the command says on stderr."""
    assert path.stat().st_size <= 10_000_000
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(trace), str(path)],
        capture_output=True, text=True, timeout=120, cwd=path.parent, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    *said, measured = done.stderr.splitlines()
    code, seconds, megabytes = measured.split()
    assert (code, len(said)) in (("0", 0), ("1", 1))
    assert float(seconds) < SECONDS
    assert int(megabytes) < MEGABYTES
    return "".join(said)


@pytest.mark.parametrize("name", FILES)
def test_a_small_file_takes_little(name: str, small: Path, tmp_path: Path) -> None:
    ending, write = FILES[name]
    path = tmp_path / f"a{ending}"
    write(path)
    assert str(path) in identified(small, path)


@pytest.mark.parametrize("name", MATCHING)
def test_a_small_file_takes_little_beside_a_trace_of_as_many(name: str, large: Path, tmp_path: Path) -> None:
    ending, write = MATCHING[name]
    path = tmp_path / f"a{ending}"
    write(path)
    identified(large, path)

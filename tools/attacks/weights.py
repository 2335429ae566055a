"""Files of weights, damaged or made to harm: refused in one line, or read as an independent reader reads them."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.errors import WeightsFileError
from diagnose.identify.files import open_weights
from tools.attacks import bases
from tools.attacks.flips import damage
from tools.attacks.forged import ask
from tools.attacks.runner import Attack, Failed
from tools.attacks.weights_grammar import MAKERS

KERNEL = np.arange(12, dtype="float32").reshape(3, 4)


@dataclass(frozen=True)
class _Loaded:
    trace: Path
    files: list[tuple[str, bytes, list[int]]]


def _prepare(folder: Path) -> None:
    bases.real_fit(folder)
    arrays = {f"layers/dense/vars/{i}": KERNEL + i for i in range(3)}
    np.savez(folder / "plain.npz", **arrays)
    np.savez_compressed(folder / "packed.npz", **arrays)
    (folder / "plain.safetensors").write_bytes(_safetensors(arrays))
    import h5py

    with h5py.File(folder / "packed.weights.h5", "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, chunks=(1, 4), compression="gzip", shuffle=True, fletcher32=True)


def _safetensors(arrays: dict[str, np.ndarray]) -> bytes:
    head, data = {}, b""
    for name, array in arrays.items():
        offsets = [len(data), len(data) + array.nbytes]
        head[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": offsets}
        data += array.tobytes()
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + data


def _load(folder: Path) -> _Loaded:
    files = []
    for path in sorted(folder.iterdir()):
        if path.suffix != ".diag":
            content = path.read_bytes()
            files.append((path.name, content, [i for i, b in enumerate(content) if b]))
    return _Loaded(folder / "fit.diag", files)


def _case(loaded: _Loaded, number: int, chance: random.Random, folder: Path) -> str:
    if number % 2:
        name, content, used = loaded.files[number // 2 % len(loaded.files)]
        how = "damaged"
        path = folder / name
        path.write_bytes(damage(content, used, chance)[0] if len(content) > 65536 else _small(content, used, chance))
    else:
        maker = MAKERS[number // 2 % len(MAKERS)]
        how = "made"
        path = maker(folder, chance)
    if number % 10 == 0:
        ask(["identify", str(loaded.trace), str(path)])
    try:
        with open_weights(path) as stored:
            found = {name: stored.load(name) for name in stored.entries}
    except WeightsFileError as error:
        if "\n" in str(error):
            raise Failed(f"refused in more than one line: {error!r:.200}") from error
        return f"{how}, refused"
    _compare(path, found)
    return f"{how}, read right"


def _small(content: bytes, used: list[int], chance: random.Random) -> bytes:
    """Damage of a file that is smaller than a page of a trace."""
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        at = chance.choice(used) if chance.random() < 0.7 else chance.randrange(min(512, len(content)))
        if chance.random() < 0.6:
            damaged[at] ^= 1 << chance.randrange(8)
        else:
            width = chance.choice((1, 2, 4, 8, 64))
            damaged[at : at + width] = chance.choice((bytes(width), b"\xff" * width, chance.randbytes(width)))
    end = chance.randrange(len(content)) if chance.random() < 0.1 else len(damaged)
    return bytes(damaged[:end])


def _compare(path: Path, found: dict[str, Any]) -> None:
    """Holds what was read against h5py's, NumPy's or a plain reading of the same names. Raises Failed."""
    content = path.read_bytes()
    try:
        expected = _reference(content, list(found))
    except Exception:
        return  # the other reader gives up on more than ours; nothing to compare with
    for name, array in found.items():
        if name not in expected:
            continue
        other = expected[name]
        if array.shape != other.shape or array.tobytes() != _native(other).tobytes():
            raise Failed(f"{path.name}: {name!r:.80} is not what another reader reads")


def _native(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("="), copy=False)


def _reference(content: bytes, names: list[str]) -> dict[str, np.ndarray]:
    import h5py

    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inner = [n for n in archive.namelist() if n.endswith(".h5")]
            if not inner:
                with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                    return {name: arrays[name] for name in names}
            content = archive.read("model.weights.h5")
    if content.startswith(b"\x89HDF"):
        with h5py.File(io.BytesIO(content)) as file:
            # As Keras writes it, bfloat16 is opaque bytes, which compare as bytes.
            return {name: file[name][()] for name in names}
    size = struct.unpack("<Q", content[:8])[0]
    head = json.loads(content[8 : 8 + size])
    kinds = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "I8": "i1", "BOOL": "?"}
    read = {}
    for name in names:
        start, end = head[name]["data_offsets"]
        data = content[8 + size :][start:end]
        read[name] = np.frombuffer(data, kinds[head[name]["dtype"]]).reshape(head[name]["shape"])
    return read


WEIGHTS = Attack("weights", "files of weights, damaged or made to harm", _prepare, _load, _case, 600)

"""Reads arrays from files of weights (`.weights.h5`, `.keras`, `.safetensors`, `.npz`) as data only: nothing in such a
file is run, built, unpickled or followed, whatever it claims."""

from __future__ import annotations

import importlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from diagnose.errors import WeightsFileError
from diagnose.identify.files.stored import Malformed, Stored

READERS: Final = {
    "HDF5": "diagnose.identify.files.hdf5",
    "Keras": "diagnose.identify.files.keras_archive",
    "NumPy": "diagnose.identify.files.npz",
    "safetensors": "diagnose.identify.files.safetensors",
}


@contextmanager
def open_weights(path: Path) -> Iterator[Stored]:
    """The arrays of a file of weights, each read when it is asked for.

    Raises WeightsFileError, one sentence that names the file and what is wrong, here or when an array is loaded.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise Malformed("there is no such file")
        if not path.is_file():
            raise Malformed("it is not a file")
        with path.open("rb") as file:
            module = importlib.import_module(READERS[_format(file, path)])
            file.seek(0)
            with module.open_stored(file) as stored:
                yield stored
    except Malformed as error:
        raise WeightsFileError(f"{path} cannot be read as weights: {error}.") from error
    except OSError as error:
        raise WeightsFileError(f"{path} cannot be read: {error.strerror or error}.") from error


def _format(file: BinaryIO, path: Path) -> str:
    """By what the file begins with; its name counts for safetensors only, which begins with nothing of its own."""
    head = file.read(10)
    if not head:
        raise Malformed("it is empty")
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "HDF5"
    if head.startswith(b"PK\3\4"):
        file.seek(0)
        try:
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
        except Exception as error:  # zipfile raises of many kinds for what is not quite a zip file
            raise Malformed(f"its zip directory is damaged ({error})") from error
        return "NumPy" if names and all(name.endswith(".npy") for name in names) else "Keras"
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return "safetensors"
    if path.name.endswith(".weights.json"):
        raise Malformed("it lists the parts of sharded weights, which are not read; save them in one file")
    raise Malformed("it is none of .weights.h5, .keras, .safetensors and .npz")

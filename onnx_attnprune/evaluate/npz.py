"""Samples in an .npz file: one array per input and, where there are any, `labels`."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from onnx_attnprune.errors import DataError
from onnx_attnprune.evaluate.data import LABELS, Array, Dataset, gathered
from onnx_attnprune.evaluate.feeds import InputSpec

NPY = b"\x93NUMPY"  # what a file of numpy.save begins with


def load_npz(path: str | Path, specs: Sequence[InputSpec]) -> Dataset:
    """Reads data for a model with the inputs `specs`; the first dimension of every array counts the samples.

    See `data.gathered` for what is cast. Raises DataError for whatever is wrong with the file, in one line that names
    the file and the array.
    """
    arrays = _read(Path(path))
    labels = None if LABELS in {spec.name for spec in specs} else arrays.pop(LABELS, None)
    return gathered(arrays, labels, specs, str(path))


def _read(path: Path) -> dict[str, Array]:
    """All arrays of the file; nothing is ever unpickled."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            begins = file.read(len(NPY))
        if begins == NPY:
            raise DataError(f"{path}: a single array without a name; numpy.savez(FILE, NAME=array) writes an .npz file")
        damaged = begins.startswith(b"PK")
        raise DataError(f"{path}: {'the file is truncated or damaged' if damaged else 'not an .npz file'}")
    try:
        # Opened here, because numpy leaves the file open when it can't read it.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: _member(archive, name, path) for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        # RuntimeError: zipfile's for entries that claim to be encrypted, or of a version or method it does not know.
        raise DataError(f"{path}: the file is truncated or damaged ({_first_line(error)})") from error
    except ValueError as error:  # a zip file behind other bytes, which numpy takes for a pickle
        raise DataError(f"{path}: not an .npz file") from error


def _member(archive: Mapping[str, Any], name: str, path: Path) -> Array:
    try:
        array = archive[name]
    except (ValueError, SyntaxError, TokenError) as error:  # the last two from numpy's parser of a damaged header
        # numpy's message for an object array advises to allow pickles, which would run the file's code.
        why = "holds Python objects (a pickle), which are never loaded" if "pickle" in str(error) else "can't be read"
        raise DataError(f"{path}: array {name} {why}") from error
    except MemoryError as error:
        raise DataError(f"{path}: array {name} does not fit into memory") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: {name} is no array")
    return array


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__

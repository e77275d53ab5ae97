"""Evaluation and calibration data: an .npz file with one array per input and, where there are any, `labels`."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import DataError, SettingsError
from onnx_attnprune.evaluate.feeds import InputSpec, is_float

Array = NDArray[Any]

LABELS = "labels"


@dataclass(frozen=True)
class Dataset:
    """`feeds[input]` has shape [size, ...] and the input's type; `labels` is int64 of shape [size] or None."""

    feeds: dict[str, Array]
    labels: Array | None
    size: int


@dataclass(frozen=True)
class Batch:
    """Arrays to feed in one run; only the first `size` rows count, those after them are padding."""

    feeds: dict[str, Array]
    size: int


def load_npz(path: str | Path, specs: Sequence[InputSpec]) -> Dataset:
    """Reads data for a model with the inputs `specs`; the first dimension of every array counts the samples.

    An array is cast to the type of its input when that loses nothing but precision: any real type to a float type, an
    integer type to an integer type that holds all of its values; nothing else is cast to or from a boolean. All sizes
    that the model fixes must agree, except the first: `batches` sees to that one.

    Raises DataError for whatever is wrong with the file, in one line that names the file and the array.
    """
    arrays = _read(Path(path))
    needed = [spec.name for spec in specs]
    optional = {LABELS} - set(needed)
    if missing := [name for name in needed if name not in arrays]:
        raise DataError(f"{path}: no array {_list(missing)}; the model needs {_list(needed)}, there is {_list(arrays)}")
    if extra := [name for name in arrays if name not in needed and name not in optional]:
        raise DataError(
            f"{path}: the model has no input {_list(extra)}; it needs {_list(needed)} (and may have labels)"
        )
    feeds = {spec.name: _fit(arrays[spec.name], spec, f"{path}: array {spec.name}") for spec in specs}
    labels = _labels(arrays[LABELS], f"{path}: array {LABELS}") if optional & arrays.keys() else None
    counts = {name: len(array) for name, array in feeds.items()}
    if labels is not None:
        counts[LABELS] = len(labels)
    if len(set(counts.values())) > 1:
        lengths = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(f"{path}: the arrays have different numbers of samples: {lengths}")
    size = next(iter(counts.values()), 0)
    if size == 0:
        raise DataError(f"{path}: there are no samples")
    return Dataset(feeds, labels, size)


def _read(path: Path) -> dict[str, Array]:
    """All arrays of the file; nothing is ever unpickled."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            begins_as_zip = file.read(2) == b"PK"
        raise DataError(f"{path}: {'the file is truncated or damaged' if begins_as_zip else 'not an .npz file'}")
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


def _fit(array: Array, spec: InputSpec, told: str) -> Array:
    """`array` in the type of the input, after a look at its shape and values."""
    if spec.shape is not None:
        if not spec.shape:
            raise DataError(f"{told}: the model takes a scalar there, which can't be one per sample")
        fixed = zip(array.shape[1:], spec.shape[1:], strict=False)
        if array.ndim != len(spec.shape) or any(isinstance(want, int) and have != want for have, want in fixed):
            expected = ", ".join("?" if not isinstance(size, int) else str(size) for size in spec.shape[1:])
            raise DataError(f"{told} has shape {list(array.shape)}, the model takes [samples, {expected}]")
    elif array.ndim == 0:
        raise DataError(f"{told} is a scalar; its first dimension must count the samples")
    if np.issubdtype(array.dtype, np.floating) and np.isnan(array).any():
        raise DataError(f"{told} holds nan")
    return _cast(array, spec.dtype, told)


def _cast(array: Array, dtype: np.dtype[Any], told: str) -> Array:
    have = array.dtype
    integer = np.issubdtype(have, np.integer)
    if is_float(dtype) and (integer or have == np.bool_ or np.issubdtype(have, np.floating)):
        with np.errstate(over="ignore"):  # the next lines tell it as an error of the data
            cast = array.astype(dtype)
        if np.issubdtype(have, np.floating) and have.itemsize <= dtype.itemsize:
            return cast
        if not np.array_equal(np.isinf(cast), np.isinf(array)):
            raise DataError(f"{told} holds values that {dtype.name} can't hold")
        return cast
    if np.issubdtype(dtype, np.integer) and integer:
        limits = np.iinfo(dtype)
        if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
            raise DataError(f"{told} holds values that {dtype.name} can't hold")
        return array.astype(dtype)
    if have == dtype:
        return array
    raise DataError(f"{told} is {have.name}, the model takes {dtype.name}; that is no safe conversion")


def _labels(array: Array, told: str) -> Array:
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{told} must be one integer per sample, not {array.dtype.name} of shape {list(array.shape)}")
    if array.size and int(array.min()) < 0:
        raise DataError(f"{told} holds {int(array.min())}; classes count from 0")
    return array.astype(np.int64)


def fixed_batch(specs: Sequence[InputSpec]) -> int | None:
    """The first size that the inputs fix, or None where it is free. Raises DataError where they fix different ones."""
    firsts = {spec.shape[0] for spec in specs if spec.shape}
    fixed = {size for size in firsts if isinstance(size, int)}
    if len(fixed) > 1:
        raise DataError(f"the inputs of the model have different first sizes: {_list(map(str, sorted(fixed)))}")
    return next(iter(fixed), None)


def batches(dataset: Dataset, batch_size: int, fixed_batch: int | None = None) -> Iterator[Batch]:
    """The samples in order, `batch_size` at a time, and what is left over as a smaller last batch.

    A model whose first dimension is fixed gets exactly `fixed_batch` rows every time: the last batch is filled up by
    repeating its own rows. Raises SettingsError for a size below 1.
    """
    rows = batch_size if fixed_batch is None else fixed_batch
    if rows < 1:
        raise SettingsError(f"the batch size must be at least 1, not {rows}")
    for start in range(0, dataset.size, rows):
        feeds = {name: array[start : start + rows] for name, array in dataset.feeds.items()}
        size = min(rows, dataset.size - start)
        if fixed_batch is not None and size < rows:
            feeds = {name: array[np.arange(rows) % size] for name, array in feeds.items()}
        yield Batch(feeds, size)


def _list(names: Any) -> str:
    return ", ".join(names) or "none"


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__

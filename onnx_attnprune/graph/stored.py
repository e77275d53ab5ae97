"""The numbers of tensors: in files beside a model, and whether they are as many as the shapes say."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper

from onnx_attnprune.errors import ModelError
from onnx_attnprune.graph.model import all_tensors

# Types of which several numbers share a byte, and how many bits each takes. Older versions of onnx lack some.
PACKED = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
COMPLEX = ("COMPLEX64", "COMPLEX128")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor's bytes lie. length: of 0, up to the end of the file."""

    file: Path
    start: int
    length: int


def read_external(model: ModelProto, path: Path) -> None:
    """Put into the tensors of a model what lies in files beside `path`. Raises ModelError."""
    for tensor in stored_outside(model):
        place = _place_of(tensor, path)
        try:
            with place.file.open("rb") as f:
                f.seek(place.start)
                data = f.read(place.length) if place.length else f.read()
        except OSError as error:
            raise ModelError(f"{path}: {place.file.name}, which holds {tensor.name!r}: {error.strerror}") from None
        tensor.raw_data = data
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT


def files_beside(model: ModelProto, path: Path) -> tuple[Path, ...]:
    """The files that hold weights of a model, in the order of their names. Raises ModelError."""
    return tuple(sorted({_place_of(tensor, path).file for tensor in stored_outside(model)}))


def stored_outside(model: ModelProto) -> Iterator[TensorProto]:
    """The tensors whose data is in another file."""
    for tensor in all_tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            yield tensor


def _place_of(tensor: TensorProto, path: Path) -> _Place:
    entries = {e.key: e.value for e in tensor.external_data}
    file = _file_of(tensor.name, entries.get("location", ""), path)
    try:
        start, length = (int(entries.get(key) or 0) for key in ("offset", "length"))
    except ValueError:
        start = length = -1
    if start < 0 or length < 0:
        stated = ", ".join(f"{key} {entries.get(key, 0)!r}" for key in ("offset", "length"))
        raise ModelError(f"{path}: the external data of {tensor.name!r} has no place in its file: {stated}")
    have = file.stat().st_size
    if start + length > have:
        raise ModelError(
            f"{path}: the external data file {file.name!r} is truncated: {tensor.name!r} ends at byte "
            f"{start + length:,} of {have:,}"
        )
    return _Place(file, start, length)


def _file_of(name: str, location: str, path: Path) -> Path:
    """The file, beside the model: where its name says, or where that leads to, as in a cache of linked files."""
    folders = [path.parent.resolve(), path.resolve().parent]
    missing = False
    for folder in folders:
        if not location or "\0" in location or not _is_below(folder, location):
            continue
        target = (folder / location).resolve()
        if target.is_file():
            if any(target.is_relative_to(f) for f in folders):
                return target
        else:
            missing = True
    if missing:
        raise ModelError(f"{path}: the external data file {location!r} of {name!r} is missing")
    raise ModelError(f"{path}: the data of {name!r} lies outside of the model's folder: {location!r}")


def _is_below(folder: Path, location: str) -> bool:
    return Path(os.path.normpath(folder / location)).is_relative_to(folder)


def check_data(model: ModelProto, path: Path) -> None:
    """Raise ModelError for a tensor of an unknown type, or that holds more or less than its shape says."""
    for tensor in all_tensors(model.graph):
        shape = "x".join(map(str, tensor.dims)) or "of a single number"
        if any(size < 0 for size in tensor.dims):
            raise ModelError(f"{path}: {tensor.name!r} has a negative size: {shape}")
        try:
            have, need, unit = _held(tensor)
        except (KeyError, TypeError, ValueError):
            raise ModelError(f"{path}: {tensor.name!r} is of a type ({tensor.data_type}) without numbers") from None
        if have != need:
            raise ModelError(f"{path}: {tensor.name!r} holds {have:,} {unit}; its shape {shape} asks for {need:,}")


def _held(tensor: TensorProto) -> tuple[int, int, str]:
    """How much a tensor holds and should hold, and of what. Raises what onnx does for an unknown type."""
    kind, count = TensorProto.DataType.Name(tensor.data_type), math.prod(tensor.dims)
    size = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    if kind in PACKED:
        count, size = -(-count * PACKED[kind] // 8), 1
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data), count * size, "bytes"
    numbers = getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type))
    return len(numbers), count * (2 if kind in COMPLEX else 1), "numbers"

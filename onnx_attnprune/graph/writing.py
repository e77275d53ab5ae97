"""Writing a model whole or not at all."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import EncodeError
from onnx import ModelProto

from onnx_attnprune.errors import OutputError
from onnx_attnprune.graph.editing import _copy_field

PROTOBUF_LIMIT = 2**31 - 1


def write_model(model: ModelProto, path: str | os.PathLike[str]) -> int:
    """Write the model whole or not at all; how many bytes it takes.

    Over protobuf's limit of 2 GB the weights go into one file beside it (`<name>.data`). Raises OutputError.
    """
    path = Path(path)
    try:
        size, parts = pieces(model)
    except (EncodeError, ValueError):  # a single tensor over the limit
        return _write_with_external(model, path)
    if size > PROTOBUF_LIMIT:
        return _write_with_external(model, path)
    _put_in_place(path, parts)
    return size


def serialized(model: ModelProto) -> bytes | ModelProto:
    """The model's bytes, as ONNX Runtime takes them; the model itself where it is over protobuf's limit."""
    try:
        size, parts = pieces(model)
    except (EncodeError, ValueError):
        return model
    return model if size > PROTOBUF_LIMIT else b"".join(parts)


def pieces(model: ModelProto) -> tuple[int, Iterator[bytes]]:
    """How many bytes a model takes when written, and these bytes, a node or a tensor at a time.

    They are those of `SerializeToString`, which for a large model takes ten times as long and, while it lasts, three
    times its size in memory (protobuf's encoder doubles its buffer until all fits).
    """
    head, tail = ModelProto(), ModelProto()
    number = model.DESCRIPTOR.fields_by_name["graph"].number
    for field, value in model.ListFields():
        if field.number != number:
            _copy_field(head if field.number < number else tail, field.name, value)
    size = sum(map(len, _graph_pieces(model.graph)))
    first, last = head.SerializeToString() + _length(number, size), tail.SerializeToString()
    return len(first) + size + len(last), itertools.chain([first], _graph_pieces(model.graph), [last])


def _graph_pieces(graph: onnx.GraphProto) -> Iterator[bytes]:
    for field, value in graph.ListFields():
        if field.name in ("node", "initializer"):
            for item in value:
                data = item.SerializeToString()
                yield _length(field.number, len(data))
                yield data
        else:
            part = onnx.GraphProto()
            _copy_field(part, field.name, value)
            yield part.SerializeToString()


def _length(field: int, size: int) -> bytes:
    """What stands before a message of `size` bytes: https://protobuf.dev/programming-guides/encoding/#length-types."""
    return _varint(field << 3 | 2) + _varint(size)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def check_writable(path: Path) -> None:
    """Raise OutputError, before any work is done, where a file can't be put at `path`."""
    try:
        with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent or "."):
            pass
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror}") from None


def write_bytes(path: Path, data: bytes) -> None:
    """Put a file in place whole or not at all. Raises OutputError."""
    _put_in_place(path, (data,))


def _put_in_place(path: Path, parts: Iterable[bytes]) -> None:
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent or ".")
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as f:
            f.writelines(parts)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        os.unlink(temporary)
        raise OutputError(f"{path}: can't be written: {error.strerror}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_with_external(model: ModelProto, path: Path) -> int:
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent or ".") as folder:
            copy = ModelProto()
            copy.CopyFrom(model)
            staged, data = Path(folder, path.name), f"{path.name}.data"
            onnx.save_model(copy, staged, save_as_external_data=True, location=data, size_threshold=1024)
            size = staged.stat().st_size + Path(folder, data).stat().st_size
            for file in (staged, Path(folder, data)):  # onnx keeps its data files to their owner
                file.chmod(0o666 & ~_umask())
            os.replace(Path(folder, data), path.with_name(data))
            os.replace(staged, path)
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror}") from None
    return size

"""A model in the form in which ONNX Runtime can load it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_attnprune.graph import serialized, write_model

if TYPE_CHECKING:
    import onnx


@contextmanager
def loadable(model: onnx.ModelProto, folder: Path) -> Iterator[bytes | Path]:
    """The model's bytes; over protobuf's limit of 2 GB a file under `folder`, which is gone afterwards.

    The model itself is not held while they are in use. Raises OutputError where such a file can't be written.
    """
    data = serialized(model)
    if isinstance(data, bytes):
        del model
        yield data
        return
    with tempfile.TemporaryDirectory(dir=folder) as inner:
        path = Path(inner, "model.onnx")
        write_model(model, path)
        del model, data
        yield path

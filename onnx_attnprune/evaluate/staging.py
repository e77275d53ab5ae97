"""A model in the form in which ONNX Runtime can load it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_attnprune.graph import as_float32, float_type, serialized, write_model
from onnx_attnprune.runtime import Session

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


def is_coarse(model: onnx.ModelProto) -> bool:
    """True for a bfloat16 model: ONNX Runtime has no kernels for it on the CPU, and runs a copy in float32."""
    return float_type(model) == "bfloat16"


def session_of(model: onnx.ModelProto, folder: Path, *, provider: str = "cpu", threads: int = 0) -> Session:
    """A session for a model in memory, or for its float32 copy where it is coarse.

    Raises OutputError where a model over 2 GB can't be written under `folder`, and what `Session` raises.
    """
    with loadable(as_float32(model) if is_coarse(model) else model, folder) as given:
        return Session(given, provider=provider, threads=threads)

"""Reading a model: whole, checked, with its external data."""

from __future__ import annotations

import hashlib
import heapq
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto

from onnx_attnprune.errors import ModelError
from onnx_attnprune.graph.model import DEFAULT_DOMAINS, names_read
from onnx_attnprune.graph.naming import bodies_of
from onnx_attnprune.graph.stored import check_data, files_beside, read_external

OLDEST_OPSET = 7


def read_model(path: str | os.PathLike[str]) -> ModelProto:
    """The model of a file with all of its weights, functions inlined.

    Raises ModelError, in one line, for anything that is not a whole model that this tool can work on.
    """
    path = Path(path)
    with _mapped(path) as data, memoryview(data) as view:
        model = parse_model(view, str(path))
    read_external(model, path)
    check_data(model, path)
    try:
        return in_order(inline_functions(model))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


@contextmanager
def _mapped(path: Path) -> Iterator[bytes | mmap.mmap]:
    """The bytes of a file where they lie: a copy costs as much time as parsing, and its memory stays taken.

    Raises ModelError where they can't be read.
    """
    try:
        with path.open("rb") as f:
            if not os.fstat(f.fileno()).st_size:  # empty, or a pipe, which can't be mapped
                yield f.read()
                return
            with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                yield mapped
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: can't be read: {error.strerror}") from None


def parse_model(data: bytes | memoryview, name: str) -> ModelProto:
    """A model from its bytes, checked for what every later step relies on; external data is left where it is."""
    if not len(data):
        raise ModelError(f"{name}: not an ONNX model: the file is empty")
    model = ModelProto()
    try:
        model.ParseFromString(data)  # type: ignore[arg-type]  # the stubs know no memoryview; the C code does
    except DecodeError:
        raise ModelError(f"{name}: not an ONNX model, or a truncated one ({len(data):,} bytes)") from None
    if not model.HasField("graph") or not model.opset_import:
        raise ModelError(f"{name}: not an ONNX model (it has no {'graph' if model.opset_import else 'operator set'})")
    if not model.graph.node:
        raise ModelError(f"{name}: the graph is empty")
    if model.graph.sparse_initializer:
        sparse = model.graph.sparse_initializer[0].values.name
        raise ModelError(f"{name}: the sparse initializer {sparse!r} can't be cut; store it dense")
    opset = next((o.version for o in model.opset_import if o.domain in DEFAULT_DOMAINS), None)
    newest = onnx.defs.onnx_opset_version()
    if opset is not None and not OLDEST_OPSET <= opset <= newest:
        how = "convert it with onnx.version_converter" if opset < OLDEST_OPSET else "install a newer onnx"
        raise ModelError(f"{name}: opset {opset} is not one of {OLDEST_OPSET} to {newest}; {how}")
    return model


def inline_functions(model: ModelProto) -> ModelProto:
    """The same model without model-local functions (itself where it has none). Raises ModelError."""
    if not model.functions:
        return model
    from onnx import inliner

    try:
        return inliner.inline_local_functions(model)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise ModelError(f"the model's functions can't be put in place: {' '.join(str(error).split())}") from None


def in_order(model: ModelProto) -> ModelProto:
    """The same model with every node behind those that it reads from; itself where they stand so already.

    ONNX asks for this order, but ONNX Runtime and some converters (to float16, with float32 inputs) do without it.
    Raises ModelError for nodes that read from each other in a circle.
    """
    if _is_ordered(model.graph):
        return model
    copy = ModelProto()
    copy.CopyFrom(model)
    for body in bodies_of(copy.graph):
        _sort(body)
    return copy


def _is_ordered(graph: onnx.GraphProto) -> bool:
    made = {name for node in graph.node for name in node.output}
    for node in graph.node:
        if not made.isdisjoint(names_read(node)):
            return False
        made.difference_update(node.output)
    return True


def _sort(graph: onnx.GraphProto) -> None:
    """Each node as soon as all that it reads is made, those that stand first first."""
    makers = {name: k for k, node in enumerate(graph.node) for name in node.output if name}
    needs = [{makers[name] for name in names_read(node) if name in makers} for node in graph.node]
    readers: dict[int, list[int]] = {}
    for k, before in enumerate(needs):
        for maker in before:
            readers.setdefault(maker, []).append(k)
    ready = [k for k, before in enumerate(needs) if not before]
    order: list[int] = []
    while ready:
        k = heapq.heappop(ready)
        order.append(k)
        for reader in readers.get(k, ()):
            needs[reader].discard(k)
            if not needs[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(needs):
        stuck = graph.node[min(set(range(len(needs))) - set(order))]
        raise ModelError(f"node {stuck.name or next(iter(stuck.output), '')!r} waits for its own result")
    nodes = [graph.node[k] for k in order]
    del graph.node[:]
    graph.node.extend(nodes)


def external_files(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """The files beside a readable model that hold weights of it. Raises ModelError."""
    path = Path(path)
    with _mapped(path) as data:
        if data.find(b"location") < 0:  # the key that every such tensor has: no need to parse a large file again
            return ()
        with memoryview(data) as view:
            return files_beside(parse_model(view, str(path)), path)


def sha256(path: str | os.PathLike[str]) -> str:
    """The hash of a model file, in hexadecimal; where it has weights in other files, of the file and these in turn.

    Raises ModelError.
    """
    digest = hashlib.sha256()
    for file in (Path(path), *external_files(path)):
        with file.open("rb") as f:
            while block := f.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()

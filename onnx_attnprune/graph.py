"""The only door to onnx: reading a model, looking at its graph, and writing it whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_attnprune.errors import ModelError, OutputError

OLDEST_OPSET = 7
PROTOBUF_LIMIT = 2**31 - 1
DEFAULT_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, slots=True)
class Constant:
    """A tensor that the file holds: an initializer, or the output of a Constant node."""

    name: str
    dims: tuple[int, ...]
    dtype: int
    proto: TensorProto
    is_initializer: bool

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return int(np.prod(self.dims, dtype=np.int64))

    def array(self) -> NDArray[Any]:
        """The values; bfloat16 and the 8-bit floats come as ml_dtypes types."""
        return numpy_helper.to_array(self.proto)


@dataclass(frozen=True, slots=True)
class Signature:
    """A graph input or output: its name, element type and dims (an int, a name, or None where the file says nothing)."""

    name: str
    dtype: int
    dims: tuple[int | str | None, ...] | None


class Node:
    """A node as the rules read it."""

    __slots__ = ("_attrs", "domain", "index", "inputs", "name", "op", "outputs", "proto")

    def __init__(self, proto: NodeProto, index: int) -> None:
        self.proto, self.index = proto, index
        self.op: str = proto.op_type
        self.domain: str = "" if proto.domain in DEFAULT_DOMAINS else proto.domain
        self.inputs, self.outputs = tuple(proto.input), tuple(proto.output)
        self.name: str = proto.name or next((o for o in self.outputs if o), f"#{index}")
        self._attrs: dict[str, Any] | None = None

    def attr(self, name: str, default: Any = None) -> Any:
        """The value of an attribute, strings decoded; `default` where the node has none."""
        if self._attrs is None:
            self._attrs = {a.name: _attribute(a) for a in self.proto.attribute}
        return self._attrs.get(name, default)

    @property
    def subgraphs(self) -> list[onnx.GraphProto]:
        """The bodies of a control-flow node."""
        return [g for a in self.proto.attribute for g in _graphs_of(a)]


def _attribute(a: AttributeProto) -> Any:
    if a.type == AttributeProto.INT:
        return a.i
    if a.type == AttributeProto.INTS:
        return tuple(a.ints)
    if a.type == AttributeProto.FLOAT:
        return a.f
    if a.type == AttributeProto.STRING:
        return a.s.decode("utf-8", "replace")
    value = helper.get_attribute_value(a)
    return tuple(value) if isinstance(value, list) else value


def _graphs_of(a: AttributeProto) -> list[onnx.GraphProto]:
    if a.type == AttributeProto.GRAPH:
        return [a.g]
    return list(a.graphs) if a.type == AttributeProto.GRAPHS else []


def nodes_of(graph: onnx.GraphProto) -> Iterator[NodeProto]:
    """Every node of a graph and of the bodies inside of it."""
    for node in graph.node:
        yield node
        for a in node.attribute:
            for inner in _graphs_of(a):
                yield from nodes_of(inner)


class Graph:
    """A model's main graph, indexed; the ModelProto behind it is never changed."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        graph = model.graph
        self.opsets = {("" if o.domain in DEFAULT_DOMAINS else o.domain): o.version for o in model.opset_import}
        self.nodes = tuple(Node(n, i) for i, n in enumerate(graph.node))
        self.constants = {t.name: _constant(t, t.name, True) for t in graph.initializer}
        for node in self.nodes:
            if node.op == "Constant" and not node.domain:
                tensor = constant_tensor(node)
                if tensor is not None:
                    self.constants[node.outputs[0]] = _constant(tensor, node.outputs[0], False)
        self.inputs = tuple(_signature(v) for v in graph.input if v.name not in self.constants)
        self.outputs = tuple(_signature(v) for v in graph.output)

    @property
    def opset(self) -> int:
        """The version of the default operator set."""
        return self.opsets.get("", 1)

    @cached_property
    def hints(self) -> dict[str, Signature]:
        """What the file itself says of the shapes of inner tensors."""
        values = [*self.model.graph.value_info, *self.model.graph.output]
        return {v.name: _signature(v) for v in values if v.type.HasField("tensor_type")}

    @cached_property
    def readers(self) -> dict[str, list[tuple[NodeProto, int]]]:
        """For each tensor the nodes that read it, bodies of control flow included, with the operand's place."""
        found: dict[str, list[tuple[NodeProto, int]]] = {}
        for node in nodes_of(self.model.graph):
            for place, name in enumerate(node.input):
                if name:
                    found.setdefault(name, []).append((node, place))
        return found

    @cached_property
    def names(self) -> set[str]:
        """Every tensor name in use; whoever takes a fresh one adds it."""
        taken = {v.name for v in (*self.model.graph.input, *self.model.graph.output, *self.model.graph.initializer)}
        for node in nodes_of(self.model.graph):
            taken.update(node.input, node.output)
        return taken

    def captured(self, node: Node) -> list[str]:
        """Names of outer tensors that the bodies of a control-flow node read."""
        names: dict[str, None] = {}
        for body in node.subgraphs:
            for inner in nodes_of(body):
                names.update(dict.fromkeys(inner.input))
            names.update(dict.fromkeys(v.name for v in body.output))
        return [n for n in names if n]


def _constant(tensor: TensorProto, name: str, is_initializer: bool) -> Constant:
    return Constant(name, tuple(tensor.dims), tensor.data_type, tensor, is_initializer)


def constant_tensor(node: Node) -> TensorProto | None:
    """What a Constant node holds, as a tensor; None for strings and sparse tensors."""
    for key, dtype in (("value_float", TensorProto.FLOAT), ("value_int", TensorProto.INT64)):
        if (value := node.attr(key)) is not None:
            return helper.make_tensor("", dtype, [], [value])
        if (value := node.attr(f"{key}s")) is not None:
            return helper.make_tensor("", dtype, [len(value)], value)
    value = node.attr("value")
    return value if isinstance(value, TensorProto) else None


def _signature(v: onnx.ValueInfoProto) -> Signature:
    tensor = v.type.tensor_type
    if not tensor.HasField("shape"):
        return Signature(v.name, tensor.elem_type, None)
    dims = tuple(d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in tensor.shape.dim)
    return Signature(v.name, tensor.elem_type, dims)


# ---------------------------------------------------------------- reading
def read_model(path: str | os.PathLike[str]) -> ModelProto:
    """The model of a file with all of its weights, functions inlined.

    Raises ModelError, in one line, for anything that is not a whole model that this tool can work on.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: can't be read: {error.strerror}") from None
    model = parse_model(data, str(path))
    del data
    _read_external(model, path)
    return inline_functions(model)


def parse_model(data: bytes, name: str) -> ModelProto:
    """A model from its bytes, checked for what every later step relies on; external data is left where it is."""
    model = ModelProto()
    try:
        model.ParseFromString(data)
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
    """The same model without model-local functions (itself where it has none)."""
    if not model.functions:
        return model
    from onnx import inliner

    return inliner.inline_local_functions(model)


def _read_external(model: ModelProto, path: Path) -> None:
    folder = path.resolve().parent
    for tensor in _stored_outside(model):
        entries = {e.key: e.value for e in tensor.external_data}
        location = entries.get("location", "")
        target = (folder / location).resolve()
        if not location or Path(location).is_absolute() or not target.is_relative_to(folder):
            raise ModelError(f"{path}: the data of {tensor.name!r} lies outside of the model's folder: {location!r}")
        if not target.is_file():
            raise ModelError(f"{path}: the external data file {location!r} of {tensor.name!r} is missing")
        start, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
        have = target.stat().st_size
        if start + length > have:
            raise ModelError(
                f"{path}: the external data file {location!r} is truncated: {tensor.name!r} ends at byte "
                f"{start + length:,} of {have:,}"
            )
        with target.open("rb") as f:
            f.seek(start)
            tensor.raw_data = f.read(length) if length else f.read()
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT


def _stored_outside(model: ModelProto) -> Iterator[TensorProto]:
    for tensor in all_tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            yield tensor


def all_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Every stored tensor: initializers and tensor attributes, bodies of control flow included."""
    yield from graph.initializer
    for node in graph.node:
        for a in node.attribute:
            if a.type == AttributeProto.TENSOR:
                yield a.t
            for body in _graphs_of(a):
                yield from all_tensors(body)


def sha256(path: str | os.PathLike[str]) -> str:
    """The hash of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# ---------------------------------------------------------------- editing a copy
def empty_like(model: ModelProto) -> ModelProto:
    """A copy of all but nodes, initializers and shapes of inner tensors, which the caller fills in."""
    copy = ModelProto()
    for field, value in model.ListFields():
        if field.name != "graph":
            _copy_field(copy, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name not in ("node", "initializer", "value_info"):
            _copy_field(copy.graph, field.name, value)
    copy.graph.SetInParent()
    return copy


def _copy_field(target: Any, name: str, value: Any) -> None:
    if hasattr(value, "CopyFrom"):
        getattr(target, name).CopyFrom(value)
    elif hasattr(value, "extend"):
        getattr(target, name).extend(value)
    else:
        setattr(target, name, value)


def tensor_of(constant: Constant, array: NDArray[Any], name: str | None = None) -> TensorProto:
    """New values for a constant: its element type, its doc string, by default its name."""
    tensor = numpy_helper.from_array(np.ascontiguousarray(array), constant.proto.name if name is None else name)
    if tensor.data_type != constant.dtype:
        raise ModelError(f"{constant.name}: element type {constant.dtype} can't be cut")
    tensor.doc_string = constant.proto.doc_string
    return tensor


def integers_tensor(name: str, values: Any, dtype: int = TensorProto.INT64) -> TensorProto:
    """A constant for sizes or indices."""
    array = np.asarray(list(values) if not isinstance(values, np.ndarray) else values)
    return numpy_helper.from_array(array.astype(helper.tensor_dtype_to_np_dtype(dtype)), name)


def set_integers(node: NodeProto, name: str, value: int | list[int]) -> None:
    """Set an integer attribute, or a list of them."""
    for k in reversed(range(len(node.attribute))):
        if node.attribute[k].name == name:
            del node.attribute[k]
    node.attribute.append(helper.make_attribute(name, value))


def set_constant(copy: NodeProto, original: NodeProto, tensor: TensorProto) -> None:
    """Make `copy` the Constant node `original` with other values."""
    for field, value in original.ListFields():
        if field.name != "attribute":
            _copy_field(copy, field.name, value)
    copy.attribute.append(helper.make_attribute("value", tensor))


# ---------------------------------------------------------------- writing
def write_model(model: ModelProto, path: str | os.PathLike[str]) -> int:
    """Write the model whole or not at all; how many bytes it takes.

    Over protobuf's limit of 2 GB the weights go into one file beside it (`<name>.data`). Raises OutputError.
    """
    path = Path(path)
    try:
        data = model.SerializeToString()
    except (EncodeError, ValueError):
        return _write_with_external(model, path)
    write_bytes(path, data)
    return len(data)


def write_bytes(path: Path, data: bytes) -> None:
    """Put a file in place whole or not at all. Raises OutputError."""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent or ".")
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(data)
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
            os.replace(Path(folder, data), path.with_name(data))
            os.replace(staged, path)
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror}") from None
    return size

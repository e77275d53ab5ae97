"""The only door to onnx: reading a model, looking at its graph, and writing it whole or not at all."""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
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
# Element types that are stored as numpy holds them, byte for byte.
WHOLE_BYTES = {1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 16}


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
    if a.type == AttributeProto.STRINGS:
        return tuple(s.decode("utf-8", "replace") for s in a.strings)
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
    def makers(self) -> dict[str, Node]:
        """The node of the main graph that makes a tensor."""
        return {name: node for node in self.nodes for name in node.outputs if name}

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


def infer_outputs(
    node: Node, opset: int, operands: Mapping[str, tuple[int, tuple[int | str | None, ...]]], constants: Mapping[str, TensorProto]
) -> dict[str, Signature]:
    """What onnx itself infers of a node's outputs, from (type, shape) of its operands; {} where it can't."""
    try:
        schema = onnx.defs.get_schema(node.op, opset, node.domain)
        types = {name: helper.make_tensor_type_proto(dtype, shape) for name, (dtype, shape) in operands.items()}
        found = onnx.shape_inference.infer_node_outputs(schema, node.proto, types, dict(constants))
    except (onnx.defs.SchemaError, onnx.shape_inference.InferenceError, onnx.checker.ValidationError, ValueError, KeyError):
        return {}
    values = (helper.make_value_info(name, kind) for name, kind in found.items())
    return {v.name: _signature(v) for v in values if v.type.HasField("tensor_type")}


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


def external_files(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """The files beside a readable model that hold weights of it."""
    path = Path(path)
    model = parse_model(path.read_bytes(), str(path))
    names = {e.value for t in _stored_outside(model) for e in t.external_data if e.key == "location"}
    return tuple(path.resolve().parent / name for name in sorted(names))


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


# ---------------------------------------------------------------- checking
def interface_change(original: ModelProto, other: ModelProto) -> str:
    """How the inputs or outputs of two models differ in name, type or shape; empty where they don't."""
    constants = {t.name for t in original.graph.initializer}
    for what in ("input", "output"):
        before = {v.name: v.type for v in getattr(original.graph, what) if v.name not in constants}
        after = {v.name: v.type for v in getattr(other.graph, what) if v.name not in constants}
        if list(before) != list(after):
            return f"the {what}s were {list(before)} and are {list(after)}"
        for name, kind in before.items():
            if kind != after[name]:
                return f"{what} {name!r} has changed its type or shape"
    return ""


def structural_fault(model: ModelProto) -> str:
    """What onnx.checker with full_check finds wrong, in one line; empty where it finds nothing."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except ValueError as error:  # over 2 GB the checker takes files only
        return "" if "2GB" in str(error) or "2GiB" in str(error) else _first_line(error)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return _first_line(error)
    return ""


def as_float32(model: ModelProto) -> ModelProto:
    """A copy with float32 wherever the model has bfloat16, for a runtime that lacks the kernels; for checks only."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for tensor in all_tensors(copy.graph):
        if tensor.data_type == TensorProto.BFLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for node in nodes_of(copy.graph):
        for a in node.attribute:
            if a.type == AttributeProto.INT and a.name in ("to", "dtype", "output_dtype") and a.i == TensorProto.BFLOAT16:
                a.i = TensorProto.FLOAT
    for value in _values_of(copy.graph):
        if value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    return copy


def _values_of(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    """Every declared tensor of a graph and of the bodies inside of it."""
    yield from (*graph.input, *graph.output, *graph.value_info)
    for node in graph.node:
        for a in node.attribute:
            for body in _graphs_of(a):
                yield from _values_of(body)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def float_type(model: ModelProto) -> str:
    """The coarsest float type among the weights ("float16", ...)."""
    found = {t.data_type for t in all_tensors(model.graph) if t.dims}
    names = ((TensorProto.BFLOAT16, "bfloat16"), (TensorProto.FLOAT16, "float16"), (TensorProto.FLOAT, "float32"))
    return next((name for dtype, name in names if dtype in found), "float64" if TensorProto.DOUBLE in found else "float32")


def parameter_count(model: ModelProto) -> int:
    """Numbers in the stored tensors of non-integer index types, as parameters are usually counted."""
    counted = 0
    for tensor in all_tensors(model.graph):
        if tensor.dims and tensor.data_type not in (TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL):
            counted += int(np.prod(tensor.dims, dtype=np.int64))
    return counted


def index_limits(graph: Graph) -> dict[str, int]:
    """For each integer graph input that reads entries of a constant, how many entries there are to read."""
    source = {s.name: s.name for s in graph.inputs}
    limits: dict[str, int] = {}
    for node in graph.nodes:
        if node.op in ("Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose"):
            if node.inputs[0] in source:
                source[node.outputs[0]] = source[node.inputs[0]]
        elif node.op == "Gather" and node.inputs[1] in source and node.inputs[0] in graph.constants:
            size = graph.constants[node.inputs[0]].dims[int(node.attr("axis", 0))]
            name = source[node.inputs[1]]
            limits[name] = min(size, limits.get(name, size))
    return limits


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
    tensor = TensorProto()
    fill_tensor(tensor, constant, array, name)
    return tensor


def fill_tensor(tensor: TensorProto, constant: Constant, array: NDArray[Any], name: str | None = None) -> None:
    """As `tensor_of`, into an empty tensor where it stands: protobuf would copy one that is put there later."""
    name = constant.proto.name if name is None else name
    if constant.dtype in WHOLE_BYTES and array.dtype == helper.tensor_dtype_to_np_dtype(constant.dtype):
        tensor.name, tensor.data_type = name, constant.dtype
        tensor.dims.extend(array.shape)
        tensor.raw_data = (array if sys.byteorder == "little" else array.byteswap()).tobytes()
    else:
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))
    if tensor.data_type != constant.dtype:
        raise ModelError(f"{constant.name}: element type {constant.dtype} can't be cut")
    if constant.proto.doc_string:
        tensor.doc_string = constant.proto.doc_string


def integers_tensor(name: str, values: Any, dtype: int = TensorProto.INT64) -> TensorProto:
    """A constant for sizes or indices."""
    array = np.asarray(list(values) if not isinstance(values, np.ndarray) else values)
    return numpy_helper.from_array(array.astype(helper.tensor_dtype_to_np_dtype(dtype)), name)


def where_node(condition: str, one: str, other: str, output: str) -> NodeProto:
    """A node that takes `one` where the condition holds and `other` elsewhere."""
    return helper.make_node("Where", [condition, one, other], [output], name=output)


def set_attribute(node: NodeProto, name: str, value: int | float | list[int]) -> None:
    """Set an attribute that is a number, or a list of integers."""
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


def stored_tensor(name: str, array: NDArray[Any], dtype: int) -> TensorProto:
    """Numbers as a constant of an element type."""
    return numpy_helper.from_array(np.ascontiguousarray(array).astype(helper.tensor_dtype_to_np_dtype(dtype)), name)


def new_node(op: str, inputs: list[str], outputs: list[str], name: str = "") -> NodeProto:
    """A node without attributes."""
    return helper.make_node(op, inputs, outputs, name=name or None)


def insert_node(model: ModelProto, after: NodeProto, node: NodeProto) -> None:
    """Put a node behind another one of the main graph."""
    places = [k for k, n in enumerate(model.graph.node) if n.output[:1] == after.output[:1]]
    model.graph.node.insert(places[0] + 1, node)


# ---------------------------------------------------------------- writing
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
            os.replace(Path(folder, data), path.with_name(data))
            os.replace(staged, path)
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror}") from None
    return size

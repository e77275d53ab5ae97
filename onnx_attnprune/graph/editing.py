"""Editing a copy of a model: small steps on the protobuf, used by the surgery and the repair."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_attnprune.errors import ModelError
from onnx_attnprune.graph.model import Constant, Graph, names_read
from onnx_attnprune.graph.naming import FreshNames, nodes_of

# Element types that are stored as numpy holds them, byte for byte.
WHOLE_BYTES = {1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 16}


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


def with_outputs(model: ModelProto, names: Sequence[str]) -> bytes:
    """A serialized model whose inner tensors `names` are outputs too (serialized parts add up to one message)."""
    extra = ModelProto()
    known = {v.name for v in model.graph.output}
    extra.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    return bytes(model.SerializeToString() + extra.SerializeToString())


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
    """Numbers as a constant of an element type, rounded where that is one of whole numbers."""
    values = np.asarray(array, order="C")  # unlike ascontiguousarray, which makes a scalar one-dimensional
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    rounded = np.rint(values) if kind.kind in "iu" and values.dtype.kind == "f" else values
    return numpy_helper.from_array(rounded.astype(kind), name)


def named_tensor(name: str, array: NDArray[Any]) -> bytes:
    """An array as the bytes of a tensor with a name."""
    return bytes(numpy_helper.from_array(np.asarray(array, order="C"), name).SerializeToString())


def to_array(tensor: TensorProto) -> NDArray[Any]:
    """The numbers of a stored tensor."""
    found: NDArray[Any] = numpy_helper.to_array(tensor)
    return found


def new_node(op: str, inputs: list[str], outputs: list[str], name: str = "") -> NodeProto:
    """A node without attributes."""
    return helper.make_node(op, inputs, outputs, name=name or None)


def insert_node(model: ModelProto, after: NodeProto, node: NodeProto) -> None:
    """Put a node behind another one of the main graph."""
    places = [k for k, n in enumerate(model.graph.node) if n.output[:1] == after.output[:1]]
    model.graph.node.insert(places[0] + 1, node)


def add_initializer(model: ModelProto, tensor: TensorProto) -> None:
    """Append an initializer; before IR version 4 it has to be listed among the graph's inputs too."""
    model.graph.initializer.append(tensor)
    if model.ir_version < 4:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))


def drop_initializer(model: ModelProto, name: str) -> None:
    """Take an initializer out, and what lists it among the graph's inputs."""
    for listed in (model.graph.initializer, model.graph.input):
        for k in reversed(range(len(listed))):
            if listed[k].name == name:
                del listed[k]


def store_constant(
    model: ModelProto,
    graph: Graph,
    fresh: FreshNames,
    uses: Sequence[tuple[NodeProto, int]],
    array: NDArray[Any],
    dtype: int,
) -> None:
    """Give operands (node, place) other values: in the constant that they read where nothing else reads it, else in a
    fresh one. `graph`: an index of `model`."""
    name = uses[0][0].input[uses[0][1]]
    old = graph.constants.get(name)
    tensor = stored_tensor(name, array, dtype)
    if old is not None and len(graph.readers[name]) == len(uses) and all(n.input[p] == name for n, p in uses):
        old.proto.CopyFrom(tensor)
        if not old.is_initializer:
            node = graph.makers[name].proto
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("value", tensor))
        return
    tensor.name = fresh.take(f"{name}_refitted")
    add_initializer(model, tensor)
    for node, place in uses:
        node.input[place] = tensor.name


def drop_unread(model: ModelProto, name: str) -> None:
    """Remove what makes a tensor of the main graph that nothing reads any more, and what that alone has read."""
    outputs = {v.name for v in model.graph.output}
    read = {inner for node in nodes_of(model.graph) for inner in names_read(node)} | outputs
    waiting = [name]
    while waiting:
        gone = waiting.pop()
        if not gone or gone in read or any(v.name == gone for v in model.graph.input):
            continue
        for k, tensor in enumerate(model.graph.initializer):
            if tensor.name == gone:
                del model.graph.initializer[k]
                break
        for k, node in enumerate(model.graph.node):
            if gone in node.output and not any(o in read for o in node.output):
                waiting.extend(names_read(node))
                del model.graph.node[k]
                read = {inner for other in nodes_of(model.graph) for inner in names_read(other)} | outputs
                break

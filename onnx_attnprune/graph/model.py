"""A model's graph, indexed; the ModelProto behind it is never changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_attnprune.graph.naming import (
    FreshNames,
    bodies_of,
    defined_names,
    graphs_of,
    nodes_of,
    repeated_names,
    with_unique_names,
)

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
    """A graph input or output: name, element type and dims (an int, a name, or None where the file says nothing)."""

    name: str
    dtype: int
    dims: tuple[int | str | None, ...] | None


@dataclass(frozen=True, slots=True)
class Fold:
    """Of a weight that the file computes: zeros along axis `source_axis` of the stored tensor `source` make zeros along
    axis `axis` of the weight, and nothing else. Where no zeros do, the source is "" and the axes are -1."""

    source: str
    source_axis: int
    axis: int


NO_FOLDS: Mapping[str, Fold] = MappingProxyType({})


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
        return [g for a in self.proto.attribute for g in graphs_of(a)]


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


CONTROL_FLOW = ("If", "Loop", "Scan")


def names_read(node: NodeProto) -> Iterator[str]:
    """Names that a node or a body of it reads."""
    yield from node.input
    for a in node.attribute:
        for outer in graphs_of(a):
            for body in bodies_of(outer):
                yield from (name for inner in body.node for name in inner.input)
                yield from (v.name for v in body.output)


def _flattened(graph: onnx.GraphProto) -> Iterator[tuple[NodeProto, bool]]:
    """Nodes in the order in which their operands become known: a body's before the node that it belongs to. True marks
    a node that is only entered: its bodies follow, then the node itself."""
    for node in graph.node:
        if node.op_type in CONTROL_FLOW and node.domain in DEFAULT_DOMAINS:
            yield node, True
            for a in node.attribute:
                for body in graphs_of(a):
                    yield from _flattened(body)
        yield node, False


class Graph:
    """A model's nodes and constants, those in the bodies of If, Loop and Scan included; the ModelProto behind it is
    never changed.

    steps: the nodes in the order of their execution, with True where a node's bodies are about to follow. Names are
    unique over all bodies; where the model repeats some, the graph works on a copy in which the later ones have other
    names (`repeated` holds the names that were given more than once). folds: constants of `model` that the file
    computes, by name; file: the model as it is in the file.
    """

    def __init__(self, model: ModelProto, folds: Mapping[str, Fold] = NO_FOLDS, file: ModelProto | None = None) -> None:
        self.folds, self.file = folds, model if file is None else file
        self.repeated = repeated_names(model.graph)
        self.model = model = with_unique_names(model) if self.repeated else model
        graph = model.graph
        self.opsets = {("" if o.domain in DEFAULT_DOMAINS else o.domain): o.version for o in model.opset_import}
        made: dict[int, Node] = {}
        steps = []
        for proto, entered in _flattened(graph):
            node = made.setdefault(id(proto), Node(proto, len(made)))
            steps.append((node, entered))
        self.steps = tuple(steps)
        self.nodes = tuple(node for node, entered in steps if not entered)
        self.constants = {t.name: _constant(t, t.name, True) for body in bodies_of(graph) for t in body.initializer}
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
        return int(self.opsets.get("", 1))

    @cached_property
    def hints(self) -> dict[str, Signature]:
        """What the file itself says of the shapes of inner tensors."""
        values = [v for body in bodies_of(self.model.graph) for v in (*body.value_info, *body.output)]
        return {v.name: _signature(v) for v in values if v.type.HasField("tensor_type")}

    @cached_property
    def readers(self) -> dict[str, list[tuple[NodeProto, int]]]:
        """For each tensor the nodes that read it, bodies of control flow included, with the operand's place."""
        found: dict[str, list[tuple[NodeProto, int]]] = {}
        for node in nodes_of(self.model.graph):
            for place, name in enumerate(node.input):
                if name:
                    found.setdefault(name, []).append((node, place))
            for a in node.attribute:
                for body in graphs_of(a):
                    for output in body.output:  # a body hands a tensor out; the place is none of the node's operands
                        found.setdefault(output.name, []).append((node, -1))
        return found

    @cached_property
    def makers(self) -> dict[str, Node]:
        """The node that makes a tensor."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    @cached_property
    def names(self) -> frozenset[str]:
        """Every tensor name in use."""
        taken = set(defined_names(self.model.graph))
        for node in nodes_of(self.model.graph):
            taken.update(node.input, node.output)
        return frozenset(taken)

    def fresh_names(self) -> FreshNames:
        """Names that nothing in the model has yet."""
        return FreshNames(self.names)

    def like(self, model: ModelProto) -> Graph:
        """The index of another model, in which nodes that make the same tensors keep their numbers."""
        known = {o: n for n in self.nodes for o in n.outputs if o}
        other = Graph(model)
        same: dict[int, Node] = {}
        for node in other.nodes:
            old = next((known[o] for o in node.outputs if o in known), None)
            fits = old is not None and old.op == node.op
            same[node.index] = old if fits and old is not None else Node(node.proto, len(self.nodes) + node.index)
        other.steps = tuple((same[node.index], entered) for node, entered in other.steps)
        other.nodes = tuple(node for node, entered in other.steps if not entered)
        return other

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


def named_size(name: str) -> str | None:
    """The name of a free size; None for what some exporters write in place of a name, for several sizes at once."""
    return None if name in ("", "?", "None", "-1") else name


def _signature(v: onnx.ValueInfoProto) -> Signature:
    tensor = v.type.tensor_type
    if not tensor.HasField("shape"):
        return Signature(v.name, tensor.elem_type, None)
    return Signature(v.name, tensor.elem_type, tuple(map(_size, tensor.shape.dim)))


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value >= 0 else None  # some exporters write -1 for a free size
    return named_size(dim.dim_param)


def all_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Every stored tensor: initializers and tensor attributes, bodies of control flow included."""
    yield from graph.initializer
    for node in graph.node:
        for a in node.attribute:
            if a.type == AttributeProto.TENSOR:
                yield a.t
            for body in graphs_of(a):
                yield from all_tensors(body)

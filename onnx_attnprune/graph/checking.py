"""What onnx itself says of a model, and what can be read off a model without running it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from onnx_attnprune.graph.model import Graph, Node, Signature, _signature, all_tensors
from onnx_attnprune.graph.naming import bodies_of, graphs_of, nodes_of


def infer_outputs(
    node: Node,
    opset: int,
    operands: Mapping[str, tuple[int, tuple[int | str | None, ...]]],
    constants: Mapping[str, TensorProto],
) -> dict[str, Signature]:
    """What onnx itself infers of a node's outputs, from (type, shape) of its operands; {} where it can't."""
    try:
        schema = onnx.defs.get_schema(node.op, opset, node.domain)
        types = {name: helper.make_tensor_type_proto(dtype, shape) for name, (dtype, shape) in operands.items()}
        found = onnx.shape_inference.infer_node_outputs(schema, node.proto, types, dict(constants))
    except (
        onnx.defs.SchemaError,
        onnx.shape_inference.InferenceError,
        onnx.checker.ValidationError,
        ValueError,
        KeyError,
    ):
        return {}
    values = (helper.make_value_info(name, kind) for name, kind in found.items())
    return {v.name: _signature(v) for v in values if v.type.HasField("tensor_type")}


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
            if (
                a.type == AttributeProto.INT
                and a.name in ("to", "dtype", "output_dtype")
                and a.i == TensorProto.BFLOAT16
            ):
                a.i = TensorProto.FLOAT
    for value in _values_of(copy.graph):
        if value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    return copy


QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
# Places of the scales among the operands, by operator.
SCALES = {"QuantizeLinear": (1,), "DequantizeLinear": (1,), "QLinearConv": (1, 4, 6), "QLinearMatMul": (1, 4, 6)}


def is_quantised(model: ModelProto) -> bool:
    """True where the network rounds activations to integer steps."""
    return any(n.op_type in QUANTISED or n.op_type.startswith("QLinear") for n in nodes_of(model.graph))


SELECTING = {"TopK": 1, "NonMaxSuppression": 2}  # operators, and how many of their operands they select by
INDICES = {"TopK": 1, "NonMaxSuppression": 0}  # the place of the output that says what was selected


def selected_by(model: ModelProto, cut: ModelProto) -> list[str]:
    """The tensors that operators of the main graph sort or select by, in the order of the graph.

    Empty where `cut`, the same network with less in it, has lost something of a constant that is read behind such an
    operator: then what goes into the selection does not tell all.
    """
    shapes = {t.name: list(t.dims) for t in cut.graph.initializer}
    resized = {t.name for t in model.graph.initializer if shapes.get(t.name, list(t.dims)) != list(t.dims)}
    names: dict[str, None] = {}
    behind: set[str] = set()
    read = {_first(n.output): list(n.input) for n in cut.graph.node}
    for node in model.graph.node:
        selects = SELECTING.get(node.op_type, 0)
        if behind.intersection(node.input):
            if resized.intersection(node.input) or list(node.input) != read.get(_first(node.output)):
                return []
        elif selects:
            names.update(dict.fromkeys(node.input[:selects]))
        if selects or behind.intersection(node.input):
            behind.update(node.output)
    return list(names)


def selections(model: ModelProto, by: Iterable[str]) -> dict[str, str]:
    """The indices that operators of the main graph select by tensors `by` alone: the name to the operator."""
    known = set(by)
    return {
        n.output[INDICES[n.op_type]]: n.op_type
        for n in model.graph.node
        if n.op_type in SELECTING and known.issuperset(n.input[: SELECTING[n.op_type]])
    }


VIEWS = ("Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Cast")  # of their first operand


def logits_of(model: ModelProto, cut: ModelProto) -> dict[str, str]:
    """What goes into the sigmoid behind each output of the main graph that is one; only tensors that `cut` has too."""
    made = {name: node for node in model.graph.node for name in node.output}
    there = {name for node in cut.graph.node for name in node.output}
    found = {}
    for value in model.graph.output:
        node = made.get(value.name)
        while node and node.op_type in VIEWS:
            node = made.get(node.input[0])
        if node and node.op_type == "Sigmoid" and node.input[0] in there:
            found[value.name] = node.input[0]
    return found


def _first(names: Iterable[str]) -> str:
    """The first output that is not left out, which names a node."""
    return next((name for name in names if name), "")


def with_even_scales(model: ModelProto) -> ModelProto:
    """A copy in which quantisation scales are powers of two.

    Sums of such numbers are exact in any order, so two networks that are equal on paper round every value to the same
    step; with other scales a value in the middle between two steps goes up in one and down in the other.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    names = {n.input[k] for n in nodes_of(copy.graph) for k in SCALES.get(n.op_type, ()) if k < len(n.input)}
    stored = [(t.name, t) for body in bodies_of(copy.graph) for t in body.initializer]
    for node in nodes_of(copy.graph):
        stored += [(node.output[0], a.t) for a in node.attribute if node.op_type == "Constant" and a.name == "value"]
    for name, tensor in stored:
        if name in names:
            array = numpy_helper.to_array(tensor)
            even = np.exp2(np.round(np.log2(np.maximum(array.astype(np.float64), 1e-30)))).astype(array.dtype)
            tensor.CopyFrom(numpy_helper.from_array(even, tensor.name))
    return copy


def _values_of(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    """Every declared tensor of a graph and of the bodies inside of it."""
    yield from (*graph.input, *graph.output, *graph.value_info)
    for node in graph.node:
        for a in node.attribute:
            for body in graphs_of(a):
                yield from _values_of(body)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def float_type(model: ModelProto) -> str:
    """The coarsest float type among the weights ("float16", ...)."""
    found = {t.data_type for t in all_tensors(model.graph) if t.dims}
    names = ((TensorProto.BFLOAT16, "bfloat16"), (TensorProto.FLOAT16, "float16"), (TensorProto.FLOAT, "float32"))
    return next(
        (name for dtype, name in names if dtype in found), "float64" if TensorProto.DOUBLE in found else "float32"
    )


def parameter_count(model: ModelProto) -> int:
    """Numbers in the stored tensors of non-integer index types, as parameters are usually counted."""
    counted = 0
    for tensor in all_tensors(model.graph):
        if tensor.dims and tensor.data_type not in (TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL):
            counted += int(np.prod(tensor.dims, dtype=np.int64))
    return counted


# What moves numbers, the first operand's or those of all of them, and what makes other numbers of them.
MOVING = {
    "Cast", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose",
    "Unsqueeze",
}  # fmt: skip  # a list of names
JOINING, COMPUTING = {"Concat", "Where"}, {"Add", "CumSum", "Max", "Min", "Mul", "Neg", "Sub"}
INDEXING = {"Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND"}
FEW = 2  # entries that anything which is read by index will have


def index_limits(graph: Graph) -> dict[str, int]:
    """For each graph input whose numbers read entries by index, how many entries there surely are to read.

    As many as the constant has that is read; a few where it is no constant, or where the numbers are computed with.
    """
    sources: dict[str, dict[str, bool]] = {s.name: {s.name: True} for s in graph.inputs}  # True: only moved
    limits: dict[str, int] = {}
    for node in graph.nodes:
        if node.op in INDEXING:
            table = graph.constants.get(node.inputs[0]) if node.op == "Gather" else None
            rows = FEW if table is None else table.dims[int(node.attr("axis", 0))]
            for name, moved in sources.get(node.inputs[1], {}).items():
                limits[name] = min(limits.get(name, rows), rows if moved else FEW)
        if node.op in MOVING | JOINING | COMPUTING:
            found: dict[str, bool] = {}
            for operand in node.inputs[: 1 if node.op in MOVING else None]:
                for name, moved in sources.get(operand, {}).items():
                    found[name] = found.get(name, True) and moved and node.op not in COMPUTING
            if found:
                sources.update(dict.fromkeys(node.outputs, found))
    return limits

"""Weights that a file computes out of stored tensors, over whole rows of them: standardised or normalised weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from onnx_attnprune.graph.editing import add_initializer, drop_unread
from onnx_attnprune.graph.extracting import part_of
from onnx_attnprune.graph.model import DEFAULT_DOMAINS, Fold, Graph, names_read
from onnx_attnprune.graph.naming import nodes_of, repeated_names

Array = NDArray[Any]
Run = Callable[[Array | None], Array]

# What runs over rows of a weight: behind it, no stored number stands for one number of the weight any more.
OVER_ROWS = {
    "BatchNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization", "ReduceL1", "ReduceL2",
    "ReduceMax", "ReduceMean", "ReduceSum", "ReduceSumSquare",
}  # fmt: skip  # a list of names
PLAIN = {
    "Abs", "Add", "Cast", "CastLike", "Clip", "Concat", "ConstantOfShape", "Div", "Expand", "Flatten", "Gather",
    "Identity", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal", "Reshape", "Shape", "Slice", "Sqrt", "Squeeze", "Sub",
    "Transpose", "Unsqueeze",
}  # fmt: skip  # a list of names
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
WEIGHED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}  # their weight is operand 1


def folded(model: ModelProto) -> Graph:
    """The graph of a model in which such weights are stored as they come out (`Graph.folds`); the model itself is not
    changed."""
    found = {} if repeated_names(model.graph) else dict(_folds(model))
    if not found:
        return Graph(model)
    copy = ModelProto()
    copy.CopyFrom(model)
    made = {o: k for k, node in enumerate(copy.graph.node) for o in node.output}
    nodes = {name: copy.graph.node[made[name]] for name in found}
    for name, (_, array) in found.items():
        add_initializer(copy, numpy_helper.from_array(np.ascontiguousarray(array), name))
    _drop(copy, list(nodes.values()))
    return Graph(copy, {name: fold for name, (fold, _) in found.items()}, model)


def _drop(model: ModelProto, nodes: Sequence[NodeProto]) -> None:
    """Take the nodes that made stored weights out, and what they alone have read."""
    read = dict.fromkeys(name for node in nodes for name in node.input)
    for node in nodes:
        model.graph.node.remove(node)
    for name in read:
        drop_unread(model, name)


def _folds(model: ModelProto) -> Iterator[tuple[str, tuple[Fold, Array]]]:
    """The computed weights of the main graph: name to what they rest on, and their values."""
    graph = model.graph
    makers = {o: node for node in graph.node for o in node.output if o}
    computed = set(_computed(model))
    reads = Counter(name for node in nodes_of(graph) for name in node.input)
    reads.update(value.name for value in graph.output)
    for node in graph.node:
        if node.op_type not in WEIGHED or node.domain not in DEFAULT_DOMAINS or node.input[1] not in computed:
            continue
        name = node.input[1]
        behind = list(_behind(name, makers))
        if any(n.op_type in OVER_ROWS for n in behind):
            own = Counter(one for n in behind for one in n.input)
            alone = [one for one in own if own[one] == reads[one] and reads[name] == 1]
            yield name, _fold(model, name, _sources(model, alone))
            computed.remove(name)


def _computed(model: ModelProto) -> Iterator[str]:
    """Tensors of the main graph that rest on stored ones alone, by operators that are known to say the same always."""
    inputs = {v.name for v in model.graph.input}
    known = {t.name for t in model.graph.initializer} - inputs
    for node in model.graph.node:
        if node.domain not in DEFAULT_DOMAINS:
            continue
        if node.op_type == "Constant":
            known.update(node.output)
        elif node.op_type in OVER_ROWS | PLAIN and known.issuperset(filter(None, node.input)):
            known.update(node.output)
            yield from node.output


def _behind(name: str, makers: Mapping[str, NodeProto]) -> Iterator[NodeProto]:
    """The nodes that a tensor is computed by."""
    seen: set[str] = set()
    wanted = [name]
    while wanted:
        node = makers.get(wanted.pop())
        if node is not None and node.output[0] not in seen:
            seen.add(node.output[0])
            wanted.extend(names_read(node))
            yield node


def _sources(model: ModelProto, names: Sequence[str]) -> dict[str, Array]:
    """The stored float tensors of those names, the largest first."""
    stored: dict[str, TensorProto] = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        for a in node.attribute:
            if node.op_type == "Constant" and a.name == "value":
                stored[node.output[0]] = a.t
    found = [(name, stored[name]) for name in names if name in stored and stored[name].data_type in FLOATS]
    found.sort(key=lambda one: -int(np.prod(one[1].dims)))
    return {name: numpy_helper.to_array(tensor) for name, tensor in found}


def _fold(model: ModelProto, name: str, sources: Mapping[str, Array]) -> tuple[Fold, Array]:
    """The values of a computed weight, and which zeros silence channels of it."""
    whole = _runner(model, name)(None)
    for source, array in sources.items():
        run = _runner(model, name, source, array)
        for given in range(array.ndim):
            for made in range(min(whole.ndim, 2)):
                if array.shape[given] == whole.shape[made] > 1 and _silences(run, array, whole, given, made):
                    return Fold(source, given, made), whole
    return Fold("", -1, -1), whole


def _runner(model: ModelProto, name: str, source: str = "", array: Array | None = None) -> Run:
    """A function that computes a tensor of a model, from other numbers than `array` in the stored tensor `source`."""
    from onnx.reference import ReferenceEvaluator  # takes long to load, and few models need it

    given = {} if array is None else {source: (array.dtype, array.shape)}
    part = onnx.load_from_string(part_of(model, given, [name]))
    stored = [t for t in part.graph.initializer if t.name != source]
    del part.graph.initializer[:]
    part.graph.initializer.extend(stored)
    evaluator = ReferenceEvaluator(part)
    return lambda values: np.asarray(next(iter(evaluator.run(None, {} if values is None else {source: values}))))


def _silences(run: Run, array: Array, whole: Array, given: int, made: int) -> bool:
    """Whether zeros along an axis of what a weight is computed from make zeros along one of it, and nothing else."""
    gone = np.arange(array.shape[given]) % 3 == 1
    zeroed, expected = array.copy(), whole.copy()
    np.moveaxis(zeroed, given, 0)[gone] = 0
    np.moveaxis(expected, made, 0)[gone] = 0
    with np.errstate(all="ignore"):  # where a norm of zeros is divided by, zeros elsewhere may do
        return bool(np.array_equal(run(zeroed), expected))

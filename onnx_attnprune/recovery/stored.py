"""Weights that are stored in another way than as the numbers that they stand for: quantised ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.graph import Constant, Node, NodeProto
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.ops import Linear
from onnx_attnprune.recovery.consumers import Consumer
from onnx_attnprune.recovery.forms import Array
from onnx_attnprune.recovery.means import Constants

WHOLE = {"int8", "uint8", "int16", "uint16", "int32"}
OPERATOR = "DequantizeLinear"


def why_not_stored(analysis: Analysis, consumer: Consumer) -> str:
    """Why a new weight or bias of a consumer can't be stored as the old one is; empty where it can."""
    graph, node = analysis.graph, consumer.node
    if consumer.whole:
        return _why_not_whole(analysis, consumer)
    maker = graph.makers.get(node.inputs[consumer.linear.weight])
    if maker is not None and maker.op == OPERATOR:
        first = graph.constants.get(maker.inputs[0])
        if first is None or first.array().dtype.name not in WHOLE or maker.attr("block_size", 0):
            return "a quantised weight of a kind of its own"
        if len(graph.readers[maker.outputs[0]]) > 1 or len(graph.readers[maker.inputs[0]]) > 1:
            return "a quantised weight that others share"
    elif maker is not None and _rests_on_quantised(analysis, maker):
        return "a quantised weight that is laid out anew"
    place = consumer.linear.bias
    bias = node.inputs[place] if place is not None and place < len(node.inputs) else ""
    return "computed bias" if consumer.linear.inner and bias and bias not in graph.constants else ""


def _rests_on_quantised(analysis: Analysis, node: Node) -> bool:
    """True where numbers that are computed from constants come out of a DequantizeLinear."""
    makers: list[Node | None] = [node]
    while makers:
        one = makers.pop()
        if one is not None and one.op == OPERATOR:
            return True
        makers.extend(analysis.graph.makers.get(name) for name in (one.inputs if one is not None else ()))
    return False


def _why_not_whole(analysis: Analysis, consumer: Consumer) -> str:
    constants, node = analysis.graph.constants, consumer.node
    stored = constants.get(node.inputs[consumer.linear.weight])
    if stored is None or stored.array().dtype.name not in WHOLE:
        return "a quantised weight of a kind of its own"
    data, weight = (operand(node, place) for place in consumer.linear.zeros or ())
    if weight and weight not in constants:
        return "a quantised weight with a computed zero point"
    if consumer.source == operand(node, consumer.linear.data) and data:
        found = constants.get(data)
        if found is None or found.array().size != 1:
            return "data with a zero point that is not one stored number"
    bias = "" if consumer.linear.bias is None else operand(node, consumer.linear.bias)
    return "computed bias" if bias and bias not in constants else ""


def operand(node: Node | NodeProto, place: int) -> str:
    """The name of an operand, empty where there is none."""
    names = node.inputs if isinstance(node, Node) else node.input
    return names[place] if place < len(names) else ""


def zero_of_data(analysis: Analysis, consumer: Consumer) -> float:
    """What is taken off the data of a consumer before its product."""
    if consumer.linear.zeros is None or consumer.source != operand(consumer.node, consumer.linear.data):
        return 0.0
    stored = analysis.graph.constants.get(operand(consumer.node, consumer.linear.zeros[0]))
    return 0.0 if stored is None else float(stored.array().reshape(-1)[0])


def multiplier(constants: Constants, consumer: Consumer) -> Array | None:
    """The numbers that a consumer multiplies its data by; None where they depend on the input."""
    weight = constants.array(consumer.node.inputs[consumer.linear.weight])
    if weight is None or consumer.linear.zeros is None:
        return weight
    zero = constants.array(operand(consumer.node, consumer.linear.zeros[1]))
    return weight if zero is None else weight - beside(zero, weight.ndim, consumer.linear.out)


def beside(numbers: Array, rank: int, axis: int) -> Array:
    """One number, or one for each place on an axis, in the shape that broadcasts."""
    shape = [1] * rank
    if numbers.size > 1:
        shape[axis] = numbers.size
    return numbers.reshape(shape)


def takes_bias(analysis: Analysis, consumer: Consumer) -> bool:
    """True where the result can be shifted: a new bias of floats would keep a quantised node from running on whole
    numbers, and a product of whole numbers takes none where its operator has no place for one."""
    node, linear = consumer.node, consumer.linear
    if consumer.whole:
        return linear.bias is not None
    return not _is_quantised(analysis, node, linear.weight) or _is_quantised(analysis, node, linear.bias)


def _is_quantised(analysis: Analysis, node: Node, place: int | None) -> bool:
    """True where an operand is a stored tensor behind a DequantizeLinear."""
    maker = None if place is None else analysis.graph.makers.get(operand(node, place))
    return maker is not None and maker.op == OPERATOR and maker.inputs[0] in analysis.graph.constants


@dataclass(frozen=True, slots=True)
class Scales:
    """How whole numbers of a model that is being repaired stand for others: (q - zero) * scale."""

    scale: Array
    zero: Array
    dtype: np.dtype[Any]

    def quantised(self, values: Array) -> NDArray[Any]:
        """The whole numbers that come nearest, within the range of their type."""
        limits = np.iinfo(self.dtype)
        return np.clip(np.rint(values / self.scale) + self.zero, limits.min, limits.max).astype(self.dtype)

    def numbers(self, whole: NDArray[Any]) -> Array:
        """What they stand for."""
        return np.asarray((whole.astype(np.float64) - self.zero) * self.scale)


def scales_of(node: NodeProto, constants: Mapping[str, Constant]) -> Scales | None:
    """The scales of a DequantizeLinear of a stored tensor; None for another node, or where they are computed."""
    if node.op_type != OPERATOR or any(name and name not in constants for name in node.input):
        return None
    x, scale, *rest = (constants[name] for name in node.input if name)
    wide = scale.array().astype(np.float64)
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    zero = rest[0].array().astype(np.float64) if rest else np.zeros_like(wide)
    rank = len(x.dims)
    return Scales(_safe(beside(wide, rank, axis)), beside(zero, rank, axis), x.array().dtype)


def whole_scales(node: NodeProto, linear: Linear, constants: Mapping[str, Constant]) -> Scales:
    """Those of the weight of a product of whole numbers, in steps of one: its own scale belongs to the result."""
    x, zero = constants[node.input[linear.weight]], constants.get(operand(node, (linear.zeros or (0, 0))[1]))
    wide = np.zeros(1) if zero is None else zero.array().astype(np.float64)
    return Scales(np.ones(1), beside(wide, len(x.dims), linear.out), x.array().dtype)


def _safe(scale: Array) -> Array:
    return np.where(scale == 0, 1.0, scale)

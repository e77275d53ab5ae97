"""Weights that are stored in another way than as the numbers that they stand for: quantised ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.graph import Constant, Node, NodeProto
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.consumers import Consumer
from onnx_attnprune.recovery.forms import Array

WHOLE = {"int8", "uint8", "int16", "uint16", "int32"}
OPERATOR = "DequantizeLinear"


def why_not_stored(analysis: Analysis, consumer: Consumer) -> str:
    """Why a new weight or bias of a consumer can't be stored as the old one is; empty where it can."""
    graph, node = analysis.graph, consumer.node
    maker = graph.makers.get(node.inputs[consumer.linear.weight])
    if maker is not None and maker.op == OPERATOR:
        first = graph.constants.get(maker.inputs[0])
        if first is None or first.array().dtype.name not in WHOLE or maker.attr("block_size", 0):
            return "a quantised weight of a kind of its own"
        if len(graph.readers[maker.outputs[0]]) > 1 or len(graph.readers[maker.inputs[0]]) > 1:
            return "a quantised weight that others share"
    place = consumer.linear.bias
    bias = node.inputs[place] if place is not None and place < len(node.inputs) else ""
    return "computed bias" if consumer.recurrent and bias and bias not in graph.constants else ""


def is_quantised(analysis: Analysis, node: Node, place: int | None) -> bool:
    """True where an operand is a stored tensor behind a DequantizeLinear."""
    if place is None or place >= len(node.inputs):
        return False
    maker = analysis.graph.makers.get(node.inputs[place])
    return maker is not None and maker.op == OPERATOR and maker.inputs[0] in analysis.graph.constants


@dataclass(frozen=True, slots=True)
class Scales:
    """How a DequantizeLinear of a model that is being repaired stands for numbers: (q - zero) * scale."""

    node: NodeProto
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
    shape = [1] * len(x.dims)
    if wide.size > 1:
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        shape[axis] = wide.size
    zero = rest[0].array().astype(np.float64) if rest else np.zeros_like(wide)
    return Scales(node, _safe(wide.reshape(shape)), zero.reshape(shape), x.array().dtype)


def _safe(scale: Array) -> Array:
    return np.where(scale == 0, 1.0, scale)

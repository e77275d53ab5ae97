"""The nodes that a removal takes channels from: those that sum over channels by a weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx_attnprune.axes import Axis, BoolArray
from onnx_attnprune.graph import Node
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.ops import Linear


@dataclass(frozen=True, slots=True)
class Consumer:
    """A node whose weight loses input channels.

    channel: the axis of the data operand, and of the result, that channels lie on, counted from the front in a
    convolution (1) and from the back in a matrix product (-1). removed: which of the data operand's channels go,
    [input channels]. outputs: which of the result's channels survive, [output channels].
    """

    node: Node
    linear: Linear
    channel: int
    removed: BoolArray
    outputs: BoolArray


def consumers_of(analysis: Analysis, alive: Mapping[int, BoolArray]) -> tuple[Consumer, ...]:
    """Every consumer of removed channels, in the order of the graph."""
    operands, space = Operands(analysis), analysis.space
    found = []
    for node, effect in analysis.effects:
        linear = effect.linear
        if linear is None:
            continue
        weight, data = operands.axes(node, linear.weight), operands.axes(node, linear.data)
        result = effect.outputs[0].axes
        if not weight or not data or not result or space.size(weight[linear.into], alive) == weight[linear.into].size:
            continue
        channel = 1 if len(weight) > 2 else -1
        removed, outputs = ~space.mask(data[channel], alive), space.mask(result[channel], alive)
        found.append(Consumer(node, linear, channel, removed, outputs))
    return tuple(found)


class Operands:
    """The axes of any operand of any node; a constant has axes of its own at each use."""

    def __init__(self, analysis: Analysis) -> None:
        self._tensors = analysis.tensors
        self._slots = {(s.node.index, s.place): s.axes for s in analysis.slots}

    def axes(self, node: Node, place: int) -> Sequence[Axis] | None:
        """None where not even the rank is known, or where the node has no such operand."""
        if place >= len(node.inputs) or not node.inputs[place]:
            return None
        known = self._tensors.get(node.inputs[place])
        return self._slots.get((node.index, place)) if known is None else known.axes

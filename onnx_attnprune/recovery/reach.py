"""What a repair may change, whichever it is: what consumers of removed channels, those behind them and those that make
the channels add up."""

from __future__ import annotations

from collections.abc import Mapping

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.consumers import Operands, consumers_of, followers_of
from onnx_attnprune.recovery.producers import couples_of
from onnx_attnprune.recovery.stored import OPERATOR


def within_reach(analysis: Analysis, alive: Mapping[int, BoolArray]) -> frozenset[str]:
    """First outputs of the nodes whose stored operands a repair may give other numbers: the consumers of removed
    channels, what follows them and what makes channels for them alone, what their quantised weights and biases stand
    behind, and sums that read their results."""
    found: dict[str, None] = {}
    makers = (couple.first.consumer for couple in couples_of(analysis, alive))
    for consumer in (*consumers_of(analysis, alive), *followers_of(analysis, alive), *makers):
        result = consumer.node.outputs[0]
        found[result] = None
        for place in (consumer.linear.weight, consumer.linear.bias):
            maker = None if place is None else analysis.graph.makers.get((*consumer.node.inputs, *[""] * 9)[place])
            if maker is not None and maker.op == OPERATOR:  # quantised: what stands behind it is another number
                found[maker.outputs[0]] = None
        for reader, _ in analysis.graph.readers.get(result, ()):
            if reader.op_type == "Add":
                found[reader.output[0]] = None
    return frozenset(found)


def operand_sizes(analysis: Analysis, alive: Mapping[int, BoolArray]) -> dict[tuple[str, int], tuple[int, ...]]:
    """The shape that a removal leaves of each operand, by the node's first output and the operand's place, where it is
    known."""
    operands, space = Operands(analysis), analysis.space
    found = {}
    for node in analysis.graph.nodes:
        for place in range(len(node.inputs)):
            axes = operands.axes(node, place)
            if axes is not None and node.outputs:
                found[node.outputs[0], place] = tuple(space.size(a, alive) for a in axes)
    return found

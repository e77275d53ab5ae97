"""The nodes that a removal takes channels from: those that sum over channels by a weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnx_attnprune.axes import Axis, BoolArray
from onnx_attnprune.graph import Node, names_read
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.ops import Linear
from onnx_attnprune.recovery.forms import Form

RECURRENT = ("LSTM", "GRU", "RNN")
RETURN = 2  # the place of the weight of the state that comes back
DYNAMIC = "DynamicQuantizeLinear"
BLOCKS = "its weight is packed, with a scale for each block"
WHY_NOT = {
    "MatMulNBits": BLOCKS,
    "MatMulBnb4": BLOCKS,
    "DynamicQuantizeLSTM": "whole numbers inside of a recurrent layer",
    "QAttention": "whole numbers inside of an attention",
    **dict.fromkeys(RECURRENT, "its states are not given at every step"),
}


@dataclass(frozen=True, slots=True)
class Consumer:
    """A node that sums over channels by a weight.

    channel: the axis of the data operand, and of the result, that channels lie on, counted from the front in a
    convolution (1) and from the back in a matrix product (-1). source: the name of the data; of data that is quantised
    by its range in the run, that of the numbers before it. removed: which of the data operand's channels go, [input
    channels]. outputs: which of the product's columns survive, [output channels]; those of a recurrent layer are the
    gates of every direction.
    """

    node: Node
    linear: Linear
    channel: int
    source: str
    removed: BoolArray
    outputs: BoolArray

    @property
    def recurrent(self) -> bool:
        """True where the product makes the gates of a recurrent layer."""
        return self.node.op in RECURRENT

    @property
    def returns(self) -> bool:
        """True where it is the state of a recurrent layer that comes back, of each direction to its own gates."""
        return self.recurrent and self.linear.weight == RETURN

    @property
    def whole(self) -> bool:
        """True where the product is one of whole numbers less their zero points."""
        return self.linear.zeros is not None

    @property
    def form(self) -> Form:
        """The layout of its weight."""
        if self.recurrent:
            return Form("states" if self.returns else "gates")
        if self.channel == 1:
            return Form("spread" if self.linear.into == 0 else "conv", int(self.node.attr("group", 1)))
        alpha = 1.0 if self.whole else float(self.node.attr("alpha", 1.0))
        return Form("columns" if self.linear.out == 0 else "rows", alpha=alpha)

    @property
    def biases(self) -> int:
        """How many numbers a new bias for it takes."""
        return int(np.count_nonzero(self.outputs)) * (2 if self.recurrent else 1)


def consumers_of(analysis: Analysis, alive: Mapping[int, BoolArray]) -> tuple[Consumer, ...]:
    """Every consumer of removed channels whose result is linear in its weight, in the order of the graph."""
    operands, space = Operands(analysis), analysis.space

    def loses(c: Consumer) -> bool:  # and not only whole groups of a convolution, with the results that they make
        axes = operands.axes(c.node, c.linear.weight)
        return axes is not None and space.size(axes[c.linear.into], alive) < axes[c.linear.into].size

    return tuple(c for c in mixers_of(analysis, alive) if loses(c))


def followers_of(analysis: Analysis, alive: Mapping[int, BoolArray]) -> tuple[Consumer, ...]:
    """Every other node that sums over channels by a weight of its own and sees results of consumers of removed
    channels, in the order of the graph: it loses no input, but what arrives is not quite what it was."""
    behind = {o for c in consumers_of(analysis, alive) for o in c.node.outputs if o}
    for node in analysis.graph.nodes:
        if any(name in behind for name in names_read(node.proto)):
            behind.update(o for o in node.outputs if o)
    readers = analysis.graph.readers

    def own(c: Consumer) -> bool:
        return len(readers.get(c.node.inputs[c.linear.weight], ())) == 1 and not c.recurrent and not c.whole

    return tuple(
        c
        for c in mixers_of(analysis, alive)
        if not c.removed.any() and c.node.inputs[c.linear.data] in behind and own(c)
    )


def mixers_of(analysis: Analysis, alive: Mapping[int, BoolArray]) -> Iterator[Consumer]:
    """Every node whose result is linear in a weight that sums over channels, in the order of the graph."""
    operands, space = Operands(analysis), analysis.space
    for node, effect in analysis.effects:
        linear = effect.linear
        if linear is None:
            continue
        weight, data = operands.axes(node, linear.weight), operands.axes(node, linear.data)
        result = effect.outputs[0].axes
        if not weight or not data or not result:
            continue
        channel = 1 if len(weight) > 2 and node.op not in RECURRENT else -1
        removed = ~space.mask(data[channel], alive)
        outputs = results_of(analysis, operands, node, linear, alive)
        yield Consumer(node, linear, channel, _source(analysis, node, linear), removed, outputs)


def returns_of(analysis: Analysis, alive: Mapping[int, BoolArray]) -> tuple[Consumer, ...]:
    """Recurrent layers that lose units, as consumers of their own states: what comes back from step to step is what
    they give, but for the first and the last step. Only those whose states are all given can be looked at."""
    operands, space, found = Operands(analysis), analysis.space, []
    for node, effect in analysis.effects:
        weight = operands.axes(node, RETURN) if node.op in RECURRENT and effect.linear is not None else None
        if not weight or not node.outputs[0] or space.size(weight[2], alive) == weight[2].size:
            continue
        assert effect.linear is not None
        linear = replace(effect.linear, weight=RETURN)
        removed = np.tile(~space.mask(weight[2], alive), weight[0].size)
        outputs = results_of(analysis, operands, node, linear, alive)
        found.append(Consumer(node, linear, -1, node.outputs[0], removed, outputs))
    return tuple(found)


def results_of(
    analysis: Analysis, operands: Operands, node: Node, linear: Linear, alive: Mapping[int, BoolArray]
) -> BoolArray:
    """Which results of a consumer's weight are left, [output channels]; of a recurrent layer in all directions."""
    weight = operands.axes(node, linear.weight) or ()
    if node.op in RECURRENT:
        return np.tile(analysis.space.mask(weight[linear.out], alive), weight[0].size)
    if linear.inner:
        return analysis.space.mask(weight[linear.out], alive)
    result = analysis.tensors[node.outputs[0]].axes or ()
    return analysis.space.mask(result[1 if len(weight) > 2 else -1], alive)


def _source(analysis: Analysis, node: Node, linear: Linear) -> str:
    name = node.inputs[linear.data]
    maker = analysis.graph.makers.get(name)
    return maker.inputs[0] if linear.zeros is not None and maker is not None and maker.op == DYNAMIC else name


def main_names(analysis: Analysis) -> frozenset[str]:
    """The tensors of the main graph, which alone can be looked at while it runs."""
    graph = analysis.graph.model.graph
    return frozenset({v.name for v in graph.input} | {o for node in graph.node for o in node.output})


def others_of(analysis: Analysis, alive: Mapping[int, BoolArray]) -> Iterator[str]:
    """A note on each other node whose weight loses input channels: no repair knows its operator."""
    known = {c.node.index for c in (*consumers_of(analysis, alive), *returns_of(analysis, alive))}
    named: dict[int, str] = {}
    for group in analysis.groups:
        for m in group.members:
            axis, node = m.slot.axes[m.axis], _user(analysis, m.slot.node)
            if m.role == "consumer" and node.index not in known and analysis.space.size(axis, alive) < axis.size:
                why = WHY_NOT.get(node.op, "no repair for this operator")
                named[node.index] = f"{node.name} ({node.op}): not refitted ({why})"
    yield from (named[k] for k in sorted(named))


def _user(analysis: Analysis, node: Node) -> Node:
    """The node that works with the data by a weight, which may first be taken out of quantisation or transposed."""
    while node.outputs and node.outputs[0] in analysis.tensors and analysis.tensors[node.outputs[0]].slots:
        readers = analysis.graph.readers.get(node.outputs[0], [])
        found = None if len(readers) != 1 else analysis.graph.makers.get(next(iter(readers[0][0].output), ""))
        if found is None:
            break
        node = found
    return node


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

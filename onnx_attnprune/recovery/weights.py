"""Replaces the weights of consumers in a pruned model by refitted ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import Graph, ModelProto, NodeProto, nodes_of, store_constant
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.consumers import Consumer, Operands
from onnx_attnprune.recovery.means import Constants
from onnx_attnprune.recovery.rows import Array


class Weights:
    """The weights of one pruned model, which is edited in place; those of the unpruned one are only read."""

    def __init__(self, analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto) -> None:
        self._analysis, self._alive, self._pruned = analysis, alive, pruned
        self._operands, self._constants = Operands(analysis), Constants(analysis)
        self._nodes: dict[str, NodeProto] = {o: n for n in nodes_of(pruned.graph) for o in n.output if o}
        self._graph = Graph(pruned)
        self._fresh = self._graph.fresh_names()

    def original(self, consumer: Consumer) -> Array:
        """The weight of the unpruned model."""
        found = self._constants.array(consumer.node.inputs[consumer.linear.weight])
        assert found is not None  # a consumer whose weight is computed at run time is never refitted
        return found

    def replace(self, consumers: Sequence[Consumer], first: Consumer, whole: Array) -> None:
        """Give consumers that share a weight the surviving part of `whole`, in the element type of the old one."""
        for k, axis in enumerate(self._operands.axes(first.node, first.linear.weight) or ()):
            whole = np.compress(self._analysis.space.mask(axis, self._alive), whole, axis=k)
        nodes = [self._nodes[next(o for o in c.node.outputs if o)] for c in consumers]
        uses = [(n, c.linear.weight) for n, c in zip(nodes, consumers, strict=True)]
        store_constant(self._pruned, self._graph, self._fresh, uses, whole, self._dtype(first))

    def _dtype(self, consumer: Consumer) -> int:
        name = consumer.node.inputs[consumer.linear.weight]
        constant = self._analysis.graph.constants.get(name)
        return constant.dtype if constant is not None else self._analysis.tensors[name].dtype

"""Replaces the weights of consumers in a pruned model by refitted ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import Graph, ModelProto, NodeProto, drop_unread, store_constant, stored_tensor, to_array
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.consumers import Consumer, Operands
from onnx_attnprune.recovery.forms import Array
from onnx_attnprune.recovery.jobs import Job
from onnx_attnprune.recovery.stored import Scales, scales_of, whole_scales

FINE = (1, 11)  # as ONNX counts element types: float and double


class Weights:
    """The weights of one pruned model, which is edited in place; those of the unpruned one are only read."""

    def __init__(self, analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto) -> None:
        self._analysis, self._alive, self._pruned = analysis, alive, pruned
        self._operands = Operands(analysis)
        self._nodes: dict[str, NodeProto] = {o: n for n in pruned.graph.node for o in n.output if o}
        self._graph = Graph(pruned)
        self._fresh = self._graph.fresh_names()

    def cut(self, consumer: Consumer, whole: Array) -> Array:
        """The surviving part of a weight of the unpruned model."""
        for k, axis in enumerate(self._operands.axes(consumer.node, consumer.linear.weight) or ()):
            whole = np.compress(self._analysis.space.mask(axis, self._alive), whole, axis=k)
        return whole

    def present(self, job: Job) -> Array:
        """The weight as it stands in the pruned model: one that its nodes lay out anew is as it was cut."""
        stored = self._graph.constants.get(self._node(job.consumer).input[job.consumer.linear.weight])
        return self.cut(job.consumer, job.read()) if stored is None else stored.array().astype(np.float64)

    def is_fine(self, consumer: Consumer) -> bool:
        """True where a weight is stored in at least single precision, so that rounding says nothing of its worth."""
        fine = self._dtype(consumer) in FINE
        return fine and self._scales(self._node(consumer), consumer) is None

    def rounded(self, consumer: Consumer, weight: Array) -> Array:
        """The numbers that stand in the file once a weight is stored in the way of the old one."""
        node = self._node(consumer)
        scales = self._scales(node, consumer)
        if scales is not None:
            return scales.numbers(scales.quantised(weight))
        return to_array(stored_tensor("", weight, self._dtype(consumer))).astype(np.float64)

    def replace(self, jobs: Sequence[Job], weight: Array) -> None:
        """Give consumers that share a weight another one, in the element type and the scales of the old one."""
        first = jobs[0].consumer
        uses = [(self._node(job.consumer), job.consumer.linear.weight) for job in jobs]
        node, place = uses[0]
        scales = self._scales(node, first)
        if scales is not None and not first.whole:
            uses = [(self._nodes[node.input[place]], 0)]
        node, place = uses[0]
        before = node.input[place]
        dtype = self._dtype(first) if scales is None else self._graph.constants[before].dtype
        numbers = weight if scales is None else scales.quantised(weight)
        store_constant(self._pruned, self._graph, self._fresh, uses, numbers, dtype)
        if node.input[place] != before:
            drop_unread(self._pruned, before)

    def _scales(self, node: NodeProto, consumer: Consumer) -> Scales | None:
        """How the weight of a consumer is quantised; None where it is not."""
        if consumer.whole:
            return whole_scales(node, consumer.linear, self._graph.constants)
        maker = self._nodes.get(node.input[consumer.linear.weight])
        return None if maker is None else scales_of(maker, self._graph.constants)

    def _node(self, consumer: Consumer) -> NodeProto:
        """The consumer in the pruned model; an addition may have taken over the name of its result."""
        node = self._nodes[next(o for o in consumer.node.outputs if o)]
        while node.op_type != consumer.node.op:
            node = self._nodes[node.input[0]]
        return node

    def _dtype(self, consumer: Consumer) -> int:
        name = consumer.node.inputs[consumer.linear.weight]
        constant = self._analysis.graph.constants.get(name)
        return constant.dtype if constant is not None else self._analysis.tensors[name].dtype

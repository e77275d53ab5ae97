"""The mean of every channel at the inputs of chosen nodes, from the weights alone.

An unfolded batch normalisation says how its output is distributed over the data that the network was trained on:
channel c has the mean beta_c and the standard deviation gamma_c. One pass over the graph carries this on (`laws.Law`).
Source of the method: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019),
section 4.2.1, there for quantisation; here for channels that are gone. What the graph's inputs hold is not known.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import Axis, Var
from onnx_attnprune.graph import Node
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.ops import FLOATS, Effect
from onnx_attnprune.ops.values import numbers
from onnx_attnprune.recovery.consumers import Consumer, Operands
from onnx_attnprune.recovery.laws import Array, Law, along, constant, unknown


class Site:
    """A node as the functions of `LAWS` see it: laws, constants and axes of its operands."""

    def __init__(self, node: Node, effect: Effect, walk: Walk) -> None:
        self.node, self._effect, self._walk = node, effect, walk

    def has(self, place: int) -> bool:
        """True where the operand is there."""
        return place < len(self.node.inputs) and self.node.inputs[place] != ""

    def axes(self, place: int) -> Sequence[Axis]:
        """The axes of an operand that no constant of the file is; their number is known at every site."""
        return self._walk.operands.axes(self.node, place) or ()

    def out_axes(self, output: int = 0) -> Sequence[Axis]:
        """The axes of a result; their number is known at every site."""
        return self._effect.outputs[output].axes or ()

    def late(self, axes: Sequence[Axis]) -> list[bool]:
        """Which axes have a size that is known only at run time."""
        return [self._walk.analysis.space.is_dynamic(a) for a in axes]

    def composed(self, axes: Sequence[Axis]) -> bool:
        """True where one of the axes is made of several, as by a Reshape."""
        return any(not isinstance(self._walk.analysis.space.find(a), Var) for a in axes)

    def law(self, place: int) -> Law:
        """What is known of an operand."""
        known = self._walk.laws.get(self.node.inputs[place])
        if known is not None:
            return known
        array = self.constant(place)
        return unknown(len(self.axes(place))) if array is None else constant(array)

    def constant(self, place: int) -> Array | None:
        """The numbers of an operand that is computed from constants alone, in double precision."""
        return self._walk.constants.array(self.node.inputs[place]) if self.has(place) else None

    def integers(self, place: int, attribute: str) -> list[int] | None:
        """Integers that are an operand or, in older versions of the operator, an attribute; None where not known."""
        if not self.has(place):
            given = self.node.attr(attribute)
            return None if given is None else [int(i) for i in given]
        name = self.node.inputs[place]
        known = self._walk.analysis.tensors.get(name)
        if known is not None:
            return None if known.value is None else [int(i) for i in numbers(known.value).reshape(-1)]
        stored = self._walk.analysis.graph.constants.get(name)
        return None if stored is None else [int(i) for i in stored.array().reshape(-1)]

    def fresh(self, mean: Array, variance: Array) -> Law:
        """A normal law of variables of its own (see `Law.source`)."""
        return Law(mean, variance, next(self._walk.sources))


Rule = Callable[[Site], Sequence[Law]]
LAWS: dict[str, Rule] = {}


def laws_of(*names: str) -> Callable[[Rule], Rule]:
    """Register what carries laws through operators. Raises ValueError for an operator that has such a function."""

    def register(fn: Rule) -> Rule:
        for name in names:
            if name in LAWS:
                raise ValueError(f"{name} has a function already: {LAWS[name].__name__}")
            LAWS[name] = fn
        return fn

    return register


class Constants:
    """Numbers that are computed from the file's constants alone, one tensor at a time."""

    def __init__(self, analysis: Analysis) -> None:
        self._constants, self._tensors = analysis.graph.constants, analysis.tensors
        self._makers = {o: n for n in analysis.graph.nodes for o in n.outputs if o and not n.domain}

    def array(self, name: str) -> Array | None:
        """The numbers in double precision; None where the tensor depends on the input, or through an operator that
        exporters don't put behind weights."""
        found = self._stored(name)
        return None if found is None else found.astype(np.float64)

    def _stored(self, name: str) -> NDArray[Any] | None:
        if name in self._constants:
            stored: NDArray[Any] = self._constants[name].array()
            return stored
        node = self._makers.get(name)
        if node is None or not node.inputs:
            return None
        if node.op == "DequantizeLinear":
            return self._dequantized(node)
        if node.op not in ("Identity", "Cast", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"):
            return None
        array = self._stored(node.inputs[0])
        axes = self._tensors[name].axes if name in self._tensors else None
        if array is None or node.op in ("Identity", "Cast"):
            return array
        if node.op == "Transpose":
            return np.transpose(array, node.attr("perm"))
        return None if axes is None else np.reshape(array, [a.size for a in axes])

    def _dequantized(self, node: Node) -> Array | None:
        parts = [self.array(name) for name in node.inputs]
        if any(p is None for p in parts) or node.attr("block_size", 0):
            return None
        x, scale, *zero = (p for p in parts if p is not None)
        shape = [1] * x.ndim
        if scale.size > 1:
            shape[node.attr("axis", 1)] = scale.size
        return (x - (zero[0].reshape(shape) if zero else 0.0)) * scale.reshape(shape)


class Walk:
    """One pass over the graph; a law is dropped behind the last node that reads it."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.operands, self.constants = Operands(analysis), Constants(analysis)
        self.laws: dict[str, Law] = {}
        self.sources = itertools.count(1)
        self._readers = Counter(name for node in analysis.graph.nodes for name in node.inputs)

    def step(self, node: Node, effect: Effect) -> None:
        """Note the laws of a node's results."""
        rule = LAWS.get(node.op) if not node.domain else None
        if rule is not None and self._is_followed(node, effect):
            for name, law in zip(node.outputs, rule(Site(node, effect, self)), strict=False):
                if self._readers[name]:
                    self.laws[name] = law
        for name in node.inputs:
            self._readers[name] -= 1
            if not self._readers[name]:
                self.laws.pop(name, None)

    def _is_followed(self, node: Node, effect: Effect) -> bool:
        constants = self.analysis.graph.constants  # which have axes only where a rule asked for them
        ranks = [self.operands.axes(node, k) for k, name in enumerate(node.inputs) if name and name not in constants]
        first = effect.outputs[0]
        made = self.analysis.tensors.get(node.outputs[0])
        from_weights = made is not None and bool(made.slots)  # computed where it is asked for
        return (
            first.dtype in FLOATS and first.axes is not None and all(r is not None for r in ranks) and not from_weights
        )


def input_means(analysis: Analysis, consumers: Sequence[Consumer]) -> Mapping[int, Array]:
    """The mean of every channel of the data operand of each consumer in the *unpruned* model, by node index.

    Arrays of [input channels], nan for a channel of which nothing is known. The mean is taken over all positions of a
    channel; what zero padding does at borders is not accounted for.
    """
    wanted = {c.node.index: c for c in consumers}
    last = max(wanted, default=-1)
    walk, found = Walk(analysis), {}
    for node, effect in analysis.effects:
        consumer = wanted.get(node.index)
        if consumer is not None:
            law = Site(node, effect, walk).law(consumer.linear.data)
            found[node.index] = along(law.mean, consumer.channel, consumer.removed.size)
        if node.index >= last:
            break
        walk.step(node, effect)
    return found

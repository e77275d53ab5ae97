"""Residual streams: channel groups on which the results of several layers are added up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from onnx_attnprune.axes import Axis, leaves
from onnx_attnprune.graph import Node
from onnx_attnprune.grouping.model import Analysis

# The places of what an operator adds up (none: all that it reads), besides what it makes of its weights itself.
ADDED: Mapping[str, tuple[int, ...]] = {
    "Add": (), "Sub": (), "Sum": (), "QLinearAdd": (0, 3), "FusedConv": (3,), "Gemm": (2,), "FusedGemm": (2,),
}  # fmt: skip  # a table
Makers = Mapping[int, frozenset[str]]  # by variable, what its channels come from


def residual_streams(analysis: Analysis) -> frozenset[int]:
    """Ids of the groups that are residual streams: somewhere two tensors with their channels are added up, each of
    which comes from a weight, or from a state of a loop, that the other does not come from.

    So a bias makes no stream, nor does a gate (`x * sigmoid(x) + x`), a rotary embedding, or a layer that runs twice.
    """
    return _Pass(analysis).streams()


def _all(read: Sequence[Makers], var: int) -> frozenset[str]:
    return frozenset().union(*(one.get(var, frozenset()) for one in read))


class _Pass:
    """Follows through the graph which weights made the channels of each tensor."""

    def __init__(self, analysis: Analysis) -> None:
        self._tensors, self._space = analysis.tensors, analysis.space
        self._effects = analysis.effects
        self._id_of = {g.var.id: g.id for g in analysis.groups}
        self._makers: dict[str, Makers] = {}
        self._weights: dict[int, dict[int, set[str]]] = {}  # slot -> variable -> the weight that makes its channels
        for group in analysis.groups:
            for member in group.members:
                if member.role == "producer":
                    made = self._weights.setdefault(member.slot.id, {})
                    made.setdefault(group.var.id, set()).add(member.slot.tensor)
        self._slots_at: dict[int, list[int]] = {}
        for slot in analysis.slots:
            self._slots_at.setdefault(slot.node.index, []).append(slot.id)

    def streams(self) -> frozenset[int]:
        """What `residual_streams` gives."""
        found: set[int] = set()
        for node, effect in self._effects:
            own = self._own(node)
            if node.op in ADDED:
                found.update(self._id_of[var] for var in self._met(node, own))
            bodies = [o.name for body in node.subgraphs for o in body.output]
            read = [self._read(name) for name in (*node.inputs, *bodies)]
            for name, tensor in zip(node.outputs, effect.outputs, strict=False):
                if name:
                    self._makers[name] = {
                        var: own.get(var) or _all(read, var) or frozenset((name,)) for var in self._on(tensor.axes)
                    }
        return frozenset(found)

    def _on(self, axes: tuple[Axis, ...] | None) -> Iterator[int]:
        """The variables of groups that lie on the axes of a tensor."""
        for axis in axes or ():
            yield from (leaf.id for leaf in leaves(self._space.find(axis)) if leaf.id in self._id_of)

    def _own(self, node: Node) -> Makers:
        """The weights of a node, also those that it reads through other nodes, by the variables that they make."""
        slots = list(self._slots_at.get(node.index, ()))
        slots += [s for name in node.inputs if name in self._tensors for s in self._tensors[name].slots]
        found: dict[int, set[str]] = {}
        for slot in slots:
            for var, names in self._weights.get(slot, {}).items():
                found.setdefault(var, set()).update(names)
        return {var: frozenset(names) for var, names in found.items()}

    def _read(self, name: str) -> Makers:
        """What an operand comes from; one that nothing here made (a state of a loop) from itself, a constant of
        nothing."""
        tensor = self._tensors.get(name)
        if tensor is None or (tensor.slots and name not in self._makers):
            return {}
        return self._makers.get(name) or {var: frozenset((name,)) for var in self._on(tensor.axes)}

    def _met(self, node: Node, own: Makers) -> Iterator[int]:
        """The variables on which a node adds up what different weights made."""
        names = [node.inputs[k] for k in ADDED[node.op] if k < len(node.inputs)] or node.inputs
        terms = [self._read(n) for n in names if n in self._tensors and not self._tensors[n].slots]
        for one, other in combinations([*terms, own] if ADDED[node.op] else terms, 2):
            yield from (v for v in one.keys() & other.keys() if one[v] - other[v] and other[v] - one[v])

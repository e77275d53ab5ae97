"""What an analysis finds, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_attnprune.axes import Axis, BoolArray, Reason, Space, Var
from onnx_attnprune.graph import Graph, Node
from onnx_attnprune.ops import Effect, Tensor


@dataclass(frozen=True, slots=True)
class Slot:
    """One use of a constant: tensor `tensor` as operand `place` of a node; cut for that node alone."""

    id: int
    tensor: str
    node: Node
    place: int
    axes: tuple[Axis, ...]

    @property
    def consumer(self) -> str:
        """The first output of the node that reads it, which names the use in a plan."""
        return next(o for o in self.node.outputs if o)


@dataclass(frozen=True, slots=True)
class Member:
    """An axis of a slot that a group's channels lie on, and what it is to them: producer, consumer, scale, bias, ..."""

    slot: Slot
    axis: int
    role: str


@dataclass(frozen=True, slots=True)
class Group:
    """A free variable: `size` coupled channels with the slots they lie in.

    spared: why they had better stay whole, though they can go ("" for most); a plan takes them only by name.
    """

    id: int
    var: Var
    name: str
    members: tuple[Member, ...]
    spared: str = ""

    @property
    def size(self) -> int:
        """How many channels it has."""
        return self.var.size


@dataclass(frozen=True, slots=True)
class Kept:
    """An axis of a weight that can't lose channels, and why."""

    tensor: str
    axis: int
    size: int
    node: str
    op: str
    why: str


@dataclass(frozen=True, slots=True)
class Analysis:
    """All that the later steps need to know of a graph.

    rests: constants in which another number than 0 stands for zero (a zero point), by name. refused: the nodes that
    nothing is known of (no rule, or operands that it can't follow), with the reason.
    """

    graph: Graph
    space: Space
    slots: tuple[Slot, ...]
    effects: tuple[tuple[Node, Effect], ...]
    tensors: Mapping[str, Tensor]
    frozen: tuple[tuple[Node, int], ...]
    groups: tuple[Group, ...]
    kept: tuple[Kept, ...]
    rests: Mapping[str, int]
    refused: tuple[tuple[Node, Reason], ...] = ()

    def macs(self, alive: Mapping[int, BoolArray]) -> int:
        """Multiply-accumulates of one run at the analysed input shapes, with only the channels `alive` left."""
        total = 0
        for _, effect in self.effects:
            for axes in effect.macs:
                count = 1
                for axis in axes:
                    count *= self.space.size(axis, alive)
                total += count
        return total


def alive_of(groups: Sequence[Group], removed: Mapping[int, Sequence[int]]) -> dict[int, BoolArray]:
    """Which channels of each group's variable survive, from the removed indices by group id."""
    alive: dict[int, BoolArray] = {}
    for group in groups:
        gone = removed.get(group.id)
        if gone is not None and len(gone):
            mask = np.ones(group.size, bool)
            mask[list(gone)] = False
            alive[group.var.id] = mask
    return alive

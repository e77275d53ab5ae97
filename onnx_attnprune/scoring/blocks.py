"""Turns the slots of a channel group into blocks: numbers by channel, with a role. What a criterion sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import Axis, BoolArray, Concat, Pick, Var
from onnx_attnprune.graph import Node
from onnx_attnprune.grouping import Analysis, Group, Slot
from onnx_attnprune.scoring.weights import Floats, Matrix, Reader, Weight

Owner = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Block:
    """The numbers of one weight that belong to the channels of a group.

    role: what the weight is to the channels (producer, consumer, scale, bias, mean, variance, constant).
    normalises: whether a scale is that of a normalisation. owner: for each position of the weight's axis the channel
    that it belongs to, or -1.
    """

    role: str
    tensor: str
    channels: int
    weight: Weight
    axis: int
    owner: Owner
    normalises: bool = False

    def total(self, power: int) -> Floats:
        """The sum of |w| ** power over each channel's numbers (power 1 or 2): [channels]."""
        return self._gather(self.weight.sums(self.axis, power))

    def attention(self) -> Floats:
        """The attention that each channel receives in this weight (see `Weight.attention`): [channels]."""
        return self._gather(self.weight.attention(self.axis))

    def _gather(self, sums: Floats) -> Floats:
        mine = self.owner >= 0
        out: Floats = np.bincount(self.owner[mine], sums[mine], self.channels).astype(np.float64, copy=False)
        return out

    @property
    def matrix(self) -> Matrix:
        """[channels, rest]: the numbers themselves; rows that have fewer than others are filled up with nan."""
        rows = self.weight.rows(self.axis)
        mine = self.owner >= 0
        if self.axis in self.weight.alive:
            mine &= self.weight.alive[self.axis]
        if mine.all() and np.array_equal(self.owner, np.arange(len(rows)) // (len(rows) // self.channels)):
            return rows.reshape(self.channels, -1)
        places = np.flatnonzero(mine)
        places = places[np.argsort(self.owner[places], kind="stable")]
        owner = self.owner[places]
        counts = np.bincount(owner, minlength=self.channels)
        rank = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        out = np.full((self.channels, max(1, counts.max()), rows.shape[1]), np.nan, np.float32)
        out[owner, rank] = rows[places]
        return out.reshape(self.channels, -1)


def owners(axis: Axis, var: Var) -> Iterator[Owner]:
    """For each place of a variable in a tree, which of its channels each position of the axis belongs to (-1: none)."""
    if isinstance(axis, Var):
        if axis == var:
            yield np.arange(axis.size)
    elif isinstance(axis, Pick):
        for inner in owners(axis.source, var):
            yield inner[list(axis.indices)]
    elif isinstance(axis, Concat):
        start = 0
        for part in axis.parts:
            for inner in owners(part, var):
                whole = np.full(axis.size, -1)
                whole[start : start + part.size] = inner
                yield whole
            start += part.size
    else:
        outer = 1
        for part in axis.parts:
            rest = axis.size // (outer * part.size)
            for inner in owners(part, var):
                yield np.tile(np.repeat(inner, rest), outer)
            outer *= part.size


class Blocks:
    """The blocks of every group of an analysis; each weight is read once, whichever groups it serves.

    `alive`: masks by variable id of what earlier steps left. A batch norm that directly follows a producer is folded
    into it, as an exporter would have done.
    """

    def __init__(self, analysis: Analysis, alive: Mapping[int, BoolArray]) -> None:
        self._analysis, self._alive = analysis, alive
        self._wanted: dict[int, list[int]] = {}
        self._slots = {(slot.node.index, slot.place): slot for slot in analysis.slots}
        self._roles: dict[tuple[int, str], tuple[Slot, int]] = {}
        for group in analysis.groups:
            for member in group.members:
                self._wanted.setdefault(member.slot.id, []).append(member.axis)
                self._roles.setdefault((member.slot.id, member.role), (member.slot, member.axis))
        self._folded = dict(self._folds())
        self._weights: dict[int, Weight] = {}
        self._reader = Reader()

    def of(self, group: Group) -> list[Block]:
        """The blocks of a group in the order of its slots; a variable that occurs twice in an axis gives two."""
        found = []
        for member in group.members:
            slot, axis = member.slot, member.axis
            normalises = member.role == "scale" and self._normalises(slot)
            for owner in owners(self._analysis.space.find(slot.axes[axis]), group.var):
                weight = self._weight(slot)
                found.append(Block(member.role, slot.tensor, group.size, weight, axis, owner, normalises))
        return found

    def _weight(self, slot: Slot) -> Weight:
        if slot.id not in self._weights:
            space = self._analysis.space
            alive = {
                k: space.mask(axis, self._alive)
                for k, axis in enumerate(slot.axes)
                if space.size(axis, self._alive) != axis.size
            }
            scale = {k: self._folded[slot.id, k] for k in range(len(slot.axes)) if (slot.id, k) in self._folded}
            constant = self._analysis.graph.constants[slot.tensor]
            self._weights[slot.id] = Weight(constant, self._wanted[slot.id], alive, scale, self._reader)
        return self._weights[slot.id]

    # ---------------------------------------------------------------- normalisations
    def _read(self, node: Node, role: str) -> tuple[Slot, int] | None:
        """The weight of this role that a node reads, itself or through Identity, with the axis of the channels."""
        for place, name in enumerate(node.inputs):
            slot = self._slots.get((node.index, place))
            known = self._analysis.tensors.get(name)
            ids = (slot.id,) if slot is not None else known.slots if known is not None else ()
            for found in (self._roles.get((i, role)) for i in ids):
                if found is not None:
                    return found
        return None

    def _normalises(self, scale: Slot) -> bool:
        """A scale is that of a normalisation where the node that reads it takes a shift too."""
        readers = self._analysis.graph.readers.get(scale.node.outputs[0], ()) if len(scale.node.inputs) == 1 else ()
        names = {scale.consumer, *(node.output[0] for node, _ in readers if node.output)}
        return any(self._shifted.get(name, False) for name in names)

    @cached_property
    def _shifted(self) -> dict[str, bool]:
        """By first output of each node that reads a weight: whether it reads both a scale and a bias."""
        nodes = {slot.node.index: slot.node for slot in self._analysis.slots}
        return {n.outputs[0]: bool(self._read(n, "scale") and self._read(n, "bias")) for n in nodes.values()}

    def _folds(self) -> Iterator[tuple[tuple[int, int], NDArray[np.float32]]]:
        """gamma / sqrt(variance + epsilon) by slot and axis of each producer whose result a batch norm reads."""
        space, constants = self._analysis.space, self._analysis.graph.constants
        makers = {
            slot.node.outputs[0]: (slot, axis) for (_, role), (slot, axis) in self._roles.items() if role == "producer"
        }
        for (_, role), (slot, axis) in self._roles.items():
            maker, scale = makers.get(slot.node.inputs[0]), self._read(slot.node, "scale")
            if role != "variance" or maker is None or scale is None:
                continue
            if space.find(slot.axes[axis]) == space.find(maker[0].axes[maker[1]]) == space.find(scale[0].axes[0]):
                gamma = constants[scale[0].tensor].array().astype(np.float32)
                variance = constants[slot.tensor].array().astype(np.float32)
                epsilon = np.float32(slot.node.attr("epsilon", 1e-5))
                yield (maker[0].id, maker[1]), gamma / np.sqrt(variance + epsilon)

"""Turns the slots of a channel group into blocks: numbers by channel, with a role. What a criterion sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import Axis, BoolArray, Concat, Pick, Var
from onnx_attnprune.graph import Node
from onnx_attnprune.grouping import Analysis, Group, Slot
from onnx_attnprune.scoring.weights import Floats, Matrix, Weight

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
        """The sum of |w| ** power over each channel's numbers (power 1 or 2)."""
        return self._gather(self.weight.sums(self.axis, power))

    def counts(self) -> Floats:
        """How many numbers each channel has."""
        return self._gather(self.weight.counts(self.axis))

    def _gather(self, sums: Floats) -> Floats:
        mine = self.owner >= 0
        return np.bincount(self.owner[mine], sums[mine], self.channels)

    @property
    def matrix(self) -> Matrix:
        """[channels, rest]: the numbers themselves; a channel that has fewer than others is filled up with nan."""
        values = np.moveaxis(self.weight.values(), self.axis, 0).reshape(len(self.owner), -1)
        order = np.argsort(self.owner, kind="stable")
        order = order[np.count_nonzero(self.owner < 0) :]
        counts = np.bincount(self.owner[order], minlength=self.channels)
        if (counts == counts[0]).all():
            if len(order) == len(values) and (order == np.arange(len(order))).all():
                return values.reshape(self.channels, -1)
            return values[order].reshape(self.channels, -1)
        rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        out = np.full((self.channels, int(counts.max()), values.shape[1]), np.nan, np.float32)
        out[self.owner[order], rank] = values[order]
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
    """The blocks of every group of an analysis; each weight is read once, whichever groups it serves."""

    def __init__(self, analysis: Analysis, alive: Mapping[int, BoolArray]) -> None:
        self.analysis, self.alive = analysis, alive
        self._wanted: dict[int, list[int]] = {}
        self._roles: dict[tuple[int, str], tuple[Slot, int]] = {}
        for group in analysis.groups:
            for member in group.members:
                self._wanted.setdefault(member.slot.id, []).append(member.axis)
                self._roles.setdefault((member.slot.id, member.role), (member.slot, member.axis))
        self._folded = self._folds()
        self._weights: dict[int, Weight] = {}

    def of(self, group: Group) -> list[Block]:
        """The blocks of a group in the order of its slots; a variable that occurs twice in an axis gives two."""
        found = []
        for member in group.members:
            slot, axis = member.slot, member.axis
            normal = member.role == "scale" and any(
                self._reads(slot.node, place, "variance") for place in range(len(slot.node.inputs))
            )
            for owner in owners(self.analysis.space.find(slot.axes[axis]), group.var):
                weight = self._weight(slot)
                found.append(Block(member.role, slot.tensor, group.size, weight, axis, owner, normal))
        return found

    def _weight(self, slot: Slot) -> Weight:
        if slot.id not in self._weights:
            factors = {}
            for k, axis in enumerate(slot.axes):
                if self.analysis.space.size(axis, self.alive) != axis.size:
                    factors[k] = self.analysis.space.mask(axis, self.alive).astype(np.float32)
                folded = self._folded.get((slot.id, k))
                if folded is not None:
                    factors[k] = factors.get(k, np.float32(1)) * folded
            constant = self.analysis.graph.constants[slot.tensor]
            self._weights[slot.id] = Weight(constant, factors, self._wanted[slot.id])
        return self._weights[slot.id]

    # ---------------------------------------------------------------- normalisations that follow a producer
    def _reads(self, node: Node, place: int, role: str) -> tuple[Slot, int] | None:
        """The weight that a node reads at a place, itself or through Identity, if it has this role."""
        if place >= len(node.inputs):
            return None
        for slot in self.analysis.slots:
            if slot.node is node and slot.place == place:
                return self._roles.get((slot.id, role))
        known = self.analysis.tensors.get(node.inputs[place])
        return self._roles.get((known.slots[0], role)) if known is not None and len(known.slots) == 1 else None

    def _folds(self) -> dict[tuple[int, int], NDArray[np.float32]]:
        """gamma / sqrt(variance + epsilon) for each producer that a batch norm directly follows."""
        makers: dict[str, tuple[Slot, int]] = {}
        for (_, role), (slot, axis) in self._roles.items():
            if role == "producer":
                makers[slot.node.outputs[0]] = (slot, axis)
        found = {}
        for (_, role), (slot, _) in self._roles.items():
            if role != "variance":
                continue
            scale = next((s for p in range(len(slot.node.inputs)) if (s := self._reads(slot.node, p, "scale"))), None)
            maker = makers.get(slot.node.inputs[0])
            if scale is None or maker is None:
                continue
            space = self.analysis.space
            if space.find(scale[0].axes[scale[1]]) == space.find(maker[0].axes[maker[1]]):
                gamma = self.analysis.graph.constants[scale[0].tensor].array().astype(np.float32)
                var = self.analysis.graph.constants[slot.tensor].array().astype(np.float32)
                found[maker[0].id, maker[1]] = gamma / np.sqrt(var + np.float32(slot.node.attr("epsilon", 1e-5)))
        return found

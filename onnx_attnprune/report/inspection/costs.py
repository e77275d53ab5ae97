"""What channels cost: parameters and multiply-accumulates, worked out layer by layer.

A run's multiply-accumulates are a sum of products of axes; only the products that hold a variable change with it, so
the cost of one channel looks at those alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from onnx_attnprune.axes import Axis, BoolArray, ids_of
from onnx_attnprune.grouping import Analysis, Group, Slot
from onnx_attnprune.planning import Settings
from onnx_attnprune.planning.candidates import candidates
from onnx_attnprune.report.build import lost_parameters, parameter_types
from onnx_attnprune.report.inspection.model import Share
from onnx_attnprune.surgery import cuts_of


@dataclass(frozen=True, slots=True)
class Work:
    """A product of axes that adds to the multiply-accumulates of a node; `count` is how much. ids: of its variables."""

    axes: tuple[Axis, ...]
    ids: frozenset[int]
    count: int


class Costs:
    """The costs of one analysis. single: masks by variable id under which one run is one sample."""

    def __init__(self, analysis: Analysis, single: Mapping[int, BoolArray]) -> None:
        self.analysis, self.single = analysis, single
        self.free = {g.var.id for g in analysis.groups}

    @cached_property
    def works(self) -> tuple[Work, ...]:
        """The products of all nodes, their axes as they have come to be."""
        space, found = self.analysis.space, []
        for _, effect in self.analysis.effects:
            for axes in effect.macs:
                trees = tuple(map(space.find, axes))
                ids = frozenset(i for tree in trees for i in ids_of(tree))
                found.append(Work(trees, ids, self._count(trees, self.single)))
        return tuple(found)

    @cached_property
    def works_of(self) -> dict[int, list[Work]]:
        """The products that hold a variable, by its id."""
        found: dict[int, list[Work]] = {}
        for work in self.works:
            for i in work.ids:
                found.setdefault(i, []).append(work)
        return found

    def _count(self, trees: Iterable[Axis], alive: Mapping[int, BoolArray]) -> int:
        return math.prod(self.analysis.space.size(tree, alive) for tree in trees)

    @cached_property
    def slots_of(self) -> dict[str, list[Slot]]:
        """The uses of each stored tensor that counts as parameters."""
        counted = parameter_types(self.analysis)
        found: dict[str, list[Slot]] = {name: [] for name in counted}
        for slot in self.analysis.slots:
            if slot.tensor in counted:
                found[slot.tensor].append(slot)
        return found

    def size_of(self, tensor: str) -> int:
        """How many parameters a tensor has; 0 for one that is none or that does not count."""
        return self.analysis.graph.constants[tensor].count if tensor in self.slots_of else 0

    # ---------------------------------------------------------------- one channel
    def macs_of(self, group: Group) -> int:
        """Multiply-accumulates that go with the last channel of a group, all others in place."""
        alive = {**self.single, **_without_last(group)}
        return sum(w.count - self._count(w.axes, alive) for w in self.works_of.get(group.var.id, ()))

    def parameters_of(self, group: Group) -> int:
        """Parameters that go with the last channel of a group, all others in place.

        Less than its slices, and even below 0, where a tensor that several nodes share is cut for some of them only.
        """
        slots = tuple({m.slot.id: m.slot for m in group.members}.values())
        alone = replace(self.analysis, slots=slots)
        return lost_parameters(alone, cuts_of(alone, _without_last(group)))

    # ---------------------------------------------------------------- the whole
    def macs(self) -> Share:
        """Multiply-accumulates of one run; prunable are those in products with an axis that has channels to lose."""
        free = sum(w.count for w in self.works if not self.free.isdisjoint(w.ids))
        return Share(self.analysis.macs(self.single), free, self.analysis.macs({**self.single, **self.halved}))

    def parameters(self) -> Share:
        """Parameters; prunable are those of tensors with an axis that has channels to lose."""
        lying = {m.slot.tensor for g in self.analysis.groups for m in g.members}
        sizes = {tensor: self.size_of(tensor) for tensor in self.slots_of}
        lost = lost_parameters(self.analysis, cuts_of(self.analysis, self.halved))
        total = sum(sizes.values())
        return Share(total, sum(n for tensor, n in sizes.items() if tensor in lying), total - lost)

    @cached_property
    def halved(self) -> dict[int, BoolArray]:
        """Masks by variable id at a ratio of a half; of two groups that are multiplied, one stays whole."""
        chosen = candidates(self.analysis, Settings(ratio=0.5, round_to=1))
        kept = {c.group.var.id: (c.group.size, math.ceil(c.group.size * (1 - c.ratio) - 1e-9)) for c in chosen}
        return {i: np.arange(size) < max(left, 1) for i, (size, left) in kept.items()}


def _without_last(group: Group) -> dict[int, BoolArray]:
    return {group.var.id: np.arange(group.size) < group.size - 1}

"""What is in the way of pruning, one obstacle for each reason, with what it holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from onnx_attnprune.axes import Axis, Concat, Reason, leaves
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.ops import POSITION
from onnx_attnprune.report.inspection.costs import Costs
from onnx_attnprune.report.inspection.hints import hint_for
from onnx_attnprune.report.inspection.model import Obstacle

Key = tuple[str, str]  # why, operator
SPACES = ("space of a convolution", "space of a pooling window", "the kernel of a convolution")


@dataclass(slots=True)
class _Found:
    """An obstacle while it is being counted; dictionaries for sets that keep their order."""

    axes: dict[tuple[str, int], int] = field(default_factory=dict)  # (tensor, axis) -> size
    parts: dict[tuple[str, int, int], int] = field(default_factory=dict)  # (tensor, axis, first channel) -> size
    alone: int = 0
    tensors: dict[str, str] = field(default_factory=dict)  # tensor -> the node that keeps it
    partly: dict[str, str] = field(default_factory=dict)  # the same for tensors with a part that is kept
    macs: int = 0
    uncounted: int = 0
    nodes: dict[str, None] = field(default_factory=dict)


def obstacles(analysis: Analysis, costs: Costs) -> tuple[Obstacle, ...]:
    """Every reason that keeps something, the one that holds most (of MACs and parameters, as shares) first."""
    found: dict[Key, _Found] = {}
    held: dict[int, tuple[Reason, ...]] = {}  # variable -> reasons, of the axes that weights are kept on
    for tensor, place, axis in _kept_axes(analysis):
        reasons = reasons_of(analysis, axis)
        for leaf in leaves(analysis.space.find(axis)):
            held[leaf.id] = reasons if POSITION in reasons else reasons_of(analysis, leaf)
        for reason in reasons:
            one = found.setdefault(_key(reason), _Found())
            one.axes[tensor, place] = axis.size
            one.tensors.setdefault(tensor, reason.node)
            one.nodes[reason.node] = None
        if len({_key(r) for r in reasons}) == 1:
            found[_key(reasons[0])].alone += 1
    _count_parts(analysis, found)
    _count_refused(analysis, costs, found)
    for work in costs.works:
        for key in {_key(r) for i in work.ids for r in held.get(i, ())}:
            found[key].macs += work.count
    rows = [_row(key, one, costs) for key, one in found.items()]
    macs, parameters = max(costs.macs().all, 1), max(costs.parameters().all, 1)

    def rank(one: Obstacle) -> tuple[float, ...]:
        held = one.macs / macs + one.parameters / parameters
        return (one.why == POSITION.why, -held, -one.channels, -len(one.nodes))  # positions are no channels: last

    return tuple(sorted(rows, key=rank))


def reasons_of(analysis: Analysis, axis: Axis) -> tuple[Reason, ...]:
    """Why an axis is kept; where it is one of positions, nothing else matters."""
    found = analysis.space.reasons(axis)
    return (POSITION,) if any(r.why == POSITION.why or r.why in SPACES for r in found) else found


def _key(reason: Reason) -> Key:
    """What makes reasons one obstacle; where one names a tensor, neither this nor the operator tells them apart."""
    plain = re.sub(r"'[^']*'", "an operand", reason.why)
    return (plain, reason.op) if plain == reason.why else (plain, "")


def title_of(reason: Reason) -> str:
    """A reason in words that hold for any network: the operator behind it, no names."""
    why, op = _key(reason)
    return f"{op}: {why}" if op and not why.startswith(op) else why


def _kept_axes(analysis: Analysis) -> Iterator[tuple[str, int, Axis]]:
    """(tensor, axis, tree) of each weight axis that is kept, once for each reader of the tensor."""
    kept = {(k.tensor, k.axis) for k in analysis.kept}
    for slot in analysis.slots:
        for place, axis in enumerate(slot.axes):
            if (slot.tensor, place) in kept and analysis.space.is_kept(axis):
                yield slot.tensor, place, axis


def _count_parts(analysis: Analysis, found: dict[Key, _Found]) -> None:
    """Parts of axes that are kept where the rest of the axis can go: they hold no more than their own channels."""
    for tensor, place, start, part in _kept_parts(analysis):
        reasons = reasons_of(analysis, part)
        if POSITION in reasons:
            continue
        for reason in reasons:
            one = found.setdefault(_key(reason), _Found())
            one.parts[tensor, place, start] = part.size
            one.partly.setdefault(tensor, reason.node)
            one.nodes[reason.node] = None
        if len({_key(r) for r in reasons}) == 1:
            found[_key(reasons[0])].alone += 1


def _kept_parts(analysis: Analysis) -> Iterator[tuple[str, int, int, Axis]]:
    """(tensor, axis, first channel, tree) of each part that is kept of a weight axis on which channels of a group lie,
    once for each reader of the tensor."""
    members = (m for g in analysis.groups for m in g.members if m.role != "constant")
    for (_, place), slot in {(m.slot.id, m.axis): m.slot for m in members}.items():
        tree, start = analysis.space.find(slot.axes[place]), 0
        for part in tree.parts if isinstance(tree, Concat) else ():
            if part.size > 1 and analysis.space.is_kept(part):
                yield slot.tensor, place, start, part
            start += part.size


def _count_refused(analysis: Analysis, costs: Costs, found: dict[Key, _Found]) -> None:
    """Nodes that nothing is known of hold the constants that they read, which have no axes to count."""
    for node, reason in analysis.refused:
        one = found.setdefault(_key(reason), _Found())
        one.nodes[reason.node] = None
        weights = [name for name in node.inputs if costs.size_of(name)]
        one.tensors.update(dict.fromkeys(weights, reason.node))
        one.uncounted += bool(weights)


def _row(key: Key, one: _Found, costs: Costs) -> Obstacle:
    tensor, node = max(
        (one.tensors or one.partly).items(),
        key=lambda item: costs.size_of(item[0]),
        default=("", next(iter(one.nodes))),
    )
    sizes = (*one.axes.values(), *one.parts.values())
    return Obstacle(
        *key, hint_for(*key), len(sizes), one.alone, sum(sizes), sum(map(costs.size_of, one.tensors)),
        one.macs, one.uncounted, tuple(filter(None, one.nodes)), tensor, node,
    )  # fmt: skip  # three lines

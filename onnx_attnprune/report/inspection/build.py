"""From an analysis to what a look at it tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnx_attnprune.axes import ONE, Axis, BoolArray, Concat, Pick, Product, Var
from onnx_attnprune.grouping import Analysis, Group
from onnx_attnprune.report.inspection.costs import Costs
from onnx_attnprune.report.inspection.model import GroupCost, Inspection, MemberRow
from onnx_attnprune.report.inspection.obstacles import obstacles


def look(
    analysis: Analysis, single: Mapping[int, BoolArray], *, model: str, shapes: Mapping[str, tuple[int, ...]]
) -> Inspection:
    """What can be cut and what can't. single: masks by variable id under which one run is one sample, whose input
    shapes are `shapes`."""
    costs = Costs(analysis, single)
    found = obstacles(analysis, costs)
    return Inspection(
        model=model,
        shapes=dict(shapes),
        parameters=costs.parameters(),
        macs=costs.macs(),
        groups=tuple(_group(analysis, g, costs) for g in analysis.groups),
        obstacles=found,
        uncounted=sum(o.uncounted for o in found),
    )


def _group(analysis: Analysis, group: Group, costs: Costs) -> GroupCost:
    # A producer tells best what the channels are; readers may see them through a flattened space.
    ordered = sorted(group.members, key=lambda m: m.role != "producer")
    forms: dict[str, None] = {}
    for member in ordered:
        forms.update(dict.fromkeys(_forms(analysis.space.find(member.slot.axes[member.axis]), group.var)))
    members = dict.fromkeys(MemberRow(m.slot.tensor, m.axis, m.role) for m in group.members)
    return GroupCost(
        group.name,
        group.size,
        tuple(forms),
        tuple(members),
        costs.parameters_of(group),
        costs.macs_of(group),
        group.spared,
    )


def _forms(axis: Axis, var: Var) -> Iterator[str]:
    """The products of an axis that a variable is a factor of, as text."""
    if isinstance(axis, Product):
        parts = [p for p in axis.parts if p != ONE]
        if var in parts:
            yield " x ".join(f"[{p.size}]" if p == var else str(p.size) for p in parts)
    if isinstance(axis, (Product, Concat)):
        for part in axis.parts:
            yield from _forms(part, var)
    elif isinstance(axis, Pick):
        yield from _forms(axis.source, var)

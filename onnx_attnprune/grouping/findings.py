"""Reads groups and kept axes off a space, once all rules have run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onnx_attnprune.axes import Axis, Space, Var, leaves
from onnx_attnprune.grouping.model import Group, Kept, Member, Slot

UNMADE = "no weight makes its channels, they tell values of an input apart"


class Findings:
    """What a pass has found. `roles`: by slot, what its axes are to the channels on them. `spared`: axes that had
    better stay whole, and why."""

    def __init__(
        self, space: Space, slots: Sequence[Slot], roles: Mapping[int, Sequence[tuple[Axis, str]]],
        spared: Sequence[tuple[Axis, str]] = (),
    ) -> None:  # fmt: skip  # two lines
        self._space, self._slots, self._roles = space, slots, roles
        self._settled: dict[int, Mapping[int, Var]] = {}
        self._spared = {var: why for axis, why in spared for var in self._on(axis)}

    def groups(self) -> Iterator[Group]:
        """The free variables that weights are on, in the order of the graph."""
        members: dict[Var, list[Member]] = {}
        for slot in self._slots:
            noted = self._roles.get(slot.id, ())
            for k, axis in enumerate(slot.axes):
                # Two axes of one weight may come to be the same channels (in a recurrence): the axis tells them apart.
                own = next((role for one, role in noted if one == axis), None)
                for var in self._on(axis).values():
                    if var in members or (var.size > 1 and not self._space.is_kept(var)):
                        role = own or next((role for one, role in noted if var.id in self._on(one)), "constant")
                        members.setdefault(var, []).append(Member(slot, k, role))
        names: set[str] = set()
        # A variable that lies in constants alone which no operator weighs channels with is nothing to prune.
        weighed = {v: f for v, f in members.items() if any(m.role != "constant" for m in f)}
        for number, (var, found) in enumerate(weighed.items()):
            first = next((m for m in found if m.role == "producer"), found[0])
            name = base = first.slot.tensor.removesuffix(".weight") or f"group {number}"
            again = 1
            while name in names:
                again += 1
                name = f"{base}#{again}"
            names.add(name)
            yield Group(number, var, name, tuple(found), self._spared.get(var.id, "") or _unmade(found))

    def _on(self, axis: Axis) -> Mapping[int, Var]:
        """The variables on an axis, by id. Remembered: to be asked only once nothing is tied any more."""
        if not isinstance(axis, Var):
            return {leaf.id: leaf for leaf in leaves(self._space.find(axis))}
        if axis.id not in self._settled:
            self._settled[axis.id] = {leaf.id: leaf for leaf in leaves(self._space.find(axis))}
        return self._settled[axis.id]

    def kept(self) -> Iterator[Kept]:
        """The axes of weights that can't lose channels."""
        for slot in self._slots:
            roled = [self._on(axis).keys() for axis, _ in self._roles.get(slot.id, ())]
            for k, axis in enumerate(slot.axes):
                here = self._on(axis).keys()
                if axis.size < 2 or not self._space.is_kept(axis) or all(map(here.isdisjoint, roled)):
                    continue  # an axis that is a product of a kept and a free one does lose channels
                if why := self._space.reasons(axis):
                    yield Kept(slot.tensor, k, axis.size, why[0].node, why[0].op, why[0].why)


def _unmade(members: Sequence[Member]) -> str:
    """Why channels that no weight makes had better stay whole: they tell values of an input apart, as one-hot does."""
    roles = {m.role for m in members}
    return UNMADE if "consumer" in roles and "producer" not in roles else ""

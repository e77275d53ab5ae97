"""Weights that several nodes read: what is cut from one use of them goes from all, where all of it could.

Each use of a constant has axes of its own, since exporters store equal tensors once, and zeros or ones that two layers
happen to share say nothing of their channels. A matrix of learned numbers that two nodes read is one layer that runs
twice (the two sides of a siamese network, a head on every level of a pyramid, a cell at every step): cut differently it
would have to be stored twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onnx_attnprune.axes import Axis, Pick, Space, Var, ids_of
from onnx_attnprune.graph import Constant
from onnx_attnprune.grouping.model import Slot

WEIGHING = {"producer", "consumer"}


def tie_uses(
    space: Space, slots: Sequence[Slot], roles: Mapping[int, Sequence[tuple[Axis, str]]],
    constants: Mapping[str, Constant],
) -> None:  # fmt: skip  # two lines
    """Make the free channels of all uses of one weight the same; `roles`: by slot, what its axes are to them."""
    uses: dict[str, list[Slot]] = {}
    for slot in slots:
        if len(slot.axes) > 1 and any(role in WEIGHING for _, role in roles.get(slot.id, ())):
            uses.setdefault(slot.tensor, []).append(slot)
    for name, found in uses.items():
        if len(found) > 1 and _differs(constants[name]):
            for axes in zip(*(slot.axes for slot in found), strict=True):
                _tie_free(space, axes)


def _differs(constant: Constant) -> bool:
    """True where the numbers are not all the same."""
    numbers = constant.array().reshape(-1)
    return bool((numbers != numbers[:1]).any())


def _tie_free(space: Space, axes: Sequence[Axis]) -> None:
    seen: list[Axis] = []
    for axis in axes:
        if space.is_kept(axis):
            continue
        for other in seen:
            for one, two in list(_counterparts(space.find(other), space.find(axis))):
                if not space.is_kept(one) and not space.is_kept(two):
                    space.tie(one, two)
        if space.find(axis) not in map(space.find, seen):
            seen.append(axis)


def _counterparts(one: Axis, other: Axis) -> Iterator[tuple[Axis, Axis]]:
    """Parts of two axes that stand at the same place, one of them a variable; nothing where the axes are built
    differently."""
    if one.size != other.size:
        return
    if isinstance(one, Var):
        if one == other or one.id not in ids_of(other):
            yield one, other
    elif isinstance(other, Var):
        yield from _counterparts(other, one)
    elif isinstance(one, Pick) or isinstance(other, Pick):
        if isinstance(one, Pick) and isinstance(other, Pick) and one.indices == other.indices:
            yield from _counterparts(one.source, other.source)
    elif type(one) is type(other) and [part.size for part in one.parts] == [part.size for part in other.parts]:
        for pair in zip(one.parts, other.parts, strict=True):
            yield from _counterparts(*pair)

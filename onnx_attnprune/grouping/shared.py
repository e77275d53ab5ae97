"""Weights that several nodes read: what is cut from one use of them goes from all, where all of it could.

Each use of a constant has axes of its own, since exporters store equal tensors once, and zeros or ones that two layers
happen to share say nothing of their channels. A matrix of learned numbers that two nodes read is one layer that runs
twice (the two sides of a siamese network, a head on every level of a pyramid, a cell at every step): cut differently it
would have to be stored twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onnx_attnprune.axes import Axis, Concat, Pick, Product, Space, Var, ids_of, leaves
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
            _tie_parts(space, other, axis)
        if space.find(axis) not in map(space.find, seen):
            seen.append(axis)


def _tie_parts(space: Space, one: Axis, other: Axis) -> None:
    """Tie what stands at the same place of two axes and is free in both; nothing where they are built differently."""
    one, other = space.find(one), space.find(other)
    if one.size != other.size or one == other:
        return
    if isinstance(one, Concat) or isinstance(other, Concat):
        for pair in _pieces(space, one, other):
            _tie_parts(space, *pair)
    elif isinstance(one, Var) or isinstance(other, Var):
        if _is_free(space, one) and _is_free(space, other) and set(ids_of(one)).isdisjoint(ids_of(other)):
            space.tie(one, other)
    elif isinstance(one, Pick) and isinstance(other, Pick):
        if one.indices == other.indices:
            _tie_parts(space, one.source, other.source)
    elif isinstance(one, Product) and isinstance(other, Product) and _sizes(one) == _sizes(other):
        for pair in zip(one.parts, other.parts, strict=True):
            _tie_parts(space, *pair)


def _is_free(space: Space, axis: Axis) -> bool:
    return not any(map(space.is_kept, leaves(axis)))


def _sizes(axis: Product) -> list[int]:
    return [part.size for part in axis.parts]


def _pieces(space: Space, one: Axis, other: Axis) -> Iterator[tuple[Axis, Axis]]:
    """Two axes of which one is a concat, cut into pieces of equal sizes; up to the first part that is not to be cut."""
    todo: list[list[Axis]] = [list(reversed(x.parts)) if isinstance(x, Concat) else [x] for x in (one, other)]
    while todo[0]:
        pair = [space.find(rest.pop()) for rest in todo]
        width = min(part.size for part in pair)
        for k, part in enumerate(pair):
            if part.size > width:
                if not isinstance(part, Var):
                    return
                pair[k], rest = space.split(part, width)
                todo[k].append(rest)
        yield pair[0], pair[1]

"""What all forms of attention share: heads and head dims as variables, what is kept, the default scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnx_attnprune.axes import Axis, concat, product
from onnx_attnprune.errors import AxisError
from onnx_attnprune.ops.registry import View

MICROSOFT = "com.microsoft"
BOOL = 9
PLACE = "a position, not a channel"


@dataclass(frozen=True, slots=True)
class Heads:
    """The axes of one attention: batch, key heads and query heads to each, head size of query and key, and of value.

    query, key: positions of queries, and of all keys (those of the past first). loud: the query's and the key's
    channels may both be something else than zero when removed. silent: the values' are zero.
    """

    batch: Axis
    heads: Axis
    repeat: Axis
    size: Axis
    value_size: Axis
    query: Axis
    key: Axis
    loud: bool
    silent: bool

    @property
    def all_heads(self) -> Axis:
        """The query's heads."""
        return product((self.heads, self.repeat))

    @property
    def out(self) -> tuple[Axis, ...]:
        """The axes of the result, where heads and head dims are one axis."""
        return self.batch, self.query, product((self.heads, self.repeat, self.value_size))

    @property
    def scores(self) -> tuple[Axis, ...]:
        """The axes of the attention scores."""
        return self.batch, self.all_heads, self.query, self.key

    @property
    def macs(self) -> tuple[tuple[Axis, ...], ...]:
        """Scores, and their product with the values."""
        return (*self.scores, self.size), (*self.scores, self.value_size)


def settle(n: View, a: Heads) -> None:
    """Keep what a removal would change: positions, and head dims where both sides of the product may be loud."""
    n.keep([a.batch, a.query, a.key], PLACE)
    if a.loud and not n.space.is_kept(a.size):
        n.keep(a.size, "summed over, where a removed channel would not be zero")


def quiet(n: View, a: Heads) -> bool:
    """True where a removed channel of the result is zero."""
    # Query heads that share a value: one that is removed still averages the values that stay for the others.
    return a.silent and n.space.is_kept(a.repeat)


def add_to_scores(n: View, place: int, a: Heads) -> None:
    """Tie the batch and head axes of what is added to the scores; its positions are kept."""
    if not n.has(place):
        return
    axes = n.axes(place)
    n.keep(axes[-2:], PLACE)
    for axis, other in zip(reversed(axes[:-2]), (a.all_heads, a.batch), strict=False):
        if axis.size != 1:
            n.tie(axis, other)
    if n.is_weight(place):
        n.role(place, *[""] * (len(axes) - 3), "bias")
        if n.tensor(place).dtype == BOOL and len(axes) > 2 and axes[-3].size != 1:
            n.keep(axes[-3], "a mask per head, which would hide every key from a silenced one")


def keep_all(n: View, *places: int, why: str = PLACE) -> None:
    """Keep whole operands, where they are given."""
    for place in places:
        if n.has(place):
            n.keep(n.axes(place), why)


def default_scale(n: View, size: Axis, name: str = "scale") -> dict[str, tuple[Axis, float]]:
    """The default scale, to be written once the head size has changed; the contrib operators take 0 for the default."""
    return {} if n.attr(name) else {name: (size, 1 / math.sqrt(size.size))}


def fused_heads(n: View, weight: int) -> tuple[Axis, Axis, Axis, Axis]:
    """The columns of a weight that makes query, key and value; heads, head size of query and key, and of value."""
    count, total = n.integer("num_heads"), n.axes(weight)[1].size
    sizes = n.attr("qkv_hidden_sizes") or (total // 3,) * 3
    if sum(sizes) != total or any(s % count for s in sizes) or sizes[0] != sizes[1]:
        raise AxisError(f"{count} heads of sizes {tuple(sizes)} don't make a weight of {total} columns")
    heads, size, value = (n.space.var(s) for s in (count, sizes[0] // count, sizes[2] // count))
    inner, outer = product((heads, size)), product((heads, value))
    return concat((inner, inner, outer)), heads, size, value

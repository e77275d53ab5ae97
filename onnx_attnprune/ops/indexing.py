"""Operators that read and write at places: what they index by is kept, all other axes run through."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_attnprune.axes import Axis
from onnx_attnprune.ops.registry import Effect, View, rule

BY_INDEX = "read or written by index"


@rule("Trilu")
def triangle(n: View) -> Effect:
    """... -> ...: zeros on one side of a diagonal of the last two axes, which are kept"""
    x = n.axes(0)
    n.keep(x[-2:], "cut along a diagonal")
    return Effect((n.out(x, silent=n.tensor(0).silent),))


@rule("ReverseSequence")
def reverse(n: View) -> Effect:
    """... -> ..., in another order along one axis, up to a length for each entry of another"""
    x = n.axes(0)
    n.keep((x[int(n.attr("batch_axis", 1))], x[int(n.attr("time_axis", 0))]), BY_INDEX)
    n.keep(n.axes(1), BY_INDEX)
    return Effect((n.out(x, silent=n.tensor(0).silent),))


@rule("OneHot")
def one_hot(n: View) -> Effect:
    """... -> ... with a new axis that tells the values of the indices apart, which is kept"""
    x, depth = list(n.axes(0)), n.integers(1)
    n.keep_operand(1, BY_INDEX)
    n.keep_operand(2, BY_INDEX)
    apart = n.reason("tells values of an input apart")
    size = 97 if depth is None else int(depth.reshape(-1)[0])
    x.insert(int(n.attr("axis", -1)) % (len(x) + 1), n.space.var(size, apart, dynamic=depth is None))
    return Effect((n.out(x, dtype=n.tensor(2).dtype),))


@rule("Compress")
def compress(n: View) -> Effect:
    """entries of one axis, or of all, where a condition holds: how many is known only at run time"""
    x = list(n.axes(0))
    n.keep(n.axes(1), BY_INDEX)
    late = n.space.var(97, n.reason(BY_INDEX), dynamic=True)
    if n.attr("axis") is None:
        n.keep(x, BY_INDEX)
        return Effect((n.out((late,)),))
    at = n.axis_attr("axis", len(x), 0)
    n.keep(x[at], BY_INDEX)
    x[at] = late
    return Effect((n.out(x, silent=n.tensor(0).silent),))


def _beside(n: View, at: int, *operands: Sequence[Axis]) -> None:
    """Tie the operands' axes but `at`; keep one that may be longer than the others' (its end is not read)."""
    for k, column in enumerate(zip(*operands, strict=True)):
        if k == at:
            n.keep(column, BY_INDEX)
        elif len({axis.size for axis in column}) > 1:
            n.keep(column, "longer than the indices")
        else:
            for other in column[1:]:
                n.tie(column[0], other)


@rule("GatherElements")
def gather_elements(n: View) -> Effect:
    """x and indices of one rank: along `axis` by index, along all others entry by entry"""
    x, indices = n.axes(0), n.axes(1)
    _beside(n, n.axis_attr("axis", len(x), 0), x, indices)
    return Effect((n.out(indices, silent=n.tensor(0).silent),))


@rule("ScatterElements", "Scatter")
def scatter_elements(n: View) -> Effect:
    """x, indices and updates of one rank: along `axis` by index, along all others entry by entry"""
    x, indices, updates = n.axes(0), n.axes(1), n.axes(2)
    at = n.axis_attr("axis", len(x), 0)
    _beside(n, at, indices, updates)
    _beside(n, at, x, indices)
    return Effect((n.out(x, silent=n.tensor(0).silent and n.tensor(2).silent),))


@rule("GatherND")
def gather_nd(n: View) -> Effect:
    """(b) places ... , (b) i k -> (b) i ...: the axes behind those that an index tells run through"""
    x, indices = n.axes(0), n.axes(1)
    told = int(n.attr("batch_dims", 0)) + indices[-1].size
    n.keep((*x[:told], *indices), BY_INDEX)
    return Effect((n.out((*indices[:-1], *x[told:]), silent=n.tensor(0).silent),))


@rule("ScatterND")
def scatter_nd(n: View) -> Effect:
    """places ..., i k, i ... -> places ...: the axes behind those that an index tells run through"""
    x, indices, updates = n.axes(0), n.axes(1), n.axes(2)
    told = indices[-1].size
    n.keep((*x[:told], *indices, *updates[: len(indices) - 1]), BY_INDEX)
    for one, other in zip(x[told:], updates[len(indices) - 1 :], strict=True):
        n.tie(one, other)
    return Effect((n.out(x, silent=n.tensor(0).silent and n.tensor(2).silent),))


@rule("GridSample")
def grid_sample(n: View) -> Effect:
    """n c ..., n places d -> n c places: a mean of neighbours, each channel by itself"""
    x, grid = n.axes(0), n.axes(1)
    n.keep((x[0], *x[2:], *grid), "sampled at places")
    return Effect((n.out((x[0], x[1], *grid[1:-1]), silent=n.tensor(0).silent),))


@rule("RoiAlign")
def roi_align(n: View) -> Effect:
    """n c h w, r 4, r -> r c oh ow: a mean of neighbours, each channel by itself"""
    x, boxes = n.axes(0), n.axes(1)
    n.keep((x[0], *x[2:], *boxes, *n.axes(2)), "sampled at places")
    size = [n.positions(int(n.attr(name, 1))) for name in ("output_height", "output_width")]
    return Effect((n.out((boxes[0], x[1], *size), silent=n.tensor(0).silent),))

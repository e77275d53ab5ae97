"""Reductions: over space they let channels go, over channels only where silenced ones are zero and add nothing; a zero
adds nothing to a largest value either, where no value is below zero.

A mean over channels of which some are zero is their sum over the number of all; over those that are left alone it would
be another number, and is scaled back (`Effect.averaged`). A mean or sum of squares is the heart of a norm: the width
that it runs over can go in the same way, but is spared unless a user names it, as that of every other norm.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx_attnprune.axes import Axis
from onnx_attnprune.ops.registry import Effect, Tensor, View, rule
from onnx_attnprune.ops.values import FLOATS

INT64 = 7
RMS = "a norm runs over it"
SQUARING = {"ReduceL2", "ReduceSumSquare"}
ADDING = {"ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare"}  # a zero changes nothing
THROUGH_ZERO = ADDING | {"ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"}  # zeros give zero


@rule(*sorted(THROUGH_ZERO), "ReduceLogSum", "ReduceLogSumExp")
def reduce(n: View) -> Effect:
    """the listed axes go; channels on them are kept unless zeros add nothing to the result, or to a scaled mean"""
    x = n.axes(0)
    since = 13 if n.node.op == "ReduceSum" else 18
    listed = n.listed("axes", 1, since)
    if not listed:  # not given, or given and empty
        listed = () if n.attr("noop_with_empty_axes", 0) else tuple(range(len(x)))
    gone = {k % len(x) for k in listed}
    if n.node.op == "ReduceLogSum" and n.tensor(0).silent:
        n.keep(x, "not finite at zero, which a silenced channel is")
    if any(x[k].size == 0 for k in gone):
        n.keep(x, "nothing to reduce, which may give an infinity")
    mean = n.node.op == "ReduceMean" and n.tensor(0).dtype in FLOATS  # of integers it is rounded
    largest = n.node.op == "ReduceMax" and n.tensor(0).dtype in FLOATS and n.is_nonnegative(0)
    exact = (n.node.op in ADDING or mean or largest) and n.tensor(0).silent
    for k in gone:
        if not exact and not n.space.is_kept(x[k]):
            n.keep(x[k], f"{n.node.op} over channels")
    silent = n.tensor(0).silent and n.node.op in THROUGH_ZERO
    over = tuple(x[k] for k in sorted(gone)) if exact else ()
    spared = tuple((axis, RMS) for axis in over) if n.node.op in SQUARING or n.is_square(0) else ()
    averaged = over if mean else ()
    return Effect((n.out(_without(n, x, gone), silent=silent),), averaged=averaged, spared=spared)


@rule("ArgMax", "ArgMin")
def arg(n: View) -> Effect:
    """the position of an extreme along `axis`, which is kept"""
    x = n.axes(0)
    axis = n.axis_attr("axis", len(x), 0)
    n.keep(x[axis], "searched for the place of an extreme")
    return Effect((n.out(_without(n, x, {axis}), dtype=INT64),))


@rule("TopK")
def top_k(n: View) -> Effect:
    """the largest along `axis`, which is kept"""
    x = n.axes(0)
    axis = n.axis_attr("axis", len(x), -1)
    n.keep(x[axis], "sorted")
    k = n.integers(1) if n.opset >= 10 else None
    count = n.attr("k") if n.opset < 10 else None if k is None else int(k.reshape(-1)[0])
    part = n.space.var(97, n.reason("sorted"), dynamic=True) if count is None else n.positions(int(count))
    axes = (*x[:axis], part, *x[axis + 1 :])
    return Effect((n.out(axes), Tensor(axes, INT64)))


@rule("CumSum", "CumProd")
def running_sum(n: View) -> Effect:
    """sums or products along an axis, which is kept; a product without the entry itself starts at one"""
    x, axis = n.axes(0), n.integers(1)
    n.keep(x if axis is None else x[int(axis.reshape(-1)[0])], "summed along")
    n.keep_operand(1, "an axis to sum along")
    starts_at_one = n.node.op == "CumProd" and bool(n.attr("exclusive", 0))
    return Effect((n.out(x, silent=n.tensor(0).silent and not starts_at_one),))


def _without(n: View, x: Sequence[Axis], gone: set[int]) -> list[Axis]:
    if n.attr("keepdims", 1):
        return [n.positions(1) if k in gone else a for k, a in enumerate(x)]
    return [a for k, a in enumerate(x) if k not in gone]

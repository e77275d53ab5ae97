"""Operators that put axes one behind the other, or take parts of them."""

from __future__ import annotations

import numpy as np

from onnx_attnprune.axes import Axis, concat, product
from onnx_attnprune.errors import AxisError
from onnx_attnprune.ops.registry import Effect, View, rule
from onnx_attnprune.ops.values import Term, Values, as_values, now

UNSEEN = 97  # the stand-in for a size that nothing states


@rule("Concat")
def join(n: View) -> Effect:
    """one axis is the concatenation of the operands'; the others are the same"""
    parts = [n.axes(k) for k in range(len(n.node.inputs))]
    at = n.axis_attr("axis", len(parts[0]), 1)
    for other in parts[1:]:
        if len(other) != len(parts[0]):
            raise AxisError(f"operands of rank {len(parts[0])} and {len(other)}")
        for k, (one, two) in enumerate(zip(parts[0], other, strict=True)):
            if k != at:
                n.tie(one, two)
    for k in range(len(parts)):
        n.role(k, *["bias"] * len(parts[0]))
    whole = concat(p[at] for p in parts)
    silent = all(n.tensor(k).silent for k in range(len(parts)))
    return Effect((n.out((*parts[0][:at], whole, *parts[0][at + 1 :]), silent=silent),))


@rule("Split")
def split(n: View) -> Effect:
    """one axis is the concatenation of the results'; the sizes of the parts are restated"""
    x = n.axes(0)
    at = n.axis_attr("axis", len(x), 0)
    count = len(n.node.outputs)
    sizes = n.listed("split", 1, 13)
    if sizes is None:
        step = -(-x[at].size // count)
        sizes = (*[step] * (count - 1), x[at].size - step * (count - 1))
    if sum(sizes) != x[at].size:
        raise AxisError(f"parts of {sizes} don't add up to {x[at].size}")
    rest, parts = x[at], []
    for size in sizes:
        part, rest = n.space.split(rest, size)
        parts.append(part)
    outs = tuple(n.out((*x[:at], p, *x[at + 1 :]), silent=n.tensor(0).silent) for p in parts)
    if n.opset < 13:
        return Effect(outs, attrs={"split": tuple(parts)})
    return Effect(outs, inputs={1: tuple(parts)}, drop=("num_outputs",))


@rule("Slice")
def cut(n: View) -> Effect:
    """a range of an axis is a part of its concatenation; where it starts and ends is restated"""
    x, late = n.axes(0), n.opset >= 10
    starts, ends = (n.value(k) if late else _given(n, name) for k, name in ((1, "starts"), (2, "ends")))
    axes, steps = n.listed("axes", 3, 10), (n.integers(4) if late and n.has(4) else None)
    if starts is None or ends is None or (n.has(4) and steps is None):
        touched = set(range(len(x))) if axes is None else {k % len(x) for k in axes}
        n.keep([x[k] for k in touched], "sliced at places that are computed at run time")
        for place in range(1, len(n.node.inputs) if late else 1):
            if n.has(place):
                n.keep_operand(place, "the places of a slice")
        late_axis = n.reason("sliced")
        return Effect(
            (n.out([n.space.var(UNSEEN, late_axis, dynamic=True) if k in touched else a for k, a in enumerate(x)]),)
        )
    out, first, last = list(x), [], []
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        at = (k if axes is None else axes[k]) % len(x)
        step = 1 if steps is None else int(steps[k])
        unseen = any(isinstance(place, Term) and place.dynamic for place in (start, end))
        out[at], begin, stop = _range(n, out[at], int(now(start)), int(now(end)), step, unseen)
        first.append(begin)
        last.append(stop)
    result = n.out(out, silent=n.tensor(0).silent)
    if late:
        return Effect((result,), inputs={1: tuple(first), 2: tuple(last)})
    return Effect((result,), attrs={"starts": tuple(first), "ends": tuple(last)})


def _given(n: View, name: str) -> Values | None:
    found = n.attr(name)
    return None if found is None else as_values(np.asarray(found))


def _range(n: View, axis: Axis, start: int, end: int, step: int, late: bool) -> tuple[Axis, Axis | None, Axis | None]:
    """The axis that a slice leaves, and the axes whose sizes are its start and its end (None: nothing to restate)."""
    size = axis.size
    indices = range(size)[slice(start, end if step > 0 or end >= -size else None, step)]
    if late:
        n.keep(axis, "sliced at places that are computed at run time")
    if n.space.is_kept(axis):
        if len(indices) == size and step == 1:
            return axis, None, None
        if size == UNSEEN and n.space.is_dynamic(axis):
            return n.space.var(UNSEEN, n.reason("sliced"), dynamic=True), None, None
        return n.positions(len(indices), (axis,) if late or n.space.is_dynamic(axis) else ()), None, None
    if step == 1:
        before, tail = n.space.split(axis, indices.start)
        part, after = n.space.split(tail, len(indices))
        open_end = end >= size or not after.size
        return part, (before if before.size else None), (None if open_end else concat((before, part)))
    if step > 1 and size % step == 0 and 0 <= indices.start < step and len(indices) == size // step:
        inner = n.positions(step)
        kept = n.space.var(size // step)
        n.tie(axis, product((kept, inner)))
        return kept, None, (None if end >= size else axis)
    n.keep(axis, f"sliced with a step of {step}")
    return n.positions(len(indices)), None, None


@rule("Gather")
def gather(n: View) -> Effect:
    """entries of one axis by index; constant indices pick channels and are restated"""
    x = n.axes(0)
    at = n.axis_attr("axis", len(x), 0)
    n.role(0, *["producer" if k != at else "" for k in range(len(x))])
    known = n.integers(1)
    silent = n.tensor(0).silent
    if known is not None and known.ndim == 1 and known.size and not n.space.is_kept(x[at]):
        indices = tuple(int(i) % x[at].size for i in known)
        picked = n.space.pick(x[at], indices)
        return Effect((n.out((*x[:at], picked, *x[at + 1 :]), silent=silent),), picks={1: (x[at], indices)})
    n.keep(x[at], "read by index")
    if n.is_weight(1):
        n.keep_operand(1, "indices that are not followed")
    # What an index reads is zero on its own axes only.
    silent = silent and all(n.space.is_kept(a) for a in n.axes(1))
    return Effect((n.out((*x[:at], *n.axes(1), *x[at + 1 :]), silent=silent),))


@rule("Pad")
def pad(n: View) -> Effect:
    """a padded axis is (padding, axis, padding); how much on which side is restated"""
    x = n.axes(0)
    pads = n.listed("pads", 1, 11) if n.opset >= 11 else tuple(n.attr("pads") or n.attr("paddings"))
    if pads is None:
        raise AxisError("no pads")
    listed = n.integers(3) if n.has(3) else None
    axes = list(range(len(x))) if not n.has(3) else [int(k) % len(x) for k in (listed if listed is not None else ())]
    if len(pads) != 2 * len(axes):
        raise AxisError(f"{len(pads)} pads for {len(axes)} axes")
    zero = n.attr("mode", "constant") == "constant" and _fill(n) == 0
    out: list[Axis] = list(x)
    before, after = [], []
    for k, at in enumerate(axes):
        low, high = int(pads[k]), int(pads[k + len(axes)])
        out[at], first, last = _padded(n, x[at], low, high)
        before.append(first)
        after.append(last)
    result = n.out(out, silent=n.tensor(0).silent and zero)
    if n.opset >= 11:
        return Effect((result,), inputs={1: (*before, *after)})
    return Effect((result,), attrs={"pads": (*before, *after)})


def _fill(n: View) -> float | None:
    if n.opset < 11 or not n.has(2):
        return float(n.attr("value", 0.0))
    found = n.constant(2)
    value = n.integers(2) if found is None else found
    return None if value is None else float(np.asarray(value).reshape(-1)[0])


def _padded(n: View, axis: Axis, low: int, high: int) -> tuple[Axis, Axis | None, Axis | None]:
    """The padded axis, and the axes whose sizes are the two pads (None: nothing to restate)."""
    if not low and not high:
        return axis, None, None
    if n.attr("mode", "constant") == "constant" and low >= 0 and high >= 0 and not n.space.is_kept(axis):
        first, last = n.space.var(low), n.space.var(high)
        return concat((first, axis, last)), first, last
    n.keep(axis, "padded")
    late = (axis,) if n.space.is_dynamic(axis) else ()
    return n.positions(axis.size + low + high, late), None, None

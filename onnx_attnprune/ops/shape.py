"""Operators that lay the same numbers out in another shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from onnx_attnprune.axes import ONE, Axis, product
from onnx_attnprune.errors import AxisError
from onnx_attnprune.ops.registry import Effect, Tensor, View, broadcast, rule
from onnx_attnprune.ops.values import Term, as_values, now, size_of

INT64 = 7


@rule("Reshape")
def reshape(n: View) -> Effect:
    """all axes in their order are all new axes in theirs; the numbers of the shape state sizes"""
    x = n.axes(0)
    shape = n.value(1) if n.has(1) else as_values(np.asarray(n.attr("shape")))
    if shape is None:
        n.keep(x, "reshaped to a shape that is computed at run time")
        n.keep_operand(1, "the numbers of a shape")
        return _unknown(n)
    if n.attr("allowzero", 0) and any(now(e) == 0 for e in shape):
        raise AxisError("allowzero with a size of zero")
    out = _reshaped(n, x, list(shape))
    n.tie(product(x), product(out))
    restated = tuple(_stated(n, e, axis) for e, axis in zip(shape, out, strict=True))
    # `0` copies the size at the same place: right as long as that is the same axis.
    for k, e in enumerate(shape):
        if not isinstance(e, Term) and e == 0 and n.space.find(x[k]) == n.space.find(out[k]):
            restated = (*restated[:k], None, *restated[k + 1 :])
    inputs = {1: restated} if n.has(1) else {}
    stands = {1: _stand_ins(n, list(shape), x, out)}
    # Where zeros are put in, they copy; a size of zero that they could mean else was refused above.
    return Effect((n.out(out, silent=n.tensor(0).silent),), inputs=inputs, stands=stands, drop=("allowzero",))


def _stand_ins(n: View, shape: list[Any], x: tuple[Axis, ...], out: list[Axis]) -> tuple[int | None, ...]:
    """For each size that is computed at run time the number that says the same: 0 (copied) or, for one of them, -1."""
    late = [k for k, e in enumerate(shape) if isinstance(e, Term) and e.dynamic]
    found: dict[int, int] = {k: 0 for k in late if k < len(x) and n.space.find(x[k]) == n.space.find(out[k])}
    rest = [k for k in late if k not in found]
    if len(rest) == 1 and not any(now(e) == -1 for e in shape):
        found[rest[0]] = -1
    return tuple(found.get(k) for k in range(len(shape)))


def _reshaped(n: View, x: tuple[Axis, ...], shape: list[Any]) -> list[Axis]:
    sizes = [int(now(e)) for e in shape]
    total = math.prod(a.size for a in x)
    out: list[Axis | None] = []
    for k, e in enumerate(shape):
        if sizes[k] == 0 and k >= len(x):
            raise AxisError(f"a shape of {sizes} copies axis {k} of a tensor of rank {len(x)}")
        out.append(x[k] if sizes[k] == 0 else None if sizes[k] == -1 else _laid_out(n, e))
    known = math.prod(a.size for a in out if a is not None)
    if None in out:
        if known == 0 or total % known:
            raise AxisError(f"{total} elements don't fit a shape of {sizes}")
        late = any(n.space.is_dynamic(a) for a in x) and not _same_dynamic(n, x, out)
        out[out.index(None)] = n.space.var(total // known, dynamic=late)
    elif known != total:
        raise AxisError(f"{total} elements don't fit a shape of {sizes}")
    return [a for a in out if a is not None]


def _laid_out(n: View, element: Any) -> Axis:
    """An axis of the size that an element states. Only of a run-time size is it the axis that the size was taken from:
    a channel shuffle ends with as many channels as it began with, but in another order."""
    late = isinstance(element, Term) and element.dynamic
    return n.sized(element) if late else n.space.var(int(now(element)))


def _same_dynamic(n: View, x: tuple[Axis, ...], out: list[Axis | None]) -> bool:
    """True where every run-time size of the operand is among the axes already named."""
    mine = [n.space.find(a) for a in x if n.space.is_dynamic(a)]
    theirs = [n.space.find(a) for a in out if a is not None and n.space.is_dynamic(a)]
    return sorted(map(repr, mine)) == sorted(map(repr, theirs))


def _stated(n: View, element: Any, axis: Axis) -> Axis | None:
    return None if now(element) == -1 else axis


def _unknown(n: View) -> Effect:
    hint = n.hint(0)
    if hint is None:
        return Effect((Tensor(None, n.tensor(0).dtype),))
    axes = [n.positions(d) if isinstance(d, int) else n.space.var(97, n.reason("unknown"), dynamic=True) for d in hint]
    return Effect((n.out(axes),))


@rule("Flatten")
def flatten(n: View) -> Effect:
    """the axes before `axis` into one, the others into another"""
    x = n.axes(0)
    axis = int(n.attr("axis", 1))
    axis = axis + len(x) if axis < 0 else axis
    return Effect((n.out((product(x[:axis]), product(x[axis:])), silent=n.tensor(0).silent),))


@rule("Transpose")
def transpose(n: View) -> Effect:
    """the axes in another order"""
    x = n.axes(0)
    order = n.attr("perm") or range(len(x))[::-1]
    if sorted(order) != list(range(len(x))):
        raise AxisError(f"perm={tuple(order)} is no order of {len(x)} axes")
    return Effect((n.out([x[k] for k in order], silent=n.tensor(0).silent),))


@rule("Squeeze")
def squeeze(n: View) -> Effect:
    """axes of size 1 left out"""
    x = n.axes(0)
    listed = n.listed("axes", 1, 13)
    if listed is None:
        n.keep(x, "an axis that is left with a single channel is squeezed")
        gone = [k for k, a in enumerate(x) if a.size == 1]
    else:
        gone = [k % len(x) for k in listed]
    if any(x[k].size != 1 and not n.space.is_dynamic(x[k]) for k in gone):
        raise AxisError(f"axes {gone} of {[a.size for a in x]} are not all of size 1")
    return Effect((n.out([a for k, a in enumerate(x) if k not in gone], silent=n.tensor(0).silent),))


@rule("Unsqueeze")
def unsqueeze(n: View) -> Effect:
    """axes of size 1 put in"""
    x = list(n.axes(0))
    listed = n.listed("axes", 1, 13) or ()
    rank = len(x) + len(listed)
    for k in sorted(k % rank for k in listed):
        x.insert(k, ONE)
    return Effect((n.out(x, silent=n.tensor(0).silent),))


@rule("Expand")
def expand(n: View) -> Effect:
    """broadcast to a shape, whose numbers state sizes"""
    shape = n.value(1)
    if shape is None:
        n.keep(n.axes(0), "expanded to a shape that is computed at run time")
        n.keep_operand(1, "the numbers of a shape")
        return _unknown(n)
    wanted = [ONE if now(e) == 1 else n.sized(e) for e in shape]
    out = broadcast(n.space, [n.axes(0), wanted])
    inputs = {1: tuple(None if now(e) == 1 else a for e, a in zip(shape, wanted, strict=True))}
    return Effect((n.out(out, silent=n.tensor(0).silent and n.spans(0, out)),), inputs=inputs)


@rule("Tile")
def tile(n: View) -> Effect:
    """(r a) for each axis a repeated r times"""
    x, repeats = n.axes(0), n.integers(1)
    if repeats is None or len(repeats) != len(x):
        n.keep(x, "repeated a number of times that is computed at run time")
        n.keep_operand(1, "the numbers of a shape")
        return _unknown(n)
    out = [product((n.positions(int(r)), a)) for r, a in zip(repeats, x, strict=True)]
    return Effect((n.out(out, silent=n.tensor(0).silent),))


@rule("DepthToSpace")
def depth_to_space(n: View) -> Effect:
    """n (b1 b2 c) h w -> n c (h b1) (w b2), or with c outermost in CRD mode"""
    return _blocks(n, "n ({}) h w -> n c (h b1) (w b2)")


@rule("SpaceToDepth")
def space_to_depth(n: View) -> Effect:
    """n c (h b1) (w b2) -> n (b1 b2 c) h w, or with c outermost in CRD mode"""
    return _blocks(n, "n c (h b1) (w b2) -> n ({}) h w")


def _blocks(n: View, pattern: str) -> Effect:
    """`pattern` with the order in which channels and the positions of a block lie in one axis."""
    size = n.integer("blocksize")
    order = "c b1 b2" if n.attr("mode", "DCR") == "CRD" else "b1 b2 c"
    v, out = n.unify(pattern.format(order), b1=size, b2=size)
    n.keep((v["b1"], v["b2"]), "a block of positions")
    return Effect((n.out(out, silent=n.tensor(0).silent),))


@rule("Shape")
def shape_of(n: View) -> Effect:
    """the sizes of the axes, followed one by one"""
    x = n.axes(0)
    part = x[slice(n.attr("start", 0), n.attr("end"))]
    axis = n.positions(len(part))
    return Effect((Tensor((axis,), INT64, n.sizes(part)),))


@rule("Size")
def element_count(n: View) -> Effect:
    """the product of the sizes"""
    return Effect((Tensor((), INT64, as_values(size_of(n.space, product(n.axes(0))))),))


@rule("ConstantOfShape")
def constant_of_shape(n: View) -> Effect:
    """a tensor of one value; the numbers of the shape state sizes"""
    shape = n.value(0)
    fill = n.attr("value")
    dtype = 1 if fill is None else fill.data_type
    if shape is None:
        n.keep_operand(0, "the numbers of a shape")
        hint = n.hint(0)
        return _unknown(n) if hint is not None else Effect((Tensor(None, dtype),))
    out = tuple(n.sized(e) for e in shape)
    zero = fill is None or (not any(fill.raw_data or b"") and not any((*fill.float_data, *fill.int64_data)))
    return Effect((n.out(out, dtype=dtype, silent=bool(zero)),), inputs={0: out})


@rule("Range")
def steps(n: View) -> Effect:
    """numbers in a row: positions"""
    known = [n.value(k) for k in range(3)]
    if any(v is None for v in known):
        return Effect((n.out((n.space.var(97, n.reason("a length known only at run time"), dynamic=True),)),))
    elements = [v.reshape(-1)[0] for v in known if v is not None]
    start, limit, delta = (now(e) for e in elements)
    late = any(isinstance(e, Term) and e.dynamic for e in elements)
    size = max(math.ceil((limit - start) / delta), 0)
    axis = n.space.var(size, n.reason("a position, not a channel"), dynamic=late)
    return Effect((n.out((axis,)),))

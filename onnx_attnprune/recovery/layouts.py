"""How means and variances pass through the operators that lay the same numbers out in another way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from onnx_attnprune.recovery.laws import Array, Law, constant, cut_at, joined, relaid, unknown
from onnx_attnprune.recovery.means import Site, laws_of


def _moved(s: Site, x: Law, move: Callable[[Array], Array | None], rank: int) -> Law:
    """Numbers in other places: functions of other variables from here on."""
    wide = np.broadcast_shapes(x.mean.shape, x.variance.shape)
    mean, variance = move(np.broadcast_to(x.mean, wide)), move(np.broadcast_to(x.variance, wide))
    return unknown(rank) if mean is None or variance is None else s.fresh(mean, variance)


@laws_of("Transpose")
def transposed(s: Site) -> Sequence[Law]:
    """axes in another order"""
    order = s.node.attr("perm")
    return [_moved(s, s.law(0), lambda p: p.transpose(order), len(s.axes(0)))]


@laws_of("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshaped(s: Site) -> Sequence[Law]:
    """the same numbers in their order"""
    before, after = s.axes(0), s.out_axes()
    sizes, late = ([a.size for a in before], [a.size for a in after]), s.late(before)
    return [_moved(s, s.law(0), lambda p: relaid(p, *sizes, late), len(after))]


@laws_of("Concat")
def concatenated(s: Site) -> Sequence[Law]:
    """one behind the other"""
    places = range(len(s.node.inputs))
    laws, rank = [s.law(k) for k in places], len(s.out_axes())
    axis = int(s.node.attr("axis", 1)) % rank
    along_axis = [s.axes(k)[axis] for k in places]
    if any(s.late(along_axis)):
        return [unknown(rank)]
    sizes = [a.size for a in along_axis]
    mean, variance = joined([x.mean for x in laws], sizes, axis), joined([x.variance for x in laws], sizes, axis)
    return [unknown(rank) if mean is None or variance is None else s.fresh(mean, variance)]


@laws_of("Split")
def split(s: Site) -> Sequence[Law]:
    """parts along an axis"""
    x = s.law(0)
    axis = int(s.node.attr("axis", 0)) % x.rank
    sizes = [s.out_axes(k)[axis].size for k in range(len(s.node.outputs))]
    means, variances = cut_at(x.mean, sizes, axis), cut_at(x.variance, sizes, axis)
    return [s.fresh(m, v) for m, v in zip(means, variances, strict=True)]


@laws_of("Slice")
def sliced(s: Site) -> Sequence[Law]:
    """ranges along axes"""
    x, starts, ends = s.law(0), s.integers(1, "starts"), s.integers(2, "ends")
    axes, steps = s.integers(3, "axes"), s.integers(4, "steps")
    if starts is None or ends is None or (axes is None and s.has(3)) or (steps is None and s.has(4)):
        return [unknown(x.rank)]
    axes = list(range(len(starts))) if axes is None else [k % x.rank for k in axes]
    steps = [1] * len(axes) if steps is None else steps
    ranges = dict(zip(axes, map(slice, starts, ends, steps), strict=True))

    def move(p: Array) -> Array:
        return p[tuple(ranges.get(k, slice(None)) if d > 1 else slice(None) for k, d in enumerate(p.shape))]

    return [_moved(s, x, move, x.rank)]


@laws_of("Gather")
def gathered(s: Site) -> Sequence[Law]:
    """places along an axis by constant indices"""
    x, indices = s.law(0), s.integers(1, "")
    axis = int(s.node.attr("axis", 0)) % x.rank
    if indices is None or len(s.out_axes()) != x.rank or s.out_axes()[axis].size != len(indices):
        return [unknown(len(s.out_axes()))]
    return [_moved(s, x, lambda p: p if p.shape[axis] == 1 else p.take(indices, axis), x.rank)]


@laws_of("Pad")
def padded(s: Site) -> Sequence[Law]:
    """zeros around channels; what lies around space is not accounted for"""
    x, out = s.law(0), s.out_axes()
    pads = s.integers(1, "pads")
    fill = s.constant(2) if s.has(2) else np.array(float(s.node.attr("value", 0.0)))
    if pads is None or s.has(3) or s.node.attr("mode", "constant") != "constant" or fill is None or fill.any():
        return [unknown(x.rank)]
    around = [(low, high) for low, high in zip(pads[: x.rank], pads[x.rank :], strict=True)]
    # Space has the rank's last axes behind batch and channels; alike positions are taken as alike past the border too.
    around = [(0, 0) if k >= 2 and x.mean.shape[k] == x.variance.shape[k] == 1 else p for k, p in enumerate(around)]
    if any(min(p) < 0 or (any(p) and s.late([out[k]])[0]) for k, p in enumerate(around)):
        return [unknown(x.rank)]

    def move(p: Array) -> Array:
        wide = [a.size if any(around[k]) else p.shape[k] for k, a in enumerate(s.axes(0))]
        return np.pad(np.broadcast_to(p, wide), around)

    return [_moved(s, x, move, x.rank)]


@laws_of("ConstantOfShape")
def filled(s: Site) -> Sequence[Law]:
    """zeros, unless the node says otherwise"""
    shape = (1,) * len(s.out_axes())
    return [unknown(len(shape)) if s.node.attr("value") is not None else constant(np.zeros(shape))]

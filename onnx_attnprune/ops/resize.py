"""Resampling over space; channels pass through."""

from __future__ import annotations

import math

from onnx_attnprune.axes import Axis
from onnx_attnprune.ops.registry import Effect, View, rule


@rule("Resize")
def resize(n: View) -> Effect:
    """axes with a scale of 1 pass, the others are resampled and kept"""
    sizes_at, scales_at = (3, 2) if n.opset >= 11 else (-1, 1)
    axes = n.attr("axes")
    if n.has(sizes_at) and sizes_at > 0:
        return _resampled(n, sizes=n.integers(sizes_at), scales=None, axes=axes, sizes_at=sizes_at)
    scales = n.constant(scales_at)
    return _resampled(n, None, n.integers(scales_at) if scales is None else scales, axes, sizes_at)


@rule("Upsample")
def upsample(n: View) -> Effect:
    """axes with a scale of 1 pass, the others are repeated or resampled and kept"""
    found = n.constant(1) if n.opset >= 9 else None
    scales = found if found is not None else n.attr("scales") if n.opset < 9 else n.integers(1)
    return _resampled(n, None, scales, None, -1)


def _resampled(n: View, sizes: object, scales: object, axes: object, sizes_at: int) -> Effect:
    x = n.axes(0)
    places = list(range(len(x))) if axes is None else [int(k) % len(x) for k in axes]  # type: ignore[attr-defined]  # ints
    given = sizes if sizes is not None else scales
    if given is None or n.attr("keep_aspect_ratio_policy", "stretch") != "stretch":
        n.keep([x[k] for k in places], "resampled by a scale that is computed at run time")
        return Effect((n.out(x if axes is None else x),)) if given is not None else _late(n, places)
    out: list[Axis] = list(x)
    restated: list[Axis | None] = [None] * len(places)
    for k, at in enumerate(places):
        value = given[k]  # type: ignore[index]  # an array or a tuple
        size = int(value) if sizes is not None else math.floor(x[at].size * float(value))
        if size == x[at].size:
            restated[k] = x[at]
            continue
        n.keep(x[at], "resampled")
        out[at] = n.positions(size, (x[at],))
    inputs = {sizes_at: tuple(restated)} if sizes is not None else {}
    return Effect((n.out(out, silent=n.tensor(0).silent),), inputs=inputs)


def _late(n: View, places: list[int]) -> Effect:
    out = list(n.axes(0))
    for k in places:
        out[k] = n.space.var(97, n.reason("resampled"), dynamic=True)
    return Effect((n.out(out),))

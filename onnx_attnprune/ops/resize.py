"""Resampling over space; channels pass through."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnx_attnprune.axes import Axis
from onnx_attnprune.errors import AxisError
from onnx_attnprune.ops.registry import Effect, View, rule

LATE = "resampled by a scale that is computed at run time"


@rule("Resize")
def resize(n: View) -> Effect:
    """axes with a scale of 1 pass, the others are resampled and kept"""
    if n.attr("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise AxisError("a region of interest is not followed")
    x, axes = n.axes(0), n.attr("axes")
    places = list(range(len(x))) if axes is None else [int(k) % len(x) for k in axes]
    if n.opset >= 11 and n.has(3):
        sizes = n.integers(3)
        return _late(n, places, 3) if sizes is None else _to_sizes(n, [int(s) for s in sizes], places)
    at = 2 if n.opset >= 11 else 1
    return _by_scales(n, _scales(n, at), places, at)


@rule("Upsample")
def upsample(n: View) -> Effect:
    """axes with a scale of 1 pass, the others are repeated or resampled and kept"""
    scales = _scales(n, 1) if n.opset >= 9 else n.attr("scales")
    return _by_scales(n, scales, list(range(len(n.axes(0)))), 1)


def _scales(n: View, at: int) -> Sequence[float] | None:
    stored = n.constant(at)
    found = n.integers(at) if stored is None else stored
    return None if found is None else [float(s) for s in found.reshape(-1)]


def _by_scales(n: View, scales: Sequence[float] | None, places: list[int], at: int) -> Effect:
    if scales is None:
        return _late(n, places, at)
    out: list[Axis] = list(n.axes(0))
    for k, scale in zip(places, scales, strict=True):
        if scale != 1:  # even where the size stays: its channels are mixed
            n.keep(out[k], "resampled")
            out[k] = n.positions(math.floor(out[k].size * scale), (out[k],))
    return Effect((n.out(out, silent=n.tensor(0).silent),))


def _to_sizes(n: View, sizes: list[int], places: list[int]) -> Effect:
    out: list[Axis] = list(n.axes(0))
    policy = n.attr("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":  # one scale for all the axes, and the sizes are its bounds
        n.keep([out[k] for k in places], "resampled by a scale that all axes share")
        ratios = [size / out[k].size for k, size in zip(places, sizes, strict=True)]
        scale = min(ratios) if policy == "not_larger" else max(ratios)
        sizes = [math.floor(out[k].size * scale + 0.5) for k in places]
    restated: list[Axis | None] = [None] * len(places)
    for i, (k, size) in enumerate(zip(places, sizes, strict=True)):
        if size == out[k].size:
            restated[i] = out[k] if policy == "stretch" else None
        else:
            n.keep(out[k], "resampled")
            out[k] = n.positions(size, (out[k],))
    return Effect((n.out(out, silent=n.tensor(0).silent),), inputs={3: tuple(restated)})


def _late(n: View, places: list[int], at: int) -> Effect:
    out = list(n.axes(0))
    n.keep([out[k] for k in places], LATE)
    n.keep_operand(at, LATE)
    for k in places:
        out[k] = n.space.var(97, n.reason("resampled"), dynamic=True)
    return Effect((n.out(out),))

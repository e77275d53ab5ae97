"""Operators whose results have to keep one shape, as some runtimes ask."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_attnprune.axes import Space
from onnx_attnprune.ops import Tensor


def tie_alike(space: Space, results: Sequence[Tensor]) -> None:
    """Make the axes of results that have one shape the same, so that whatever goes from one goes from all.

    Results of different shapes are left as they are: there is nothing left to keep.
    """
    shapes = {None if r.axes is None else tuple(axis.size for axis in r.axes) for r in results}
    if len(shapes) != 1 or None in shapes:
        return
    first, *others = [r.axes or () for r in results]
    for axes in others:
        for one, other in zip(first, axes, strict=True):
            space.tie(one, other)

"""Budgets: how many channels each group keeps, so that no more than a share of a cost is left.

A path is a sequence of ever smaller choices, each of which says how many channels every candidate keeps. A budget is
met by the first point of a path that fits, whatever "fits" means: multiply-accumulates, parameters, bytes, or accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import overload

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import PromiseError
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.planning.candidates import candidates
from onnx_attnprune.planning.counts import kept_counts
from onnx_attnprune.planning.select import Removed, emptied, lowest, quota
from onnx_attnprune.planning.settings import Settings

Kept = Mapping[int, int]  # group id -> how many channels it keeps; other groups stay whole
Path = Sequence[Kept]
Left = Callable[[Kept], float]  # the share of a cost that a choice leaves
RATIOS = 512  # ratios that the uniform path tries


class Uniform(Sequence[Kept]):
    """The path along which every group loses the same share, up to the settings' cap."""

    def __init__(self, analysis: Analysis, settings: Settings) -> None:
        self._analysis, self._settings = analysis, settings

    def __len__(self) -> int:
        return RATIOS

    @overload
    def __getitem__(self, index: int) -> Kept: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Kept]: ...
    def __getitem__(self, index: int | slice) -> Kept | Sequence[Kept]:
        """What is kept at one of the ratios; the last one is the cap."""
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not -RATIOS <= index < RATIOS:
            raise IndexError(index)
        ratio = min((index % RATIOS + 1) / RATIOS * self._settings.cap, 1 - 1e-6)
        settings = replace(self._settings.without_budget(), ratio=ratio, max_ratio=self._settings.cap, scope="layer")
        found = candidates(self._analysis, settings)
        counts = kept_counts([quota(c, c.group.size * c.ratio, settings) for c in found])
        return {c.group.id: kept for c, kept in zip(found, counts, strict=True)}


def first_within(path: Path, left: Left, target: float, promise: str) -> int:
    """The first point of a path (sought by halving) at which at most `target` is left.

    Raises PromiseError, which names the `promise`, where even the last point leaves more.
    """
    least = left(path[-1])
    if least > target:
        raise PromiseError(
            f"{promise} can't be kept: the smallest model that the settings allow leaves {least:.3f} "
            "(see --max-ratio, --min-channels, --round-to, --include, --exclude and --layer-ratio)"
        )
    over, within = -1, len(path) - 1
    while within - over > 1:
        middle = (over + within) // 2
        if left(path[middle]) <= target:
            within = middle
        else:
            over = middle
    return within


def grown(kept: Kept, before: Kept, left: Left, target: float) -> Kept:
    """`kept`, with each group back at its count in `before` where no more than `target` is left even then.

    Groups shrink by the granule, so that the first point of a path that fits may leave room.
    """
    now = dict(kept)
    for group, count in before.items():
        if count > now[group]:
            larger = {**now, group: count}
            if left(larger) <= target:
                now = larger
    return now


def removed_by(analysis: Analysis, kept: Kept, scores: Mapping[int, NDArray[np.float64]]) -> Removed:
    """The lowest channels of each group, as many as it does not keep; never the last ones of a tensor."""
    sizes = {g.id: g.size for g in analysis.groups}
    removed = {k: lowest(scores[k], sizes[k] - n) for k, n in kept.items() if n < sizes[k]}
    for group in emptied(analysis, removed):
        del removed[group]
    return removed

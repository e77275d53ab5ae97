"""Importance of channels from the weights alone: `score` runs a criterion over every group of an analysis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.scoring.blocks import Block, Blocks
from onnx_attnprune.scoring.criteria import CRITERIA, Criterion, NotApplicable, criterion
from onnx_attnprune.scoring.weights import Floats

__all__ = ["CRITERIA", "DEFAULT", "FALLBACK", "Block", "Criterion", "Scores", "criterion", "score"]

DEFAULT = "attention"
FALLBACK = "l2"


@dataclass(frozen=True)
class Scores:
    """Importance by group id, one number a channel, higher matters more; removed channels have -inf in both.

    normalized: within [0, 1] in each group, the least 0 and the greatest 1 (all 1 where all are equal).
    comparable: shifted to be positive and divided by the group's mean, for comparing channels of different groups.
    fallbacks: names of the groups that the criterion could not judge, so that `FALLBACK` did.
    """

    criterion: str
    normalized: Mapping[int, Floats]
    comparable: Mapping[int, Floats]
    fallbacks: tuple[str, ...] = field(default=())


def score(
    analysis: Analysis, criterion: str = DEFAULT, alive: Mapping[int, BoolArray] | None = None, seed: int = 0
) -> Scores:
    """Score every channel of every group by a criterion (a name of CRITERIA).

    `alive`: masks by variable id of what earlier steps left; slices that they removed are left out of the weights.
    `seed` is for `random` alone. Raises SettingsError for an unknown criterion.
    """
    judge, alive = CRITERIA[criterion], alive or {}
    rng = np.random.default_rng(seed)
    blocks = Blocks(analysis, alive)
    normalized, comparable, fallbacks = {}, {}, []
    for group in analysis.groups:
        mine = blocks.of(group)
        try:
            raw = judge(mine, rng)
        except NotApplicable:
            raw = CRITERIA[FALLBACK](mine, rng)
            fallbacks.append(group.name)
        here = alive.get(group.var.id, np.ones(group.size, bool))
        normalized[group.id] = _spread(raw, here, _min_max)
        comparable[group.id] = _spread(raw, here, _over_mean)
    return Scores(criterion, normalized, comparable, tuple(fallbacks))


def _spread(raw: Floats, alive: BoolArray, scale: object) -> Floats:
    out = np.full(len(raw), -np.inf)
    if alive.any():
        out[alive] = scale(raw[alive])  # type: ignore[operator]
    return out


def _min_max(raw: Floats) -> Floats:
    low, high = raw.min(), raw.max()
    return (raw - low) / (high - low) if high > low else np.ones_like(raw)


def _over_mean(raw: Floats) -> Floats:
    shifted = raw - min(raw.min(), 0.0)
    mean = shifted.mean()
    return shifted / mean if mean > 0 else np.ones_like(raw)

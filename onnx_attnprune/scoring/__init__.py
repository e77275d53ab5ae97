"""Importance of channels from the weights alone: `score` runs a criterion over every group of an analysis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.scoring.blocks import Block, Blocks, owners
from onnx_attnprune.scoring.criteria import CRITERIA, Criterion, criterion
from onnx_attnprune.scoring.weights import Floats

__all__ = ["CRITERIA", "DEFAULT", "FALLBACK", "Block", "Criterion", "Scores", "criterion", "owners", "score"]

DEFAULT = "attention"
FALLBACK = "l2"
NOTHING_REMOVED: Mapping[int, BoolArray] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Scores:
    """Importance by group id, one number a channel; higher matters more; -inf for a channel removed before.

    normalized: in [0, 1] within each group: (raw - least) / (greatest - least), and 1 for all where all are equal.
    comparable: for comparing channels of different groups: raw (minus the least, if that is negative) over its mean in
    the group, so that every group's mean is 1. fallbacks: names of the groups that `FALLBACK` judged, because the
    criterion had nothing to go by.
    """

    criterion: str
    normalized: Mapping[int, Floats]
    comparable: Mapping[int, Floats]
    fallbacks: tuple[str, ...] = ()


def score(
    analysis: Analysis, criterion: str = DEFAULT, alive: Mapping[int, BoolArray] = NOTHING_REMOVED, seed: int = 0
) -> Scores:
    """Score every channel of every group by the criterion of this name.

    `alive`: masks by variable id of what earlier steps left; slices that they removed from any axis are left out of
    the weights. `seed` is for `random` alone. Raises SettingsError for an unknown criterion.
    """
    judge, fallback = CRITERIA[criterion], CRITERIA[FALLBACK]
    rng, blocks = np.random.default_rng(seed), Blocks(analysis, alive)
    normalized: dict[int, Floats] = {}
    comparable: dict[int, Floats] = {}
    fallbacks: list[str] = []
    for group in analysis.groups:
        mine = blocks.of(group)
        raw = judge(mine, rng)
        if raw is None:
            raw = fallback(mine, rng)
            fallbacks.append(group.name)
        here = alive.get(group.var.id, np.ones(group.size, bool))
        assert raw is not None  # l2 always has something to go by
        normalized[group.id] = _where(here, raw, _min_max)
        comparable[group.id] = _where(here, raw, _over_mean)
    return Scores(criterion, normalized, comparable, tuple(fallbacks))


def _where(alive: BoolArray, raw: Floats, form: Callable[[Floats], Floats]) -> Floats:
    out = np.full(len(raw), -np.inf)
    if alive.any():
        out[alive] = form(raw[alive])
    return out


def _min_max(raw: Floats) -> Floats:
    low, high = raw.min(), raw.max()
    out: Floats = (raw - low) / (high - low) if high > low else np.ones_like(raw)
    return out


def _over_mean(raw: Floats) -> Floats:
    shifted = raw - min(float(raw.min()), 0.0)
    mean = shifted.mean()
    out: Floats = shifted / mean if mean > 0 else np.ones_like(raw)
    return out

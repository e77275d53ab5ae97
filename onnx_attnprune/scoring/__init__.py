"""Importance of channels: `score` runs a criterion over every group of an analysis, on its weights or on samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.errors import SettingsError
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.scoring.blocks import Block, Blocks, owners
from onnx_attnprune.scoring.criteria import CRITERIA, SAMPLED, Criterion, criterion
from onnx_attnprune.scoring.weights import Floats

__all__ = [
    "CRITERIA", "DEFAULT", "SAMPLED", "Block", "Criterion", "Samples", "Scores", "criterion", "owners",
    "score",
]  # fmt: skip  # a list of names

DEFAULT = "attention"
FALLBACK = "l2"
NOTHING_REMOVED: Mapping[int, BoolArray] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Samples:
    """What floors above have to judge channels by, beside the weights.

    source: what the samples are, as a report says it. judge: for a criterion of SAMPLED and what earlier steps left
    (masks by variable id), by group id the error that each channel's removal ends at, all less important ones gone
    before it: [channels], as a share of what the channels' consumers give. Groups that samples say nothing of are left
    out.
    """

    source: str
    judge: Callable[[str, Mapping[int, BoolArray]], Mapping[int, Floats]]


@dataclass(frozen=True, slots=True)
class Scores:
    """Importance by group id, one number a channel; higher matters more; -inf for a channel removed before.

    normalized: in [0, 1] within each group: (raw - least) / (greatest - least), and 1 for all where all are equal.
    comparable: for comparing channels of different groups: raw (minus the least, if that is negative) over its mean in
    the group, so that every group's mean is 1; the errors of a criterion of SAMPLED are comparable as they are.
    fallbacks: by name of a group that the criterion had nothing to go by in, the one that judged it instead. source:
    what samples the criterion looked at, if any.
    """

    criterion: str
    normalized: Mapping[int, Floats]
    comparable: Mapping[int, Floats]
    fallbacks: Mapping[str, str] = field(default_factory=dict)
    source: str = ""


def score(
    analysis: Analysis, criterion: str = DEFAULT, alive: Mapping[int, BoolArray] = NOTHING_REMOVED, seed: int = 0,
    samples: Samples | None = None,
) -> Scores:  # fmt: skip  # two lines
    """Score every channel of every group by the criterion of this name.

    `alive`: masks by variable id of what earlier steps left; slices that they removed from any axis are left out of
    the weights. `seed` is for `random` alone, `samples` for the criteria of SAMPLED. Raises SettingsError for an
    unknown criterion, and for one that goes by samples where there are none.
    """
    if criterion in SAMPLED and samples is None:
        raise SettingsError(f"criterion {criterion} goes by samples, and there are none here")
    errors: Mapping[int, Floats] = {}
    candidates = (criterion, FALLBACK)
    if criterion in SAMPLED and samples is not None:
        errors, candidates = samples.judge(criterion, alive), (DEFAULT, FALLBACK)
    judges = [CRITERIA[name] for name in candidates]
    rng, blocks = np.random.default_rng(seed), Blocks(analysis, alive)
    normalized: dict[int, Floats] = {}
    comparable: dict[int, Floats] = {}
    fallbacks: dict[str, str] = {}
    for group in analysis.groups:
        here = alive.get(group.var.id, np.ones(group.size, bool))
        if group.id in errors:
            raw, used = errors[group.id], criterion
        else:
            mine = blocks.of(group)
            found = ((judge(mine, rng), name) for judge, name in zip(judges, candidates, strict=True))
            raw, used = next((raw, name) for raw, name in found if raw is not None)  # l2 always says something
        if used != criterion:
            fallbacks[group.name] = used
        normalized[group.id] = _where(here, raw, _min_max)
        comparable[group.id] = _where(here, raw, _over_mean)
        if criterion in SAMPLED:
            comparable[group.id] = np.where(here, raw, -np.inf) if group.id in errors else normalized[group.id]
    return Scores(criterion, normalized, comparable, fallbacks, samples.source if errors and samples else "")


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

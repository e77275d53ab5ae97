"""Scores and settings to a choice: which channels of which group go."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import Axis, BoolArray, Concat, Pick, Product, Var, leaves
from onnx_attnprune.errors import NothingToPruneError
from onnx_attnprune.grouping import Analysis, Group, alive_of
from onnx_attnprune.planning.settings import Settings, matching
from onnx_attnprune.scoring import Scores, score

Removed = dict[int, tuple[int, ...]]  # group id -> removed channels


@dataclass(frozen=True, slots=True)
class Choice:
    """Removed channels by group id, and the scores of the last stage."""

    removed: Mapping[int, tuple[int, ...]]
    scores: Mapping[int, NDArray[np.float64]]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A group that may lose channels: its share of them, and the multiple that its kept count is rounded to."""

    group: Group
    ratio: float
    granule: int


def choose(
    analysis: Analysis, settings: Settings, progress: Callable[[str], None] = lambda _: None
) -> Choice:
    """Choose the channels that go. Raises NothingToPruneError where none can, SettingsError for patterns that miss."""
    if not analysis.groups:
        raise NothingToPruneError("the model has no channel group that can be pruned" + _biggest_obstacle(analysis))
    candidates = _candidates(analysis, settings)
    removed: Removed = {}
    scores = Scores({}, {}, ())
    for step in range(1, settings.steps + 1):
        progress(f"scoring, stage {step} of {settings.steps}" if settings.steps > 1 else "scoring")
        alive = alive_of(analysis.groups, removed)
        scores = score(analysis, settings.criterion, alive, settings.seed)
        counts = _counts(candidates, scores, settings, step / settings.steps, removed)
        for candidate in candidates:
            removed[candidate.group.id] = _lowest(scores.normalized[candidate.group.id], counts[candidate.group.id])
    removed = {k: v for k, v in removed.items() if v}
    _refill_empty(analysis, removed)
    if not removed:
        raise NothingToPruneError(_nothing(candidates, settings))
    notes = [f"no batch norm in {name}: scored by l2" for name in scores.fallbacks]
    return Choice(removed, scores.normalized, tuple(notes))


def _lowest(scores: NDArray[np.float64], count: int) -> tuple[int, ...]:
    return tuple(sorted(np.argsort(scores, kind="stable")[:count].tolist()))


# ---------------------------------------------------------------- who may lose how much
def _candidates(analysis: Analysis, settings: Settings) -> list[Candidate]:
    groups = analysis.groups
    allowed = {g.id for g in groups}
    if settings.include:
        allowed = set().union(*(matching(p, groups, "--include") for p in settings.include))
    for pattern in settings.exclude:
        allowed -= matching(pattern, groups, "--exclude")
    own: dict[int, float] = {}
    for pattern, ratio in settings.layer_ratios:
        own.update(dict.fromkeys(matching(pattern, groups, "--layer-ratio"), ratio))
    base = settings.ratio or 0.0
    shares = _shares(analysis, {g.id: own.get(g.id, base) for g in groups}, settings)
    found = []
    for group in groups:
        if group.id in allowed and group.id in shares:
            found.append(Candidate(group, shares[group.id], _granule(analysis, group, settings.round_to)))
    return found


def _shares(analysis: Analysis, ratios: Mapping[int, float], settings: Settings) -> dict[int, float]:
    """The share that each group loses; where channels are products of two groups, one of them is left whole."""
    inner_of: dict[int, set[int]] = {}
    id_of = {g.var: g.id for g in analysis.groups}
    for group in analysis.groups:
        for member in group.members:
            if member.role == "producer":
                for outer, inner in _nested(analysis.space.find(member.slot.axes[member.axis]), id_of):
                    inner_of.setdefault(outer, set()).add(inner)
    inner = set().union(*inner_of.values()) if inner_of else set()
    shares = dict(ratios)
    for outer in inner_of.keys() - inner:
        group = analysis.groups[outer]
        mode = settings.attention
        if mode == "auto":
            # Few heads can't lose a third of them: then every head loses some of its width.
            off = abs(round(group.size * ratios[outer]) / group.size - ratios[outer])
            mode = "heads" if off <= 0.1 else "head-dims"
        if mode in ("head-dims", "none"):
            shares.pop(outer, None)
        for k in inner_of[outer]:
            if mode in ("heads", "none"):
                shares.pop(k, None)
            elif mode == "both" and k in shares:
                shares[k] = 1 - math.sqrt(1 - ratios[k])
        if mode == "both":
            shares[outer] = 1 - math.sqrt(1 - ratios[outer])
    return shares


def _nested(axis: Axis, id_of: Mapping[Var, int]) -> Iterator[tuple[int, int]]:
    """(outer, inner) pairs of groups whose product an axis holds."""
    if isinstance(axis, Product):
        before: list[int] = []
        for part in axis.parts:
            here = [id_of[v] for v in leaves(part) if v in id_of]
            yield from ((a, b) for a in before for b in here if a != b)
            before.extend(here)
    if isinstance(axis, (Product, Concat)):
        for part in axis.parts:
            yield from _nested(part, id_of)
    elif isinstance(axis, Pick):
        yield from _nested(axis.source, id_of)


def _granule(analysis: Analysis, group: Group, multiple: int) -> int:
    """How many channels of the group make a multiple of `multiple` channels of the axes that it makes."""
    spans = [
        span
        for m in group.members
        if m.role == "producer"
        for span in _spans(analysis.space.find(m.slot.axes[m.axis]), group.var, 1)
    ]
    common = math.gcd(*spans) if spans else 1
    return multiple // math.gcd(multiple, common)


def _spans(axis: Axis, var: Var, factor: int) -> Iterator[int]:
    if axis == var:
        yield factor
    elif isinstance(axis, Product):
        for part in axis.parts:
            yield from _spans(part, var, factor * axis.size // part.size)
    elif isinstance(axis, Concat):
        for part in axis.parts:
            yield from _spans(part, var, factor)
    elif isinstance(axis, Pick):
        yield from _spans(axis.source, var, 1)


# ---------------------------------------------------------------- how many go
def _counts(
    candidates: Sequence[Candidate], scores: Scores, settings: Settings, progress: float, before: Removed
) -> dict[int, int]:
    """How many channels each group loses by this stage (at `progress` of the way)."""
    wanted = _wanted(candidates, scores, settings, progress, before)
    final = progress >= 1
    counts, owed = {}, 0.0
    for c in candidates:
        size = c.group.size
        most = min(size - settings.min_channels, math.floor(settings.cap * size + 1e-9), size - 1)
        kept = size - min(wanted[c.group.id], max(most, 0))
        granule = c.granule if final else 1
        # What one group keeps too much another keeps less of, so that the whole meets the ratio.
        target = kept + owed * size if settings.ratio is not None and settings.scope == "layer" else kept
        rounded = _round(kept, target, granule, size, size - max(most, 0))
        if c.ratio > 0:
            owed += (kept - rounded) / size
        counts[c.group.id] = max(size - rounded, len(before.get(c.group.id, ())))
    return counts


def _round(kept: float, target: float, granule: int, size: int, least: int) -> int:
    """The kept count next to `target` among the multiples (or the whole size) around `kept`."""
    if granule == 1:
        return max(min(round(kept), size), least, 1)
    low = math.floor(kept / granule) * granule
    options = [n for n in (low, low + granule, size) if least <= n <= size and n >= 1 and n <= max(low + granule, 1)]
    return min(options or [size], key=lambda n: (abs(n - target), -n))


def _wanted(
    candidates: Sequence[Candidate], scores: Scores, settings: Settings, progress: float, before: Removed
) -> dict[int, float]:
    """How many channels each group would lose, before rounding and floors."""
    if settings.ratio is None:
        return {c.group.id: _below(scores.normalized[c.group.id], settings) * progress for c in candidates}
    if settings.scope == "layer":
        return {c.group.id: c.group.size * (1 - (1 - c.ratio) ** progress) for c in candidates}
    free = [c for c in candidates if c.ratio == settings.ratio]
    fixed = {c.group.id: c.group.size * (1 - (1 - c.ratio) ** progress) for c in candidates if c not in free}
    total = sum(c.group.size for c in free)
    goal = round(total * (1 - (1 - settings.ratio) ** progress))
    return fixed | _global_counts(free, scores, settings, goal)


def _global_counts(free: Sequence[Candidate], scores: Scores, settings: Settings, goal: int) -> dict[int, float]:
    """The lowest `goal` channels of all groups, each group bounded by its cap."""
    taken = {c.group.id: 0.0 for c in free}
    limit = {c.group.id: min(c.group.size - settings.min_channels, int(settings.cap * c.group.size)) for c in free}
    values = np.concatenate([scores.comparable[c.group.id] for c in free]) if free else np.zeros(0)
    owners = np.concatenate([np.full(c.group.size, c.group.id) for c in free]) if free else np.zeros(0, int)
    left = goal
    for k in np.argsort(values, kind="stable"):
        if not left:
            break
        if taken[int(owners[k])] < limit[int(owners[k])]:
            taken[int(owners[k])] += 1
            left -= 1
    return taken


def _below(scores: NDArray[np.float64], settings: Settings) -> int:
    threshold = settings.threshold
    if settings.top_k is not None:
        threshold = float(np.sort(scores)[::-1][: settings.top_k].mean())
    return int(np.count_nonzero(scores < threshold))


# ---------------------------------------------------------------- guards
def _refill_empty(analysis: Analysis, removed: Removed) -> None:
    """Give channels back to groups that would leave some tensor without any."""
    alive = alive_of(analysis.groups, removed)
    for axis in [a for t in analysis.tensors.values() for a in t.axes or () if a.size]:
        found = analysis.space.find(axis)
        if isinstance(found, (Pick, Product, Concat)) and _can_be_empty(found, alive, analysis):
            for group in analysis.groups:
                if group.var in leaves(found):
                    removed.pop(group.id, None)


def _can_be_empty(axis: Axis, alive: Mapping[int, BoolArray], analysis: Analysis) -> bool:
    if isinstance(axis, Pick):
        return analysis.space.size(axis, alive) == 0
    return isinstance(axis, (Product, Concat)) and any(_can_be_empty(p, alive, analysis) for p in axis.parts)


def _biggest_obstacle(analysis: Analysis) -> str:
    if not analysis.kept:
        return ""
    first = max(analysis.kept, key=lambda k: k.size)
    return f"; for one, {first.tensor} (axis {first.axis}, {first.size} channels): {first.why}"


def _nothing(candidates: Sequence[Candidate], settings: Settings) -> str:
    if not candidates:
        return "the patterns leave no group to prune"
    largest = max(c.group.size for c in candidates)
    hint = "; try --round-to 1" if settings.round_to > 1 else ""
    return f"the settings leave every channel in place (the largest group has {largest} channels){hint}"

"""Scores and settings to a choice: which channels of which group go."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import Axis, leaves
from onnx_attnprune.errors import NothingToPruneError
from onnx_attnprune.grouping import NO_RULE, Analysis, alive_of
from onnx_attnprune.planning.candidates import Candidate, candidates, granule
from onnx_attnprune.planning.counts import Quota, kept_counts
from onnx_attnprune.planning.settings import Settings
from onnx_attnprune.scoring import Samples, Scores, score

Removed = dict[int, tuple[int, ...]]  # group id -> removed channels
NONE: Mapping[int, Sequence[int]] = MappingProxyType({})
_NAMED = 3  # groups that a note names


@dataclass(frozen=True, slots=True)
class Choice:
    """Removed channels by group id, the scores of the last stage, and what a user should know of the choice."""

    removed: Mapping[int, tuple[int, ...]]
    scores: Mapping[int, NDArray[np.float64]]
    notes: tuple[str, ...]


def choose(
    analysis: Analysis,
    settings: Settings,
    progress: Callable[[str], None] = lambda _: None,
    decided: Mapping[int, int] | None = None,
    samples: Samples | None = None,
) -> Choice:
    """Choose the channels that go.

    decided: how many channels each group keeps, by its id, where a budget has said so (groups that it leaves out stay
    whole). samples: for criteria that go by some. Raises NothingToPruneError where none can go, SettingsError for
    patterns that miss.
    """
    refuse_groupless(analysis)
    found = candidates(analysis, settings) if decided is None else _decided(analysis, settings, decided)
    removed: Removed = {}
    wanted: dict[int, float] = {}
    for step in range(1, settings.steps + 1):
        progress(f"scoring, stage {step} of {settings.steps}" if settings.steps > 1 else "scoring")
        scores = score(analysis, settings.criterion, alive_of(analysis.groups, removed), settings.seed, samples)
        # A threshold counts what lies under it once: scores are spread over [0, 1] anew in each stage, so that it would
        # go on removing for ever.
        if decided is None and (settings.ratio is not None or not wanted):
            wanted = _wanted(found, scores, settings)
        if decided is None:
            kept = kept_counts([quota(c, wanted[c.group.id], settings, removed) for c in found])
        else:
            kept = [decided[c.group.id] for c in found]
        for c, final in zip(found, kept, strict=True):
            size = c.group.size
            now = max(final, round(size * (final / size) ** (step / settings.steps)))
            gone = max(size - now, len(removed.get(c.group.id, ())))
            removed[c.group.id] = lowest(scores.normalized[c.group.id], gone)
    removed = {k: v for k, v in removed.items() if v}
    for group in emptied(analysis, removed):
        del removed[group]
    if not removed:
        raise NothingToPruneError("; ".join((_nothing(found, settings), *_spared(analysis, found))))
    notes = (*_notes(found, wanted, removed, scores, settings), *_spared(analysis, found))
    return Choice(removed, scores.normalized, notes)


def _decided(analysis: Analysis, settings: Settings, decided: Mapping[int, int]) -> list[Candidate]:
    return [
        Candidate(g, 1 - decided[g.id] / g.size, True, granule(analysis, g, settings.round_to))
        for g in analysis.groups
        if g.id in decided
    ]


def refuse_groupless(analysis: Analysis) -> None:
    """Raise NothingToPruneError for a model without any channel group, with one of the reasons."""
    if not analysis.groups:
        raise NothingToPruneError("the model has no channel group that can be pruned" + _biggest_obstacle(analysis))


def lowest(scores: NDArray[np.float64], count: int) -> tuple[int, ...]:
    """The `count` channels that score lowest, in ascending order; of equal ones the first."""
    return tuple(sorted(np.argsort(scores, kind="stable")[:count].tolist()))


# ---------------------------------------------------------------- how many go
def quota(
    candidate: Candidate, wanted: float, settings: Settings, removed: Mapping[int, Sequence[int]] = NONE
) -> Quota:
    """What the settings ask of one group that is to lose `wanted` channels, after the removals of earlier stages."""
    size = candidate.group.size
    cap = 1.0 if candidate.own and settings.max_ratio is None else settings.cap  # what a user asks of a group, it loses
    least = max(1, min(size, settings.min_channels), size - math.floor(cap * size + 1e-9))
    gone = len(removed.get(candidate.group.id, ()))
    shared = settings.ratio is not None and not candidate.own
    return Quota(size, wanted, candidate.granule, least, gone, shared)


def _wanted(found: Sequence[Candidate], scores: Scores, settings: Settings) -> dict[int, float]:
    """How many channels each group would lose in all, before rounding and floors."""
    wanted = {c.group.id: c.group.size * c.ratio for c in found}
    free = [c for c in found if not c.own]
    if settings.ratio is None:
        return wanted | {c.group.id: below(scores.normalized[c.group.id], settings) for c in free}
    if settings.scope == "global":
        return wanted | _global_counts(free, scores, settings, settings.ratio)
    return wanted


def _global_counts(free: Sequence[Candidate], scores: Scores, settings: Settings, ratio: float) -> dict[int, float]:
    """The lowest channels of all groups ranked together, each group bounded by its floor and cap."""
    taken = {c.group.id: 0.0 for c in free}
    if not free:
        return taken
    limit = {c.group.id: min(c.group.size - settings.min_channels, int(settings.cap * c.group.size)) for c in free}
    values = np.concatenate([scores.comparable[c.group.id] for c in free])
    owners = np.concatenate([np.full(c.group.size, c.group.id) for c in free])
    left = round(len(values) * ratio)
    for owner in owners[np.argsort(values, kind="stable")].tolist():
        if not left:
            break
        if taken[owner] < limit[owner]:
            taken[owner] += 1
            left -= 1
    return taken


def below(scores: NDArray[np.float64], settings: Settings) -> int:
    """How many scores of a group lie under the threshold, or under the mean of its k best."""
    if settings.top_k is not None:
        return int(np.count_nonzero(scores < np.sort(scores)[::-1][: settings.top_k].mean()))
    return int(np.count_nonzero(scores < (settings.threshold or 0.0)))


# ---------------------------------------------------------------- guards
def emptied(analysis: Analysis, removed: Mapping[int, Sequence[int]]) -> set[int]:
    """The groups with removals that would leave some tensor without any channel, though no group loses all of its own
    (as where a Slice takes a few channels out of a group)."""
    alive = alive_of(analysis.groups, removed)
    id_of = {g.var: g.id for g in analysis.groups}
    found: set[int] = set()
    for axis in _axes(analysis):
        if axis.size and analysis.space.size(axis, alive) == 0:
            found.update(id_of[v] for v in leaves(analysis.space.find(axis)) if v in id_of and v.id in alive)
    return found


def _axes(analysis: Analysis) -> Iterator[Axis]:
    for tensor in analysis.tensors.values():
        yield from tensor.axes or ()
    for slot in analysis.slots:
        yield from slot.axes


def _biggest_obstacle(analysis: Analysis) -> str:
    # Behind an operator without a rule nothing is known, so that most other reasons only follow from it.
    unruled = [(node, reason.why) for node, reason in analysis.refused if reason.why.startswith(NO_RULE)]
    if unruled:
        node, why = unruled[0]
        told = f"; for one, {why} ({node.name or node.outputs[0]})"
    elif analysis.kept:
        first = max(analysis.kept, key=lambda k: k.size)
        told = f"; for one, {first.tensor} (axis {first.axis}, {first.size} channels): {first.why}"
    else:
        return ""
    return f"{told}; `onnx-attnprune inspect` says what would help"


def _nothing(found: Sequence[Candidate], settings: Settings) -> str:
    if not found:
        return "the settings leave no group to prune"
    largest = max(c.group.size for c in found)
    hint = "; try --round-to 1" if settings.round_to > 1 else ""
    return f"the settings leave every channel in place (the largest group has {largest} channels){hint}"


# ---------------------------------------------------------------- notes
def _notes(
    found: Sequence[Candidate], wanted: Mapping[int, float], removed: Removed, scores: Scores, settings: Settings
) -> Iterator[str]:
    if scores.source:
        yield f"scored by {scores.criterion} on {scores.source}"
    for used in sorted(set(scores.fallbacks.values())):
        names = [name for name, by in scores.fallbacks.items() if by == used]
        yield f"scored by {used}, for lack of what {scores.criterion} goes by: {_some(names)}"
    whole = [
        c.group.name for c in found if wanted.get(c.group.id, 0) >= 1 and c.group.id not in removed and c.granule > 1
    ]
    if whole:
        yield f"left whole by rounding to multiples of {settings.round_to} (--round-to 1 cuts them): {_some(whole)}"


def _spared(analysis: Analysis, found: Sequence[Candidate]) -> Iterator[str]:
    spared: dict[str, list[str]] = {}
    taken = {c.group.id for c in found}
    for group in analysis.groups:
        if group.spared and group.id not in taken:
            spared.setdefault(group.spared, []).append(group.name)
    for why, names in spared.items():
        yield f"left whole, since {why} (--include by this name cuts it): {_some(names)}"


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")

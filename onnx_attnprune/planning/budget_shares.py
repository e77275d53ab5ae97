"""Allocation: which group gives how much of a budget, by error against cost (RECOVERY.md, formula 6)."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import Axis, BoolArray, Concat, Pick, Product, Var, ids_of
from onnx_attnprune.grouping import Analysis, Group
from onnx_attnprune.planning.budget import Kept
from onnx_attnprune.planning.candidates import Candidate, candidates, producers
from onnx_attnprune.planning.counts import kept_count
from onnx_attnprune.planning.select import quota
from onnx_attnprune.planning.settings import Settings

Floats = NDArray[np.float64]
Term = tuple[float, tuple[Axis, ...]]  # a weight times the product of the sizes of some axes
LEVELS = 48  # counts that a group may stop at: of a wide one not every multiple


@dataclass(frozen=True, slots=True)
class Losses:
    """What removing the k lowest channels of a group costs in accuracy, by group id: [size + 1], from 0 up.

    scores: the importance of each channel, by group id, which says what the lowest ones are.
    """

    scores: Mapping[int, Floats]
    curves: Mapping[int, Floats]


def allocate(
    analysis: Analysis, settings: Settings, losses: Losses, terms: Sequence[Term], target: float
) -> list[Kept]:
    """The path along which, a step at a time, the group shrinks that loses least for what it saves.

    What it saves is computed at the widths that all other groups have by then. `target`: the share that is to be left,
    for the choice between attention heads and their width alone.
    """
    found = _candidates(analysis, settings, target)
    costs = _Costs(analysis, terms, losses.scores)
    kept = {c.group.id: _own(c, settings) if c.own else c.group.size for c in found}
    for group, count in kept.items():
        costs.set(group, count)
    stairs = {c.group.id: _stairs(c, settings, losses.curves[c.group.id]) for c in found if not c.own}
    path: list[Kept] = [dict(kept)]
    for group, count in _steps(costs, stairs):
        kept[group] = count
        path.append(dict(kept))
    return path


def _candidates(analysis: Analysis, settings: Settings, target: float) -> list[Candidate]:
    ratio = 1 - math.sqrt(min(max(target, 0.01), 0.99))
    return candidates(analysis, replace(settings.without_budget(), ratio=ratio, scope="layer"))


def _own(candidate: Candidate, settings: Settings) -> int:
    return kept_count(quota(candidate, candidate.group.size * candidate.ratio, settings))


# ---------------------------------------------------------------- one group
@dataclass(frozen=True, slots=True)
class _Stairs:
    """The counts that a group may keep, from all of its channels down, and the loss at each, made convex."""

    counts: tuple[int, ...]
    losses: Floats


def _stairs(candidate: Candidate, settings: Settings, curve: Floats) -> _Stairs:
    counts = _counts(candidate, settings)
    gone = candidate.group.size - np.array(counts)
    corners = _hull(gone, curve[gone])
    return _Stairs(tuple(counts), np.interp(gone, gone[corners], curve[gone[corners]]))


def _counts(candidate: Candidate, settings: Settings) -> list[int]:
    size, granule = candidate.group.size, candidate.granule
    least = quota(candidate, 0.0, settings).least
    stride = granule * max(1, math.ceil(size / granule / LEVELS))
    return [size, *(n for n in range((size - 1) // granule * granule, 0, -stride) if n >= least)]


def _hull(x: NDArray[np.int64], y: Floats) -> list[int]:
    """The corners of the lower convex hull of points in ascending x."""
    corners: list[int] = []
    for k in range(len(x)):
        while len(corners) > 1:
            a, b = corners[-2:]
            if (y[b] - y[a]) * (x[k] - x[b]) < (y[k] - y[b]) * (x[b] - x[a]):
                break
            corners.pop()
        corners.append(k)
    return corners


# ---------------------------------------------------------------- all of them
def _steps(costs: _Costs, stairs: Mapping[int, _Stairs]) -> Iterator[tuple[int, int]]:
    """(group, new count) of each step, the cheapest first; a group's price is fetched anew when a neighbour shrank."""
    at = dict.fromkeys(stairs, 0)
    version = dict.fromkeys(stairs, 0)
    heap: list[tuple[float, int, int]] = []

    def price(group: int) -> None:
        stair, k = stairs[group], at[group] + 1
        version[group] += 1
        if k < len(stair.counts):
            saved = costs.saved(group, stair.counts[k])
            loss = float(stair.losses[k] - stair.losses[k - 1])
            heapq.heappush(heap, (loss / saved if saved > 0 else math.inf, group, version[group]))

    for group in stairs:
        price(group)
    while heap:
        slope, group, stamp = heapq.heappop(heap)
        if stamp != version[group]:
            continue
        if math.isinf(slope):  # nothing that is left saves anything
            return
        at[group] += 1
        count = stairs[group].counts[at[group]]
        costs.set(group, count)
        yield group, count
        for other in costs.touched(group) & stairs.keys():
            price(other)


class _Costs:
    """A sum of products of axis sizes, kept up to date while groups shrink."""

    def __init__(self, analysis: Analysis, terms: Sequence[Term], scores: Mapping[int, Floats]) -> None:
        self._space = analysis.space
        self._groups: Mapping[int, Group] = {g.id: g for g in analysis.groups}
        self._order = {g.id: np.argsort(scores[g.id], kind="stable") for g in analysis.groups}
        self._alive: dict[int, BoolArray] = {}
        owner = {g.var.id: g.id for g in analysis.groups}
        self._terms = list(_merged(analysis, terms))
        self._of: dict[int, list[int]] = {g: [] for g in self._groups}
        self._near: dict[int, set[int]] = {g: {g} for g in self._groups}
        for k, (_, axes) in enumerate(self._terms):
            here = {owner[v] for axis in axes for v in ids_of(axis) if v in owner}
            for g in here:
                self._of[g].append(k)
                self._near[g] |= here

    def touched(self, group: int) -> set[int]:
        """The groups whose savings depend on the width of this one, itself included."""
        return self._near[group]

    def set(self, group: int, count: int) -> None:
        """Let a group keep so many channels."""
        self._alive[self._groups[group].var.id] = self._mask(group, count)

    def saved(self, group: int, count: int) -> float:
        """What it would save to let a group keep so many channels."""
        then = {**self._alive, self._groups[group].var.id: self._mask(group, count)}
        return sum(self._size(k, self._alive) - self._size(k, then) for k in self._of[group])

    def _size(self, term: int, alive: Mapping[int, BoolArray]) -> float:
        weight, axes = self._terms[term]
        return weight * math.prod(self._space.size(axis, alive) for axis in axes)

    def _mask(self, group: int, count: int) -> BoolArray:
        mask = np.ones(self._groups[group].size, bool)
        mask[self._order[group][: len(mask) - count]] = False
        return mask


def _merged(analysis: Analysis, terms: Sequence[Term]) -> Iterator[Term]:
    """Terms of the same axes as one; axes that no group lies on become part of the weight."""
    total: dict[tuple[Axis, ...], float] = {}
    groups = {g.var.id for g in analysis.groups}
    for weight, axes in terms:
        free = []
        for axis in map(analysis.space.find, axes):
            if groups.isdisjoint(ids_of(axis)):
                weight *= axis.size
            else:
                free.append(axis)
        total[tuple(free)] = total.get(tuple(free), 0.0) + weight
    yield from ((weight, axes) for axes, weight in total.items() if axes)


def channel_terms(analysis: Analysis, settings: Settings) -> list[Term]:
    """Channels as terms of a cost: of the groups that can lose some and have no ratio of their own.

    A head counts by its width.
    """
    found = [c for c in candidates(analysis, replace(settings, scope="layer")) if not c.own]
    free = [c.group for c in found if len(_counts(c, settings)) > 1]
    known = [g.var for g in analysis.groups]
    made = (part for group in free for axis in producers(analysis, group) for part in _multiplied(axis, known))
    wanted = {g.var for g in free}
    return [(1.0, tuple(v for v in known if v in part)) for part in dict.fromkeys(made) if part & wanted]


def _multiplied(axis: Axis, known: Sequence[Var]) -> Iterator[frozenset[Var]]:
    """The groups' variables that the channels of an axis are products of, for each of the parts that it is made of."""
    if isinstance(axis, Var):
        yield frozenset({axis}.intersection(known))
    elif isinstance(axis, Pick):
        yield from _multiplied(axis.source, known)
    elif isinstance(axis, Concat):
        for part in axis.parts:
            yield from _multiplied(part, known)
    elif isinstance(axis, Product):
        for chosen in itertools.product(*(dict.fromkeys(_multiplied(part, known)) for part in axis.parts)):
            yield frozenset().union(*chosen)


def mac_terms(analysis: Analysis) -> list[Term]:
    """Multiply-accumulates as terms of a cost."""
    return [(1.0, tuple(axes)) for _, effect in analysis.effects for axes in effect.macs]


def weight_terms(analysis: Analysis, worth: Mapping[str, float]) -> list[Term]:
    """Numbers in constants as terms of a cost, each number of a tensor worth what `worth` says by its name.

    A tensor whose uses lie on different axes may have to be stored once for each of them.
    """
    uses: dict[tuple[str, tuple[Axis, ...]], float] = {}
    for slot in analysis.slots:
        if slot.tensor in worth:
            uses[slot.tensor, tuple(map(analysis.space.find, slot.axes))] = worth[slot.tensor]
    return [(weight, axes) for (_, axes), weight in uses.items()]


def time_terms(analysis: Analysis, seconds: Mapping[int, float]) -> list[Term]:
    """Time as terms of a cost, from the seconds of each node by its index: in proportion to what a node multiplies, or
    else to the size of its result. What the shortest node takes is the price of a call, which no cut lowers."""
    call = min(seconds.values(), default=0.0)
    found: list[Term] = []
    for node, effect in analysis.effects:
        spent = seconds.get(node.index, 0.0) - call
        products = effect.macs or tuple(t.axes for t in effect.outputs[:1] if t.axes is not None)
        whole = sum(math.prod(axis.size for axis in axes) for axes in products)
        if spent > 0 and whole and not node.subgraphs:  # the nodes of a body stand for themselves
            found.extend((spent / whole, tuple(axes)) for axes in products)
    return found

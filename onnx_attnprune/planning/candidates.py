"""Which groups may lose channels, what share of them, and in what multiples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from onnx_attnprune.axes import Axis, Concat, Pick, Product, Var, leaves
from onnx_attnprune.grouping import Analysis, Group, residual_streams
from onnx_attnprune.planning.settings import Settings, is_meant, matching


@dataclass(frozen=True, slots=True)
class Candidate:
    """A group that may lose channels.

    ratio: its share of them (0 where a threshold decides). own: the ratio is one that a pattern gave to this group.
    granule: the multiple that its kept count is rounded to.
    """

    group: Group
    ratio: float
    own: bool
    granule: int


def candidates(analysis: Analysis, settings: Settings) -> list[Candidate]:
    """The groups that the settings let lose channels; those that had better stay whole only where `include` means
    their own name, and so for residual streams that are to be kept (there a pattern of `layer_ratios` does as well).

    Raises SettingsError for a pattern that matches none.
    """
    groups = analysis.groups
    allowed = {g.id for g in groups if not g.spared}
    if settings.include:
        allowed = set().union(*(matching(p, groups, "--include") for p in settings.include))
        allowed -= {g.id for g in groups if g.spared and not any(is_meant(p, g.name) for p in settings.include)}
    if settings.streams == "keep":
        named = (*settings.include, *(pattern for pattern, _ in settings.layer_ratios))
        streams = residual_streams(analysis)
        allowed -= {g.id for g in groups if g.id in streams and not any(is_meant(p, g.name) for p in named)}
    for pattern in settings.exclude:
        allowed -= matching(pattern, groups, "--exclude")
    own: dict[int, float] = {}
    for pattern, ratio in settings.layer_ratios:
        own.update(dict.fromkeys(matching(pattern, groups, "--layer-ratio"), ratio))
    # A group's own name means that group, though it may also be the name of a tensor that another group lies in.
    by_name = dict(settings.layer_ratios)
    own.update({g.id: by_name[g.name] for g in groups if g.name in by_name})
    base = settings.ratio or 0.0
    shares = _shares(analysis, {g.id: own.get(g.id, base) for g in groups}, settings, allowed)
    return [
        Candidate(group, shares[group.id], group.id in own, granule(analysis, group, settings.round_to))
        for group in groups
        if group.id in allowed and group.id in shares
    ]


def _shares(analysis: Analysis, ratios: Mapping[int, float], settings: Settings, allowed: Set[int]) -> dict[int, float]:
    """The share that each group loses; where channels are products of two groups, one of them is left whole."""
    inner_of = _products(analysis)
    inner = set().union(*inner_of.values()) if inner_of else set()
    shares = dict(ratios)
    for outer in inner_of.keys() - inner:
        mode = settings.attention
        if mode == "auto":
            # Few heads can't lose a third of them: then every head loses some of its width.
            size = analysis.groups[outer].size
            off = abs(round(size * ratios[outer]) / size - ratios[outer])
            mode = "heads" if off <= 0.1 or not inner_of[outer] <= allowed else "head-dims"
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


def _products(analysis: Analysis) -> dict[int, set[int]]:
    """For each group the groups that its channels are multiplied with, from the inside, on the axis of a producer."""
    inner_of: dict[int, set[int]] = {}
    id_of = {g.var: g.id for g in analysis.groups}
    for group in analysis.groups:
        for member in group.members:
            if member.role == "producer":
                for outer, inner in _nested(analysis.space.find(member.slot.axes[member.axis]), id_of):
                    inner_of.setdefault(outer, set()).add(inner)
    return inner_of


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


def granule(analysis: Analysis, group: Group, multiple: int) -> int:
    """How many channels of the group make a multiple of `multiple` channels of the axes that it makes."""
    spans = [span for axis in producers(analysis, group) for span in _spans(axis, group.var, 1)]
    common = math.gcd(*spans) if spans else 1
    return multiple // math.gcd(multiple, common)


def producers(analysis: Analysis, group: Group) -> list[Axis]:
    """The axes of weights that make the group's channels, each once."""
    made = (m.slot.axes[m.axis] for m in group.members if m.role == "producer")
    return list(dict.fromkeys(map(analysis.space.find, made)))


def _spans(axis: Axis, var: Var, factor: int) -> Iterator[int]:
    """How many channels of an axis go with one channel of a variable, at each place where it stands."""
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

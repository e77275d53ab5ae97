"""How many channels each group keeps: budgets, floors, and rounding to multiples so that the whole meets the budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

SLACK = 0.1  # of a group's size: what rounding may take from it, or leave it, beside what was asked for
_TINY = 1e-9  # room for float rounding: 0.3 * 10 is not 3


@dataclass(frozen=True, slots=True)
class Quota:
    """What is asked of one group.

    wanted: how many of its `size` channels should go, before rounding. granule: kept counts are multiples of it (or the
    whole size). least: what it keeps at least, 1 or more. gone: how many earlier stages have removed already. shared:
    what rounding takes from it too much or too little, other such groups make up for.
    """

    size: int
    wanted: float
    granule: int = 1
    least: int = 1
    gone: int = 0
    shared: bool = True


def kept_counts(quotas: Sequence[Quota]) -> list[int]:
    """How many channels each group keeps.

    Rounding is carried from group to group, in channels, from the coarsest (fewest granules) to the finest, so that the
    channels of all shared groups together come as close to what was asked for as the groups' bounds allow.
    """
    counts = [0] * len(quotas)
    owed = 0.0  # channels that shared groups before this one kept too few (above 0) or too many
    for k in sorted(range(len(quotas)), key=lambda k: quotas[k].size / quotas[k].granule):
        quota = quotas[k]
        counts[k] = kept_count(quota, owed if quota.shared else 0.0)
        if quota.shared:
            owed += _asked(quota) - counts[k]
    return counts


def kept_count(quota: Quota, owed: float = 0.0) -> int:
    """How many channels one group keeps: the multiple nearest to what was asked for plus `owed`.

    Only multiples within `SLACK` of what was asked for, or the next one above it, are taken; where these would leave
    the group whole, the one below too, if it is nearer than the whole size.
    """
    most = quota.size - quota.gone
    if quota.wanted <= quota.gone:
        return most if not quota.gone else _aligned(quota, most)
    options = _options(quota)
    target = _asked(quota) + owed
    return min(options, key=lambda n: (abs(n - target), -n)) if options else _aligned(quota, most)


def _options(quota: Quota) -> list[int]:
    size, granule, asked = quota.size, quota.granule, _asked(quota)
    room = SLACK * size + _TINY
    low = max(quota.least, 1, math.ceil(asked - room))
    above = math.ceil((asked - _TINY) / granule) * granule
    high = min(max(above, math.floor(asked + room)), size - quota.gone)
    options = list(range(math.ceil(low / granule) * granule, high + 1, granule))
    if not quota.gone and above >= size and size not in options:
        options.append(size)
    below = math.floor((asked + _TINY) / granule) * granule
    if not any(n < size for n in options) and below >= max(quota.least, 1) and asked - below <= size - asked:
        options.append(below)
    return options


def _aligned(quota: Quota, most: int) -> int:
    """The largest multiple up to `most`; `most` itself where that would fall under the floor."""
    multiple = most // quota.granule * quota.granule
    return multiple if multiple >= max(quota.least, 1) else most


def _asked(quota: Quota) -> float:
    """What a group should keep before rounding, within its floor and what is left of it."""
    most = quota.size - quota.gone
    return max(min(quota.size - quota.wanted, most), min(quota.least, most), min(1, most))

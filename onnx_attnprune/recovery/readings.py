"""How the channels of a group lie in the rows that its consumers read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import BoolArray, leaves
from onnx_attnprune.grouping import Analysis, Group
from onnx_attnprune.recovery.consumers import Operands
from onnx_attnprune.recovery.jobs import Job, Views, by_weight, jobs_of, views_of
from onnx_attnprune.recovery.least_squares import RIDGE, WAVE_BYTES
from onnx_attnprune.recovery.rows import Array, Moments, View
from onnx_attnprune.scoring import owners

WIDEST = 4608  # columns (512 channels times 9 taps) of inputs whose covariance a criterion looks at
Owner = NDArray[np.int64]
Kind = TypeVar("Kind", np.int64, np.bool_)


@dataclass(frozen=True, slots=True)
class Reading:
    """One consumer of a group's channels, or all that share a weight and lose the same of it.

    job: the first of them; uses: all of them.
    owner [groups, columns]: the channel that each column of its rows belongs to, -1 for those of other groups. here
    [groups, columns]: which columns earlier removals left. outputs [output channels]: which of its results they left.
    """

    job: Job
    owner: Owner
    here: BoolArray
    outputs: BoolArray
    uses: tuple[Job, ...]

    @property
    def views(self) -> Views:
        """Where the rows come from."""
        return views_of(self.uses)

    def weights(self) -> Array:
        """The weight of the results that are left, [groups, columns, outputs]; those that are gone are zero."""
        left = self.outputs.reshape(len(self.job.weight), 1, -1)
        return np.where(left, self.job.weight, 0.0)


def readings_of(
    analysis: Analysis, groups: Sequence[Group], alive: Mapping[int, BoolArray], widest: int | None = None
) -> dict[int, list[Reading]]:
    """By group id the consumers that can be refitted, of at most `widest` columns; `alive`: what earlier removals left.

    A group with a single channel left has none: nothing of it can go.
    """
    by_var, operands = {g.var.id: g for g in groups}, Operands(analysis)
    found: dict[int, list[Reading]] = {g.id: [] for g in groups}
    for uses in by_weight(jobs_of(analysis, probed(groups, alive))[0]):
        job = uses[0]
        if (widest is not None and job.view.columns > widest) or job.consumer.linear.inner:  # no error at a result
            continue
        node, linear, channel = job.consumer.node, job.consumer.linear, job.consumer.channel
        data, result = operands.axes(node, linear.data) or (), analysis.tensors[node.outputs[0]].axes or ()
        axis = analysis.space.find(data[channel])
        here = _wide(analysis.space.mask(axis, alive), job.view)
        outputs = analysis.space.mask(result[channel], alive)
        for var in sorted({v.id for v in leaves(axis) if v.id in by_var}):
            group = by_var[var]
            own = np.max(list(owners(axis, group.var)), axis=0)
            found[group.id].append(Reading(job, _wide(own, job.view), here, outputs, tuple(uses)))
    return found


def probed(groups: Sequence[Group], alive: Mapping[int, BoolArray]) -> dict[int, BoolArray]:
    """What is left once every group loses one more channel, where it has two: its consumers then show."""
    probe = dict(alive)
    for group in groups:
        mask = alive.get(group.var.id, np.ones(group.size, bool)).copy()
        if np.count_nonzero(mask) > 1:
            mask[np.flatnonzero(mask)[0]] = False
            probe[group.var.id] = mask
    return probe


def _wide(per_channel: NDArray[Kind], view: View) -> NDArray[Kind]:
    """What is known of each input channel for each column, [groups, columns]."""
    return np.repeat(per_channel, view.columns * view.groups // view.channels).reshape(view.groups, view.columns)


def in_waves(
    analysis: Analysis, groups: Sequence[Group], alive: Mapping[int, BoolArray], widest: int | None = None
) -> Iterator[list[Group]]:
    """Groups in their order, cut where the moments of what their consumers read would take too much memory."""
    readings = readings_of(analysis, groups, alive, widest)
    views = {k: {r.views: r.job.view for r in found} for k, found in readings.items()}
    wave: list[Group] = []
    held: dict[Views, View] = {}
    for group in groups:
        both = held | views[group.id]
        if wave and sum(16 * v.groups * v.columns**2 for v in both.values()) > WAVE_BYTES:
            yield wave
            wave, both = [], views[group.id]
        wave.append(group)
        held = both
    if wave:
        yield wave


def steadied(covariance: Array, rows: int) -> Array:
    """A covariance with a pull towards its diagonal.

    With few rows a covariance predicts every column from the others; pulled towards its diagonal, it does not.
    """
    ridge = max(RIDGE, len(covariance) / (10 * max(rows, 1)))
    found: Array = covariance.copy()
    found.flat[:: len(found) + 1] += ridge * max(float(np.trace(covariance)) / len(covariance), 1e-30)
    return found


def pooled(seen: Moments, unseen: Moments) -> Moments:
    """The moments of the rows of both."""
    if not unseen.rows:
        return seen
    rows = seen.rows + unseen.rows
    share, rest = seen.rows / rows, unseen.rows / rows
    away = unseen.mean - seen.mean
    covariance = seen.covariance * share
    for start in range(0, len(away), 512):  # see `Gathering.moments`
        part = slice(start, start + 512)
        covariance[part] += rest * unseen.covariance[part] + share * rest * np.outer(away[part], away)
    return Moments(share * seen.mean + rest * unseen.mean, covariance, rows)

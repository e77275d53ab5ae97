"""Criterion "obs": the order in which channels go so that the refitted consumers lose least (RECOVERY.md, formula 3).

With G the inverse covariance of a consumer's input and W its weight, the error that the removal of channel j adds after
a refit of the others is tr(W_j^T (G_jj)^-1 W_j), where j stands for all columns of the channel (a convolution has one
a tap). The least goes, and W -= G_:j (G_jj)^-1 W_j, G -= G_:j (G_jj)^-1 G_j: make the refit: then the next is looked
for. The running sum is the error at each width. Source: Hassibi and Stork, "Second order derivatives for network
pruning: Optimal Brain Surgeon" (1993), there for single weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.grouping import Analysis, Group
from onnx_attnprune.recovery.consumers import Consumer
from onnx_attnprune.recovery.energies import Seen, seen_of
from onnx_attnprune.recovery.factored import inverted
from onnx_attnprune.recovery.gathered import Gathered
from onnx_attnprune.recovery.greedy import Part, greedy, part_of
from onnx_attnprune.recovery.jobs import Views
from onnx_attnprune.recovery.least_squares import AllMoments
from onnx_attnprune.recovery.readings import WIDEST, Reading, in_waves, pooled, readings_of, steadied
from onnx_attnprune.recovery.rows import Array
from onnx_attnprune.recovery.sampled import Errors, sampled


@sampled("obs")
def obs(analysis: Analysis, alive: Mapping[int, BoolArray], gathered: Gathered) -> Errors:
    """The running sum of the errors in the greedy order.

    A consumer that the repair can't refit, or whose input has more than WIDEST columns, is taken into account as if its
    channels were uncorrelated.
    """
    found: Errors = {}
    for wave in in_waves(analysis, analysis.groups, alive, WIDEST):
        readings = readings_of(analysis, wave, alive, WIDEST)
        moments = gathered.moments(analysis.graph.model, (r.views for g in wave for r in readings[g.id]))
        refitted = {job.consumer.node.index for g in wave for r in readings[g.id] for job in r.uses}
        others = _others(analysis, wave, alive, gathered, refitted)
        inverse = _Inverse(moments)
        for group in wave:
            parts = [p for r in readings[group.id] for p in _parts(r, inverse)]
            parts += [_plain(seen) for seen in others.get(group.id, ()) if (seen.owner >= 0).any()]
            if parts:
                order, added = greedy(parts, group.size)
                found[group.id] = np.zeros(group.size)
                found[group.id][order] = np.cumsum(added)
    return found


def _others(
    analysis: Analysis, wave: Sequence[Group], alive: Mapping[int, BoolArray], gathered: Gathered, done: set[int]
) -> dict[int, list[Seen]]:
    def wanted(consumer: Consumer) -> bool:
        return consumer.node.index not in done

    return seen_of(analysis, wave, alive, gathered.calibration, wanted)


class _Inverse:
    """Covariances and their inverses over the columns that are left; groups that one consumer reads share them."""

    def __init__(self, moments: AllMoments) -> None:
        self._moments = moments
        self._found: dict[tuple[Views, int, bytes], Array] = {}

    def covariance(self, views: Views, part: int) -> Array:
        """For one part of the channels, [columns, columns]."""
        every = pooled(*self._moments[views][part])
        return steadied(every.covariance, every.rows)

    def of(self, views: Views, part: int, here: BoolArray, covariance: Array) -> Array:
        """For one part of the channels and its covariance, [columns that are left, columns that are left]."""
        key = views, part, here.tobytes()
        if key not in self._found:
            self._found[key] = inverted(covariance if here.all() else covariance[np.ix_(here, here)])
        return self._found[key]


def _parts(reading: Reading, inverse: _Inverse) -> list[Part]:
    """What a consumer has of a group: one part for each of the parts that a grouped convolution falls into."""
    views, found, total = reading.views, [], 0.0
    for k, (w, here, owner) in enumerate(zip(reading.weights(), reading.here, reading.owner, strict=True)):
        covariance = inverse.covariance(views, k)
        total += float(np.einsum("io,io->", w, covariance @ w))
        mine = owner[here] >= 0
        if mine.any():
            precision, refitted = inverse.of(views, k, here, covariance), w[here]
            if not here.all():
                refitted = refitted + precision @ (covariance[np.ix_(here, ~here)] @ w[~here])
            own = precision if mine.all() else precision[np.ix_(mine, mine)]
            found.append((own, refitted[mine], owner[here][mine]))
    return [part_of(p, w / max(total, 1e-30) ** 0.5, owner) for p, w, owner in found]


def _plain(seen: Seen) -> Part:
    """A consumer of uncorrelated channels."""
    mine = seen.owner >= 0
    variance = np.maximum(seen.variance[mine], 1e-30)
    return part_of(np.diag(1 / variance), seen.weight[mine] / max(seen.total, 1e-30) ** 0.5, seen.owner[mine])

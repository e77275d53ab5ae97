"""What the removal of channels costs a network after repair, group by group (RECOVERY.md, formulas 3 and 6).

With the columns of a consumer's input in an order in which those that go come last, and L the Cholesky factor of their
covariance in that order, the error that least squares leaves when the last k columns go is the sum of squares of the
last k rows of L^T W: the Schur complement that formula 3 speaks of is L_PP L_PP^T, whatever k is. One factorisation
gives the whole curve. It is an error at a consumer, relative to its output's variance. How much of it arrives at the
outputs of the network is measured twice for every group, with half and with three quarters of its channels gone and
repaired, and the curve is bent to both: output error = a * error ** b. (With the first alone, deep cuts look too cheap:
measured on the networks of models/, that lost to equal shares at 0.2 to 0.3 of the MACs.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune import surgery
from onnx_attnprune.graph import ModelProto, with_outputs
from onnx_attnprune.grouping import Analysis, Group, alive_of
from onnx_attnprune.planning import emptied
from onnx_attnprune.recovery.calibration import Calibration, Feeds
from onnx_attnprune.recovery.consumers import Operands
from onnx_attnprune.recovery.least_squares import RIDGE, WAVE_BYTES, Job, gather, jobs_of, mend, ridge_for
from onnx_attnprune.recovery.rows import Array, Moments, View
from onnx_attnprune.runtime import Session
from onnx_attnprune.scoring import owners

Order = NDArray[np.int64]  # a group's channels, the first to go first
AllMoments = Mapping[View, list[tuple[Moments, Moments]]]
LEAST = 1e-12  # of a relative error: what is smaller is rounding
PROBED = (0.5, 0.75)  # shares of a group's channels whose removal is measured at the outputs
POWERS = (0.5, 6.0)  # within which the error at the outputs follows that at the consumers


@dataclass(frozen=True, slots=True)
class _Case:
    """A group, the order in which its channels go, and how the consumers that can be refitted read them."""

    group: Group
    order: Order
    views: tuple[View, ...]

    def removed(self, share: float) -> dict[int, tuple[int, ...]]:
        """What goes with this share of the channels."""
        return {self.group.id: tuple(self.order[: int(self.group.size * share)].tolist())}


def losses_of(
    analysis: Analysis,
    order: Mapping[int, Order],
    calibration: Calibration,
    samples: int,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[int, Array]:
    """For each group the loss when its first k channels in `order` go: [size + 1], from 0 up.

    The loss is the mean squared error of the network's outputs over their variance, as far as one group alone can tell;
    `samples` of the calibration data measure it. Where so much of a group can't go, the curve stays that of its
    consumers. Raises ModelError where the network does not run on the samples.
    """
    probe = _Probe(analysis, calibration, samples)
    found: dict[int, Array] = {}
    for wave in _waves([_case(analysis, g, order[g.id]) for g in analysis.groups]):
        views = list(dict.fromkeys(view for case in wave for view in case.views))
        moments = gather(analysis.graph.model, views, calibration) if views else {}
        for case in wave:
            tell(f"error of group {len(found) + 1} of {len(analysis.groups)}")
            found[case.group.id] = _loss(analysis, case, moments, probe)
    return found


def _case(analysis: Analysis, group: Group, order: Order) -> _Case:
    jobs = _jobs(analysis, {group.id: tuple(order[:1].tolist())})
    return _Case(group, order, tuple(dict.fromkeys(job.view for job in jobs)))


def _jobs(analysis: Analysis, removed: Mapping[int, Sequence[int]]) -> list[Job]:
    return jobs_of(analysis, alive_of(analysis.groups, removed))[0]


def _waves(cases: Sequence[_Case]) -> list[list[_Case]]:
    """Cases whose moments fit into memory together."""
    waves: list[list[_Case]] = [[]]
    room = WAVE_BYTES
    for case in cases:
        size = sum(16 * view.groups * view.columns**2 for view in case.views)
        if waves[-1] and size > room:
            waves.append([])
            room = WAVE_BYTES
        waves[-1].append(case)
        room -= size
    return waves


def _loss(analysis: Analysis, case: _Case, moments: AllMoments, probe: _Probe) -> Array:
    curve = _curve(analysis, case, moments)
    points = []
    for share in PROBED:
        removed = case.removed(share)
        count = len(removed[case.group.id])
        if count and count < case.group.size and not emptied(analysis, removed):
            points.append((float(curve[count]), probe.error(_jobs(analysis, removed), removed, moments)))
    return bent(curve, points)


def bent(curve: Array, points: Sequence[tuple[float, float]]) -> Array:
    """The curve as a * curve ** b, so that it goes through one or two points (error at consumers, at the outputs)."""
    if not points:
        return curve
    (x, y), (u, v) = ((max(e, LEAST), max(out, LEAST)) for e, out in (points[0], points[-1]))
    power = 1.0
    if u > x * 1.001:
        power = float(np.clip(math.log(v / y) / math.log(u / x), *POWERS))
    return np.asarray(y * (curve / x) ** power)


# ---------------------------------------------------------------- the curve at the consumers
def _curve(analysis: Analysis, case: _Case, moments: AllMoments) -> Array:
    """The relative errors of all consumers, added up; without any consumer, a straight line."""
    size = case.group.size
    rank = np.empty(size, np.int64)
    rank[case.order] = np.arange(size)
    added = np.zeros(size)
    for job in _jobs(analysis, case.removed(PROBED[0])) if size > 1 else []:
        ranks = _ranks(analysis, case.group, job, rank)
        energies, total = np.zeros(size + 1), 0.0
        for w, columns, (seen, _) in zip(job.weight, ranks, moments[job.view], strict=True):
            order = np.argsort(-columns, kind="stable")
            energy = _energies(w[order], seen.covariance[np.ix_(order, order)], seen.rows)
            energies += np.bincount(columns[order], energy, size + 1)
            total += float(energy.sum())
        added += energies[:size] / max(total, 1e-30)
    if not added.any():
        added[:] = 1 / size
    return np.concatenate([[0.0], np.cumsum(added)])


def _ranks(analysis: Analysis, group: Group, job: Job, rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """When each column of a consumer's rows goes, [groups, columns]; the group's size for one that is another's."""
    consumer, view = job.consumer, job.view
    axis = (Operands(analysis).axes(consumer.node, consumer.linear.data) or ())[consumer.channel]
    own = np.max(list(owners(analysis.space.find(axis), group.var)), axis=0)
    when = np.where(own >= 0, rank[own], group.size)
    return np.repeat(when, view.columns * view.groups // view.channels).reshape(view.groups, view.columns)


def _energies(w: Array, covariance: Array, rows: int) -> Array:
    """What each column adds to the error once it goes, where those after it are gone already."""
    # With few rows a covariance predicts every column from the others: pulled towards its diagonal, it does not.
    ridge = max(RIDGE, len(covariance) / (10 * max(rows, 1)))
    pull = ridge * max(float(np.trace(covariance)) / len(covariance), 1e-30)
    factor = np.linalg.cholesky(covariance + pull * np.eye(len(covariance)))
    return np.asarray(((factor.T @ w) ** 2).sum(1))


# ---------------------------------------------------------------- what arrives at the outputs
class _Probe:
    """Runs networks on a few samples and compares their outputs with those of the unpruned one."""

    def __init__(self, analysis: Analysis, calibration: Calibration, samples: int) -> None:
        self._analysis, self._calibration = analysis, calibration
        self._runs = calibration.runs[: max(1, samples // _batch(calibration.runs[0]))]
        self._outputs = self._run(analysis.graph.model)

    def error(self, jobs: Sequence[Job], removed: Mapping[int, Sequence[int]], moments: AllMoments) -> float:
        """Mean squared error over variance, of the output that is furthest off, after the repair."""
        alive = alive_of(self._analysis.groups, removed)
        pruned = surgery.prune(self._analysis, alive)
        mend(self._analysis, alive, pruned, jobs, moments, ridge_for(self._calibration))
        errors = [_relative(a, b) for a, b in zip(self._outputs, self._run(pruned), strict=True)]
        return max(errors, default=1.0)

    def _run(self, model: ModelProto) -> list[Array]:
        session = Session(with_outputs(model, []))
        found = [session.run(feeds) for feeds in self._runs]
        names = [name for name, array in found[0].items() if np.issubdtype(array.dtype, np.floating)]
        return [np.concatenate([f[name].astype(np.float64).ravel() for f in found]) for name in names]


def _batch(feeds: Feeds) -> int:
    return next((len(a) for a in feeds.values() if a.ndim), 1)


def _relative(reference: Array, other: Array) -> float:
    if reference.shape != other.shape:
        return 1.0
    off = float(((reference - other) ** 2).mean())
    return off / max(float(reference.var()), 1e-30) if np.isfinite(off) else 1.0

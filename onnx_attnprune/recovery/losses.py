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
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune import surgery
from onnx_attnprune.graph import ModelProto, with_outputs
from onnx_attnprune.grouping import Analysis, Group, alive_of
from onnx_attnprune.planning import emptied
from onnx_attnprune.recovery.calibration import Calibration, Feeds
from onnx_attnprune.recovery.gathered import Gathered
from onnx_attnprune.recovery.jobs import by_weight, jobs_of, views_of
from onnx_attnprune.recovery.least_squares import AllMoments, mend, ridge_for
from onnx_attnprune.recovery.readings import WIDEST, Reading, in_waves, readings_of, steadied
from onnx_attnprune.recovery.rows import Array
from onnx_attnprune.runtime import Session

Order = NDArray[np.int64]  # a group's channels, the first to go first
LEAST = 1e-12  # of a relative error: what is smaller is rounding
PROBED = (0.5, 0.75)  # shares of a group's channels whose removal is measured at the outputs
POWERS = (0.5, 6.0)  # within which the error at the outputs follows that at the consumers


def losses_of(
    analysis: Analysis,
    order: Mapping[int, Order],
    gathered: Gathered,
    samples: int,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[int, Array]:
    """For each group the loss when its first k channels in `order` go: [size + 1], from 0 up.

    The loss is the mean squared error of the network's outputs over their variance, as far as one group alone can tell;
    `samples` of the calibration data measure it. Where so much of a group can't go, the curve stays that of its
    consumers. Raises ModelError where the network does not run on the samples.
    """
    probe = Probe(analysis, gathered.judging, samples)  # a layer that sees few rows fits them whatever it loses
    found: dict[int, Array] = {}
    # What a criterion has looked at last is held still.
    for wave in reversed(list(in_waves(analysis, analysis.groups, {}, WIDEST))):
        readings = readings_of(analysis, wave, {}, WIDEST)
        moments = gathered.moments(analysis.graph.model, (r.views for g in wave for r in readings[g.id]))
        for group in wave:
            tell(f"error of group {len(found) + 1} of {len(analysis.groups)}")
            curve = curve_of(order[group.id], readings[group.id], moments)
            points = [(float(curve[k]), error) for k, error in probe.errors(group, order[group.id], PROBED, moments)]
            found[group.id] = bent(curve, points)
    return found


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
def curve_of(order: Order, readings: Sequence[Reading], moments: AllMoments) -> Array:
    """The error at a group's consumers when its first k channels in `order` are gone: [size + 1], from 0 up.

    It is that of a refit of each width, relative to the variance of what a consumer gives, summed over the consumers;
    without any consumer a straight line to 1.
    """
    size = len(order)
    rank = np.empty(size, np.int64)
    rank[order] = np.arange(size)
    added = np.zeros(size)
    for reading in readings if size > 1 else ():
        energies, total = np.zeros(size + 1), 0.0
        for w, owner, (seen, _) in zip(reading.job.weight, reading.owner, moments[reading.views], strict=True):
            when = np.where(owner >= 0, rank[owner], size)  # columns of other groups stay to the last
            columns = np.argsort(-when, kind="stable")
            energy = _energies(w[columns], steadied(seen.covariance, seen.rows)[np.ix_(columns, columns)])
            energies += np.bincount(when[columns], energy, size + 1)
            total += float(energy.sum())
        added += energies[:size] / max(total, 1e-30)
    if not added.any():
        added[:] = 1 / size
    return np.concatenate([[0.0], np.cumsum(added)])


def _energies(w: Array, covariance: Array) -> Array:
    """What each column adds to the error once it goes, where those after it are gone already."""
    return np.asarray(((np.linalg.cholesky(covariance).T @ w) ** 2).sum(1))


# ---------------------------------------------------------------- what arrives at the outputs
class Probe:
    """Runs networks on a few samples and compares their outputs with those of the unpruned one.

    samples: how many it took.
    """

    def __init__(self, analysis: Analysis, calibration: Calibration, samples: int) -> None:
        self._analysis, self._calibration = analysis, calibration
        batch = _batch(calibration.runs[0])
        self._runs = calibration.runs[: max(1, samples // batch)]
        self.samples = batch * len(self._runs)
        self._outputs = self._run(analysis.graph.model)

    def errors(
        self, group: Group, order: Order, shares: Sequence[float], moments: AllMoments
    ) -> Iterator[tuple[int, float]]:
        """How many channels go and the error that they leave at the outputs, for each share of a group that can go."""
        for share in shares:
            removed = {group.id: tuple(order[: int(group.size * share)].tolist())}
            count = len(removed[group.id])
            if count and count < group.size and not emptied(self._analysis, removed):
                yield count, self._error(removed, moments)

    def _error(self, removed: Mapping[int, Sequence[int]], moments: AllMoments) -> float:
        """The error after the repair of what reads the group."""
        alive = alive_of(self._analysis.groups, removed)
        known = (shared for shared in by_weight(jobs_of(self._analysis, alive)[0]) if views_of(shared) in moments)
        jobs = [job for shared in known for job in shared]
        pruned = surgery.prune(self._analysis, alive)
        mend(self._analysis, alive, pruned, jobs, moments, ridge_for(self._calibration))
        return self.error_of(pruned)

    def error_of(self, pruned: ModelProto) -> float:
        """Mean squared error over variance, of the output of a model that is furthest off."""
        errors = [_relative(a, b) for a, b in zip(self._outputs, self._run(pruned), strict=True)]
        return max(errors, default=1.0)

    def _run(self, model: ModelProto) -> list[Array]:
        session = Session(with_outputs(model, []), threads=self._calibration.threads, shared=True)
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

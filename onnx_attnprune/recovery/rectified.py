"""A fit to what an activation lets through: errors that it hides are no errors.

Behind a rectifier all numbers below zero are the same. So where the unpruned network has one there, the pruned one may
have any other: with Y the target and P what the fit gives, the error is (P - Y)^2 where Y lies within the bounds, and
max(P - low, 0)^2 where Y is below (and likewise above). It is convex. Each round puts in the place of Y the number that
costs the present fit nothing, and solves again with the same covariance, so the error never rises. Source of the aim:
Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and Detection" (2015), section 3.2,
there for low-rank layers and with an auxiliary variable that is penalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.recovery.forms import Array
from onnx_attnprune.recovery.jobs import Job
from onnx_attnprune.recovery.lacking import square_sum
from onnx_attnprune.recovery.least_squares import rows_wanted
from onnx_attnprune.recovery.rows import BLOCK
from onnx_attnprune.recovery.solving import Problem

ROUNDS = 6
MOST_MACS, MOST_BYTES = 30_000_000_000, 1 << 27  # that a layer's rounds and the rows that are kept for them may take
Rows = NDArray[np.float32]


def bytes_of_rows(job: Job) -> int:
    """What the rows of a consumer take, with what it gives and what it lacks."""
    return sum(rows * (columns + 2 * outputs) * 4 for rows, columns, outputs in _sizes(job))


def is_dear(job: Job) -> bool:
    """True for a consumer that is too large for such a fit."""
    macs = sum(2 * ROUNDS * rows * columns * outputs for rows, columns, outputs in _sizes(job))
    return macs > MOST_MACS or bytes_of_rows(job) > MOST_BYTES


def _sizes(job: Job) -> list[tuple[int, int, int]]:
    """Rows, columns and outputs of each group."""
    outputs = len(job.consumer.outputs) // job.view.groups
    return [(rows_wanted(int(n), 1), int(n), outputs) for n in job.kept.sum(1)]


@dataclass(frozen=True, slots=True)
class Seen:
    """Rows of a fit: x [rows, columns] of the input, `lack` [rows, outputs] of what the result lacks, and `target`
    [rows, outputs], what it should be."""

    x: Rows
    lack: Rows
    target: Rows

    def shown(self, mean: Array, low: float, high: float) -> Shown:
        """The same for the rounds, about the `mean` of x."""
        return Shown(self.x - mean.astype(np.float32), *allowed(self.target, self.lack, low, high))


@dataclass(frozen=True, slots=True)
class Shown:
    """Rows as the rounds of a fit need them: x [rows, columns] about its mean, and what [rows, outputs] may be lacking
    at least and at most: one and the same where all of it shows."""

    x: Rows
    least: Rows
    most: Rows

    def lacking(self, change: Array, mean: Array) -> Rows:
        """What is lacking, but for what makes no difference once `change` and a shift of the `mean` are added."""
        added = self.x @ change.astype(np.float32)
        added += mean.astype(np.float32)
        np.minimum(added, self.most, out=added)
        return np.maximum(added, self.least, out=added)


def allowed(target: Rows, lack: Rows, low: float, high: float) -> tuple[Rows, Rows]:
    """What may be added at least and at most to numbers that lack `lack` to be `target`, so that nothing shows."""
    least, most, present = lack.copy(), lack.copy(), target - lack
    if np.isfinite(low):
        hidden = target < low
        np.copyto(least, -np.inf, where=hidden)
        np.subtract(np.float32(low), present, out=most, where=hidden)
    if np.isfinite(high):
        hidden = target > high
        np.copyto(most, np.inf, where=hidden)
        np.subtract(np.float32(high), present, out=least, where=hidden)
    return least, most


def together(parts: Sequence[Seen]) -> Seen:
    """All rows one below the other."""
    return Seen(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("x", "lack", "target")))


def problem_of(problem: Problem, rows: Shown, lack: Rows) -> Problem:
    """The problem on the same rows with another lack, which is moved about its mean for it."""
    count = max(len(lack), 1)
    sums = [lack[start : start + BLOCK].sum(0) for start in range(0, len(lack), BLOCK)]
    mean = np.asarray(np.sum(sums, axis=0, dtype=np.float64)) / count
    lack -= mean.astype(np.float32)
    cross = (rows.x.T @ lack).astype(np.float64) / count
    return replace(problem, lack=mean, cross=cross, spread=square_sum(lack) / count)


def bounded(
    problems: tuple[Problem, Problem | None], rows: tuple[Seen, Seen | None], bounds: tuple[float, float], ridge: float
) -> tuple[Problem, Problem | None]:
    """The problems, of seen and of unseen rows, whose solution makes the least error that shows within the bounds."""
    (seen, unseen), (mine, others) = problems, rows
    inverse, shown = seen.inverse(ridge), mine.shown(seen.mean, *bounds)
    change = inverse @ seen.cross
    for _ in range(ROUNDS - 1):
        seen = problem_of(seen, shown, shown.lacking(change, seen.lack))
        change = inverse @ seen.cross
    if unseen is not None and others is not None:
        checked = others.shown(seen.mean, *bounds)  # about this mean too: what is lacking is about its own
        unseen = problem_of(unseen, checked, checked.lacking(change, seen.lack))
    return seen, unseen

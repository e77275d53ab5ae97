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
from onnx_attnprune.recovery.least_squares import rows_wanted
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

    def lacking(self, low: float, high: float, change: Array, shift: Array) -> Rows:
        """What it lacks, but for what makes no difference once `change` and `shift` are added."""
        added = self.x @ change.astype(np.float32) + shift.astype(np.float32)
        present = self.target - self.lack
        fitted = present + added
        wanted = np.where(self.target < low, np.minimum(fitted, low), self.target)
        wanted = np.where(self.target > high, np.maximum(fitted, high), wanted)
        return np.asarray(wanted - present, np.float32)


def together(parts: Sequence[Seen]) -> Seen:
    """All rows one below the other."""
    return Seen(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("x", "lack", "target")))


def problem_of(problem: Problem, rows: Seen, lack: Rows) -> Problem:
    """The problem on the same rows with another lack."""
    mean = lack.mean(0, dtype=np.float64)
    about = lack - mean.astype(np.float32)
    cross = (rows.x - problem.mean.astype(np.float32)).T @ about / max(len(lack), 1)
    spread = float((about.astype(np.float64) ** 2).sum()) / max(len(lack), 1)
    return replace(problem, lack=mean, cross=cross.astype(np.float64), spread=spread)


def bounded(
    problems: tuple[Problem, Problem | None], rows: tuple[Seen, Seen | None], bounds: tuple[float, float], ridge: float
) -> tuple[Problem, Problem | None]:
    """The problems, of seen and of unseen rows, whose solution makes the least error that shows within the bounds."""
    (seen, unseen), (mine, others) = problems, rows
    inverse = seen.inverse(ridge)
    change, shift, lack = np.zeros_like(seen.cross), np.zeros_like(seen.lack), mine.lack
    for _ in range(ROUNDS):
        seen = problem_of(seen, mine, lack)
        change = inverse @ seen.cross
        shift = seen.lack - seen.mean @ change
        lack = mine.lacking(*bounds, change, shift)
    if unseen is not None and others is not None:
        unseen = problem_of(unseen, others, others.lacking(*bounds, change, shift))
    return seen, unseen

"""The least-squares problem of one group of a consumer: by how much should its weight change?

With X the rows of the channels that are left and T what the result lacks, the change D of the weight and the shift b of
the bias minimise |X D + b - T|^2 + ridge d |D|^2, where d is the mean of the diagonal of X's covariance. A large ridge
means "leave the weight as it is", so that few or foreign samples do no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from onnx_attnprune.recovery.factored import inverted, solved
from onnx_attnprune.recovery.rows import Array, Moments

LEAST = 1e-30
ENOUGH = 10  # rows a column, from which on a covariance needs no shrinkage
STEPS = (1.0, 10.0, 100.0, 1000.0)  # times the least ridge, of which the one that does best on unseen rows is taken


P = TypeVar("P", bound="Posed")


class Posed(Protocol):
    """A problem, whether it is held as moments (`Problem`) or as rows (`few.Few`)."""

    @property
    def rows(self) -> int:
        """How many rows it is made of."""

    @property
    def mean(self) -> Array:
        """That of X, [columns]."""

    @property
    def lack(self) -> Array:
        """The mean of T, [outputs]."""

    @property
    def trace(self) -> float:
        """Of the covariance of X."""

    @property
    def squares(self) -> float:
        """The sum of squares of the covariance of X."""

    def solved(self, ridge: float) -> Array:
        """The change that minimises the error plus `ridge` |D|^2."""

    def error(self, change: Array, shift: Array) -> float:
        """The mean squared length of X D + b - T."""

    def uncentred(self: P) -> P:
        """The same about zero, for a consumer that can't be given a bias."""

    def pooled(self: P, other: P) -> P:
        """The problem of the rows of both."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Moments of rows X [rows, columns] and of what is lacking, T [rows, outputs]: means, the covariance of X, the
    cross-covariance of X and T, and the variance of T summed over the outputs."""

    rows: int
    mean: Array
    covariance: Array
    lack: Array
    cross: Array
    spread: float

    @property
    def trace(self) -> float:
        """Of the covariance of X."""
        return float(np.trace(self.covariance))

    @property
    def squares(self) -> float:
        """The sum of squares of the covariance of X."""
        return float(np.sum(self.covariance * self.covariance))

    def solved(self, ridge: float) -> Array:
        """The change that minimises the error plus `ridge` |D|^2."""
        return solved(self._with(ridge), self.cross)

    def _with(self, ridge: float) -> Array:
        system = self.covariance.copy()
        system.flat[:: len(system) + 1] += ridge
        return np.asarray(system)

    def inverse(self, ridge: float) -> Array:
        """That of the covariance with the ridge on its diagonal, which is relative to the mean variance of a column."""
        return inverted(self._with(ridge * diagonal(self)))

    def error(self, change: Array, shift: Array) -> float:
        """The mean squared length of X D + b - T."""
        varying = self.spread
        if change.any():
            varying += float(np.sum(change * (self.covariance @ change - 2 * self.cross)))
        return max(varying, 0.0) + float(((self.mean @ change + shift - self.lack) ** 2).sum())

    def uncentred(self) -> Problem:
        """The same about zero, for a consumer that can't be given a bias."""
        return Problem(
            self.rows, np.zeros_like(self.mean), self.covariance + np.outer(self.mean, self.mean),
            np.zeros_like(self.lack), self.cross + np.outer(self.mean, self.lack),
            self.spread + float((self.lack**2).sum()),
        )  # fmt: skip  # in the order of the fields

    def pooled(self, other: Problem) -> Problem:
        """The problem of the rows of both."""
        rows = self.rows + other.rows
        parts = [(p.rows / max(rows, 1), p) for p in (self, other)]
        mean, lack = sum(share * p.mean for share, p in parts), sum(share * p.lack for share, p in parts)
        covariance, cross, spread = np.zeros_like(self.covariance), np.zeros_like(self.cross), 0.0
        for share, p in parts:
            away, short = p.mean - mean, p.lack - lack
            covariance += share * (p.covariance + np.outer(away, away))
            cross += share * (p.cross + np.outer(away, short))
            spread += share * (p.spread + float((short**2).sum()))
        return Problem(rows, np.asarray(mean), covariance, np.asarray(lack), cross, spread)


def lost(moments: Moments, kept: np.ndarray[tuple[int], np.dtype[np.bool_]], weight: Array) -> Problem:
    """The problem in which the kept columns have to stand in for the others, times `weight` [columns, outputs]."""
    s, p = np.flatnonzero(kept), np.flatnonzero(~kept)
    c, m, w = moments.covariance, moments.mean, weight[p]
    left, gone = c[s], c[p].take(p, axis=1) @ w  # NumPy takes rows, then columns, in half the time of both at once
    spread = float(np.sum(w * gone))
    return Problem(moments.rows, m[s], left.take(s, axis=1), m[p] @ w, left.take(p, axis=1) @ w, spread)


@dataclass(frozen=True, slots=True)
class Answer:
    """`change` [columns, outputs] of the weight, `shift` [outputs] of the bias; `error`, `before`: the mean squared
    error with them and with the shift of the mean alone, on rows that the fit has not seen."""

    change: Array
    shift: Array
    error: float
    before: float


def shrinkage(problem: Posed) -> float:
    """The least ridge that few rows ask for: that of oracle approximating shrinkage (Chen et al., 2010, eq. 23)."""
    columns, rows = len(problem.mean), max(problem.rows, 1)
    if rows >= ENOUGH * columns:
        return 0.0
    trace, squares = problem.trace, problem.squares
    above = (1 - 2 / columns) * squares + trace**2
    below = (rows + 1 - 2 / columns) * (squares - trace**2 / columns)
    share = min(above / below, 0.999) if below > LEAST else 0.999
    return share / (1 - share)


def diagonal(problem: Posed) -> float:
    """The mean variance of a column."""
    return max(problem.trace / max(len(problem.mean), 1), LEAST)


def solve(problem: Posed, ridge: float) -> Array:
    """The change that minimises the error plus the ridge, which is relative to the mean variance of a column."""
    return problem.solved(ridge * diagonal(problem))


def shift_with(problem: Posed, change: Array, centred: bool) -> Array:
    """The shift of the bias that goes best with a change of the weight."""
    return problem.lack - problem.mean @ change if centred else np.zeros_like(problem.lack)


def settle(seen: Posed, unseen: Posed | None, change: Array, centred: bool) -> Answer:
    """What a change is worth, with the shift that goes with it."""
    shift = shift_with(seen, change, centred)
    plain = seen.lack if centred else np.zeros_like(seen.lack)
    check = seen if unseen is None else unseen
    return Answer(change, shift, check.error(change, shift), check.error(np.zeros_like(change), plain))


def best(seen: P, unseen: P | None, ridge: float, centred: bool) -> Answer:
    """The answer of the ridge that does best on unseen rows; the least one that is safe where there are none.

    Its errors are those of a fit on the seen rows; what it changes is fitted on all of them, by the same ridge.
    """
    least = max(ridge, shrinkage(seen))
    about = seen if centred else seen.uncentred()
    steps: Sequence[float] = STEPS if unseen is not None else STEPS[:1]
    found, chosen = None, 1.0
    for step in steps:
        answer = settle(seen, unseen, solve(about, least * step), centred)
        if found is not None and answer.error >= found.error:
            break  # the error has one valley
        found, chosen = answer, step
    assert found is not None
    if unseen is None:
        return found
    whole = seen.pooled(unseen)  # what was held back has said what the fit is worth, and may teach it now
    change = solve(whole if centred else whole.uncentred(), least * chosen)
    return replace(found, change=change, shift=shift_with(whole, change, centred))

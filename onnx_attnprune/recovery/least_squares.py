"""Recovery "least-squares": each consumer is refitted on the channels that it keeps (RECOVERY.md, formula 1).

With X the consumer's input in the unpruned model, S the columns that are kept and P those that go, the new weight
minimises |X_S W' + b' - X W - b|^2 + lambda d |W' - W_S|^2 (d: mean of the diagonal of the covariance). In terms of
the change of the weight: W' = W_S + (C_SS + lambda d I)^-1 C_SP W_P and b' = b + mu_P W_P - mu_S (W' - W_S), where C
is the covariance of X and mu its mean. Pulling towards the old weight, rather than towards zero, makes a large lambda
mean "leave it", so that few or foreign samples do no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import ModelProto, with_outputs
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.consumers import Consumer, consumers_of
from onnx_attnprune.recovery.means import Constants
from onnx_attnprune.recovery.rows import Array, Gathering, Moments, View, rows_of, view_of
from onnx_attnprune.runtime import Session

Feeds = Mapping[str, NDArray[Any]]
ROWS_PER_COLUMN, LEAST_ROWS = 12, 4096


@dataclass(frozen=True, slots=True)
class Fit:
    """What least squares found for a consumer: `change` [groups, columns, outputs of a group] of its weight (zero where
    channels go) and `shift` [outputs] of its bias; `error`, `before`: mean squared error of its output with the fit and
    with the shift of the mean alone, on samples that the fit has not seen."""

    job: Job
    change: Array
    shift: Array
    error: float
    before: float


@dataclass(frozen=True, slots=True)
class Job:
    """A consumer that can be refitted: its weight as [groups, columns, outputs of a group], and how it reads."""

    consumer: Consumer
    weight: Array
    view: View
    kept: BoolArray


def jobs_of(analysis: Analysis, alive: Mapping[int, BoolArray]) -> tuple[list[Job], list[str]]:
    """The consumers that can be refitted, and a note for each that can't."""
    constants, jobs, notes = Constants(analysis), [], []
    for consumer in consumers_of(analysis, alive):
        name = consumer.node.inputs[consumer.linear.weight]
        weight = constants.array(name)
        view = None if weight is None else view_of(consumer, weight)
        if weight is None or view is None:
            notes.append(
                f"{consumer.node.name}: not refitted ({'computed weight' if weight is None else 'its patches'})"
            )
            continue
        jobs.append(Job(consumer, _as_matrix(consumer, weight, view), view, _kept_columns(consumer, view)))
    return jobs, notes


def _as_matrix(consumer: Consumer, weight: Array, view: View) -> Array:
    if consumer.channel == -1:
        alpha = float(consumer.node.attr("alpha", 1.0))
        return alpha * (weight if consumer.linear.out == 1 else weight.T)[None]
    grouped = weight.reshape(view.groups, -1, view.columns)
    return grouped.transpose(0, 2, 1)


def _kept_columns(consumer: Consumer, view: View) -> BoolArray:
    """Which columns survive, [groups, columns]."""
    taps = view.columns * view.groups // view.channels
    return np.repeat(~consumer.removed, taps).reshape(view.groups, view.columns)


def gather(
    model: ModelProto, views: Sequence[View], batches: Callable[[], Iterator[Feeds]], count: int, seed: int = 0
) -> dict[View, list[tuple[Moments, Moments]]]:
    """For each view and group the moments of the rows of three quarters of the batches, and of the others.

    `batches` yields feeds anew at each call; `count` of them are to come. The model runs once over all of them.
    """
    session = Session(with_outputs(model, sorted({v.data for v in views})))
    rng = np.random.default_rng(seed)
    sums = {v: [(Gathering(v.columns), Gathering(v.columns)) for _ in range(v.groups)] for v in views}
    for k, feeds in enumerate(batches()):
        found = session.run(feeds, sorted({v.data for v in views}))
        for view in views:
            wanted = -(-max(ROWS_PER_COLUMN * view.columns, LEAST_ROWS) // count)
            for pair, rows in zip(sums[view], rows_of(view, found[view.data], wanted, rng), strict=True):
                pair[k % 4 == 3].add(rows)
    return {v: [(a.moments(), b.moments()) for a, b in pairs] for v, pairs in sums.items()}


def fit(job: Job, moments: Sequence[tuple[Moments, Moments]], ridge: float) -> Fit:
    """The least-squares change of one consumer's weight and bias; the shift of the mean alone where that does better."""
    change, shifts, plain = np.zeros_like(job.weight), [], []
    error = before = 0.0
    for g, (w, kept, (seen, unseen)) in enumerate(zip(job.weight, job.kept, moments, strict=True)):
        s, p = np.flatnonzero(kept), np.flatnonzero(~kept)
        mean = seen.mean[p] @ w[p]
        if len(s):
            c = seen.covariance
            diagonal = max(float(np.trace(c)) / len(c), 1e-30)
            change[g, s] = np.linalg.solve(c[np.ix_(s, s)] + ridge * diagonal * np.eye(len(s)), c[np.ix_(s, p)] @ w[p])
        gone = np.where(kept[:, None], 0.0, w)
        shift = mean - seen.mean @ change[g]
        check = unseen if unseen.rows else seen
        error += _energy(gone - change[g], check, shift)
        before += _energy(gone, check, mean)
        shifts.append(shift)
        plain.append(mean)
    if error < before:
        return Fit(job, change, np.concatenate(shifts), error, before)
    return Fit(job, np.zeros_like(change), np.concatenate(plain), before, before)


def _energy(w: Array, moments: Moments, shift: Array) -> float:
    """Mean squared size of x w - shift over the rows, summed over the outputs."""
    spread = float(np.einsum("io,io->", w, moments.covariance @ w))
    return spread + float(((moments.mean @ w - shift) ** 2).sum())


def new_weight(fitted: Fit, weight: Array) -> Array:
    """The whole weight of the unpruned model, in its own layout, with the change added."""
    consumer, change = fitted.job.consumer, fitted.change
    if consumer.channel == -1:
        alpha = float(consumer.node.attr("alpha", 1.0))
        matrix = change[0] / alpha
        return weight + (matrix if consumer.linear.out == 1 else matrix.T)
    return np.asarray(weight + change.transpose(0, 2, 1).reshape(weight.shape))

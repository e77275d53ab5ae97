"""Recovery "least-squares": each consumer is refitted on the channels that it keeps (RECOVERY.md, formula 1).

With X the consumer's input in the unpruned model, S the columns that are kept and P those that go, the new weight
minimises |X_S W' + b' - X W - b|^2 + lambda d |W' - W_S|^2 (d: mean of the diagonal of the covariance). In terms of
the change of the weight: W' = W_S + (C_SS + lambda d I)^-1 C_SP W_P and b' = b + mu_P W_P - mu_S (W' - W_S), where C
is the covariance of X and mu its mean. Pulling towards the old weight, rather than towards zero, makes a large lambda
mean "leave it", so that few or foreign samples do no harm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.errors import SettingsError
from onnx_attnprune.graph import ModelProto, with_outputs
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.bias import Biases
from onnx_attnprune.recovery.calibration import Calibration
from onnx_attnprune.recovery.compensate import shift_of
from onnx_attnprune.recovery.consumers import Consumer, consumers_of
from onnx_attnprune.recovery.means import Constants
from onnx_attnprune.recovery.registry import Recovery, recovery
from onnx_attnprune.recovery.rows import Array, Gathering, Moments, View, pooled, rows_of, view_of
from onnx_attnprune.recovery.weights import Weights
from onnx_attnprune.runtime import Session

RIDGE, RIDGE_FOREIGN = 1e-4, 1e-3  # samples of the model's own domain; procedural ones
WAVE_BYTES = 1 << 30  # of moments that are gathered in one run over the samples
ROWS_PER_COLUMN, LEAST_ROWS = 12, 4096


@recovery("least-squares")
def refit(
    analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, calibration: Calibration | None
) -> Recovery:
    """Refit every consumer of removed channels at once, on the inputs that it has in the unpruned model.

    Edits `pruned` in place. Raises SettingsError without calibration samples.
    """
    if calibration is None or not calibration.runs:
        raise SettingsError("least squares needs samples to fit on (--calibrate)")
    jobs, notes = jobs_of(analysis, alive)
    for wave in _waves(jobs):
        moments = gather(analysis.graph.model, list(dict.fromkeys(j.view for j in wave)), calibration)
        mend(analysis, alive, pruned, wave, moments, ridge_for(calibration))
    total = len(jobs) + len(notes)
    return Recovery(pruned, f"least squares on {calibration.source}", total, len(jobs), tuple(notes))


def ridge_for(calibration: Calibration) -> float:
    """How much a fit on these samples is pulled towards the old weight."""
    return RIDGE_FOREIGN if calibration.foreign else RIDGE


def mend(
    analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, jobs: Sequence[Job],
    moments: Mapping[View, list[tuple[Moments, Moments]]], ridge: float,
) -> None:  # fmt: skip  # two lines
    """Refit some consumers of a pruned model, in place, on the moments of what they read."""
    biases, weights = Biases(pruned), Weights(analysis, alive, pruned)
    for shared in _by_weight(jobs):
        found = fit(shared[0], pooled([moments[j.view] for j in shared]), ridge)
        weights.replace([j.consumer for j in shared], found.job.consumer, new_weight(found, weights))
        for job in shared:
            biases.add(shift_of(analysis, job.consumer, found.shift[job.consumer.outputs]))


def _waves(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Jobs in the order of the graph, cut where the moments of one wave would take too much memory."""
    wave: list[Job] = []
    views: dict[View, int] = {}
    for job in jobs:
        size = 16 * job.view.groups * job.view.columns**2
        if wave and job.view not in views and sum(views.values()) + size > WAVE_BYTES:
            yield wave
            wave, views = [], {}
        wave.append(job)
        views[job.view] = size
    if wave:
        yield wave


def _by_weight(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Jobs that share a weight and lose the same of it, as the steps of an unrolled network do, are fitted as one."""
    found: dict[tuple[str, bytes, bytes], list[Job]] = {}
    for job in jobs:
        c = job.consumer
        key = (c.node.inputs[c.linear.weight], c.removed.tobytes(), c.outputs.tobytes())
        found.setdefault(key, []).append(job)
    yield from found.values()


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
    return np.asarray(grouped.transpose(0, 2, 1))


def _kept_columns(consumer: Consumer, view: View) -> BoolArray:
    """Which columns survive, [groups, columns]."""
    taps = view.columns * view.groups // view.channels
    return np.repeat(~consumer.removed, taps).reshape(view.groups, view.columns)


def gather(
    model: ModelProto, views: Sequence[View], calibration: Calibration, seed: int = 0
) -> dict[View, list[tuple[Moments, Moments]]]:
    """For each view and group the moments of its rows: of three quarters of the runs, and of the others.

    The model runs once over the samples.
    """
    names = sorted({v.data for v in views})
    session = Session(with_outputs(model, names))
    rng = np.random.default_rng(seed)
    sums = {v: [(Gathering(v.columns), Gathering(v.columns)) for _ in range(v.groups)] for v in views}
    for k, feeds in enumerate(calibration.runs):
        found = session.run(feeds, names)
        for view in views:
            wanted = -(-max(ROWS_PER_COLUMN * view.columns, LEAST_ROWS) // len(calibration.runs))
            for pair, rows in zip(sums[view], rows_of(view, found[view.data], wanted, rng), strict=True):
                pair[k % 4 == 3].add(rows)
    return {v: [(a.moments(), b.moments()) for a, b in pairs] for v, pairs in sums.items()}


def fit(job: Job, moments: Sequence[tuple[Moments, Moments]], ridge: float) -> Fit:
    """The least-squares change of one consumer's weight and bias; the shift of the mean alone where that is better."""
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


def new_weight(fitted: Fit, weights: Weights) -> Array:
    """The whole weight of the unpruned model, in its own layout, with the change added."""
    consumer, change = fitted.job.consumer, fitted.change
    weight = weights.original(consumer)
    if consumer.channel == -1:
        matrix = change[0] / float(consumer.node.attr("alpha", 1.0))
        return np.asarray(weight + (matrix if consumer.linear.out == 1 else matrix.T))
    return np.asarray(weight + change.transpose(0, 2, 1).reshape(weight.shape))

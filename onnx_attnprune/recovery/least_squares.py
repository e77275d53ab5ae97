"""Recovery "least-squares": each consumer is refitted on the channels that it keeps (RECOVERY.md, formula 1).

With X the consumer's input in the unpruned model, S the columns that are kept and P those that go, the new weight
minimises |X_S W' + b' - X W - b|^2 + lambda d |W' - W_S|^2 (d: mean of the diagonal of the covariance). In terms of
the change of the weight: W' = W_S + (C_SS + lambda d I)^-1 C_SP W_P and b' = b + mu_P W_P - mu_S (W' - W_S), where C
is the covariance of X and mu its mean. Pulling towards the old weight, rather than towards zero, makes a large lambda
mean "leave it", so that few or foreign samples do no harm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import ModelProto, with_outputs
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.calibration import Calibration, runnable
from onnx_attnprune.recovery.few import SMALL
from onnx_attnprune.recovery.jobs import Job, by_weight, jobs_of
from onnx_attnprune.recovery.mending import Fit, Mender, Pair, fitted
from onnx_attnprune.recovery.registry import Limits, Recovery, recovery, samples_of
from onnx_attnprune.recovery.rows import Gathering, Moments, View, pooled, rows_of
from onnx_attnprune.recovery.solving import lost
from onnx_attnprune.runtime import Session

RIDGE, RIDGE_FOREIGN = 1e-4, 1e-3  # samples of the model's own domain; procedural ones
WAVE_BYTES = 1 << 30  # of moments that are gathered in one run over the samples
ROWS_PER_COLUMN, LEAST_ROWS = 12, 16384
UNSEEN = 4  # of so many runs the last is not fitted on, but says whether a fit helps


@recovery("least-squares")
def refit(
    analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, calibration: Calibration | None,
    limits: Limits,
) -> Recovery:  # fmt: skip  # two lines
    """Refit every consumer of removed channels at once, on the inputs that it has in the unpruned model.

    Edits `pruned` in place. Raises SettingsError without calibration samples.
    """
    calibration = samples_of(calibration, "least squares")
    jobs, notes = jobs_of(analysis, alive)
    total = len(jobs) + len(notes)
    jobs = [job for job in jobs if affordable(job, limits, notes)]
    waves = list(waves_of(jobs, limits.moments))
    for k, wave in enumerate(waves):
        limits.tell(f"repair: wave {k + 1} of {len(waves)}, {len(wave)} layers")
        moments = gather(analysis.graph.model, list(dict.fromkeys(j.view for j in wave)), calibration)
        mend(analysis, alive, pruned, wave, moments, ridge_for(calibration))
    return Recovery(
        pruned, f"least squares on {calibration.source}", total, len(jobs), tuple(notes),
        waves=len(waves), samples=calibration.samples,
    )  # fmt: skip  # two lines


def affordable(job: Job, limits: Limits, notes: list[str]) -> bool:
    """False, and a note more, where the moments of one layer alone take more memory than all of them may."""
    if job.view.bytes <= max(limits.moments, SMALL):
        return True
    notes.append(
        f"{job.consumer.node.name}: not refitted ({job.view.columns} columns, whose moments take "
        f"{job.view.bytes / 1e9:.1f} GB: more --memory, or --recover sequential, which can do without)"
    )
    return False


def ridge_for(calibration: Calibration) -> float:
    """How much a fit on these samples is pulled towards the old weight, at least."""
    return RIDGE_FOREIGN if calibration.foreign else RIDGE


def mend(
    analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, jobs: Sequence[Job],
    moments: Mapping[View, list[tuple[Moments, Moments]]], ridge: float,
) -> None:  # fmt: skip  # two lines
    """Refit some consumers of a pruned model, in place, on the moments of what they read."""
    mender = Mender(analysis, alive, pruned)
    for shared in by_weight(jobs):
        mender.put(shared, problems_of(shared[0], pooled([moments[j.view] for j in shared])), ridge)


def fit(job: Job, moments: Sequence[tuple[Moments, Moments]], ridge: float) -> Fit:
    """The least-squares change of one consumer's weight and bias; the shift of the mean alone where that is better."""
    return fitted(problems_of(job, moments), ridge)


def problems_of(job: Job, moments: Sequence[tuple[Moments, Moments]]) -> list[Pair]:
    """What the kept columns of each group have to make up for."""
    weight, outputs = job.weight, job.consumer.outputs.reshape(job.view.groups, -1)
    found: list[Pair] = []
    for w, kept, out, (seen, unseen) in zip(weight, job.kept, outputs, moments, strict=True):
        if kept.any():
            found.append((lost(seen, kept, w[:, out]), lost(unseen, kept, w[:, out]) if unseen.rows else None))
    return found


def waves_of(jobs: Sequence[Job], room: int) -> Iterator[list[Job]]:
    """Jobs in the order of the graph, cut where the moments of one wave would take too much memory."""
    wave: list[Job] = []
    views: dict[View, int] = {}
    for job in jobs:
        if wave and job.view not in views and sum(views.values()) + job.view.bytes > room:
            yield wave
            wave, views = [], {}
        wave.append(job)
        views[job.view] = job.view.bytes
    if wave:
        yield wave


def gather(
    model: ModelProto, views: Sequence[View], calibration: Calibration, seed: int = 0
) -> dict[View, list[tuple[Moments, Moments]]]:
    """For each view and group the moments of its rows: of three quarters of the runs, and of the others.

    The model runs once over the samples.
    """
    names = sorted({v.data for v in views})
    model, runs = runnable(model, calibration.runs)
    session = Session(with_outputs(model, names), threads=calibration.threads)
    rng = np.random.default_rng(seed)
    sums = {v: [(Gathering(v.columns), Gathering(v.columns)) for _ in range(v.groups)] for v in views}
    for k, feeds in enumerate(runs):
        found = session.run(feeds, names)
        for view in views:
            wanted = rows_wanted(view.columns, len(runs))
            for pair, rows in zip(sums[view], rows_of(view, found[view.data], wanted, rng), strict=True):
                pair[is_unseen(k)].add(rows)
    return {v: [(a.moments(), b.moments()) for a, b in pairs] for v, pairs in sums.items()}


def rows_wanted(columns: int, runs: int) -> int:
    """How many rows to take of each of some runs, for a fit of so many columns."""
    return -(-max(ROWS_PER_COLUMN * columns, LEAST_ROWS) // runs)


def is_unseen(run: int) -> bool:
    """True for a run that fits don't see, and are checked on."""
    return run % UNSEEN == UNSEEN - 1

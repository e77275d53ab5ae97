"""Recovery "least-squares": each consumer is refitted on the channels that it keeps (RECOVERY.md, formula 1).

With X the consumer's input in the unpruned model, S the columns that are kept and P those that go, the new weight
minimises |X_S W' + b' - X W - b|^2 + lambda d |W' - W_S|^2 (d: mean of the diagonal of the covariance). In terms of
the change of the weight: W' = W_S + (C_SS + lambda d I)^-1 C_SP W_P and b' = b + mu_P W_P - mu_S (W' - W_S), where C
is the covariance of X and mu its mean. Pulling towards the old weight, rather than towards zero, makes a large lambda
mean "leave it", so that few or foreign samples do no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from zlib import crc32

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import ModelProto, with_outputs
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.calibration import UNSEEN, Calibration, runnable
from onnx_attnprune.recovery.few import SMALL
from onnx_attnprune.recovery.jobs import Job, Views, by_weight, jobs_of, views_of
from onnx_attnprune.recovery.mending import Fit, Mender, Pair, fitted
from onnx_attnprune.recovery.registry import Limits, Recovery, recovery, samples_of
from onnx_attnprune.recovery.rows import Gathering, Moments, View, rows_of
from onnx_attnprune.recovery.solving import lost
from onnx_attnprune.runtime import Session

AllMoments = Mapping[Views, list[tuple[Moments, Moments]]]
RIDGE, RIDGE_FOREIGN = 1e-4, 1e-3  # samples of the model's own domain; procedural ones
WAVE_BYTES = 1 << 30  # of moments that are gathered in one run over the samples
ROWS_PER_COLUMN, LEAST_ROWS = 12, 16384


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
    waves = fit_at_once(analysis, alive, pruned, jobs, calibration, limits)
    return Recovery(
        pruned, f"least squares on {calibration.source}", total, len(jobs), tuple(notes),
        waves=waves, samples=calibration.samples,
    )  # fmt: skip  # two lines


def fit_at_once(
    analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, jobs: Sequence[Job],
    calibration: Calibration, limits: Limits,
) -> int:  # fmt: skip  # two lines
    """Refit consumers on the inputs that they have in the unpruned model; gives back in how many waves."""
    waves = list(waves_of(jobs, limits.moments))
    for k, wave in enumerate(waves):
        limits.tell(f"repair: wave {k + 1} of {len(waves)}, {len(wave)} layers")
        moments = gather(analysis.graph.model, map(views_of, by_weight(wave)), calibration)
        mend(analysis, alive, pruned, wave, moments, ridge_for(calibration))
    return len(waves)


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
    moments: AllMoments, ridge: float,
) -> None:  # fmt: skip  # two lines
    """Refit some consumers of a pruned model, in place, on the moments of what they read."""
    mender = Mender(analysis, alive, pruned)
    for shared in by_weight(jobs):
        mender.put(shared, problems_of(shared[0], moments[views_of(shared)]), ridge)


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
    """Jobs in the order of the graph, cut where the moments of one wave would take too much memory; those that share a
    weight stay together."""
    wave: list[Job] = []
    held: dict[Views, int] = {}
    for shared in by_weight(jobs):
        views, size = views_of(shared), shared[0].view.bytes
        if wave and views not in held and sum(held.values()) + size > room:
            yield wave
            wave, held = [], {}
        wave.extend(shared)
        held[views] = size
    if wave:
        yield wave


def gather(model: ModelProto, sources: Iterable[Views], calibration: Calibration, seed: int = 0) -> AllMoments:
    """For each source and group the moments of its rows, of all views of a source together (they are equally wide): of
    three quarters of the runs, and of the others.

    The model runs once over the samples.
    """
    wanted = list(dict.fromkeys(sources))
    if not wanted:
        return {}
    names = sorted({v.data for views in wanted for v in views})
    model, runs = runnable(model, calibration.runs)
    session = Session(with_outputs(model, names), threads=calibration.threads)
    # What is drawn of a source does not depend on what else is looked at in the same run.
    draws = {views: np.random.default_rng([seed, crc32(min(v.data for v in views).encode())]) for views in wanted}
    sums = {views: _gatherings(next(iter(views))) for views in wanted}
    for k, feeds in enumerate(runs):
        found = session.run(feeds, names)
        for views in wanted:
            for view in sorted(views, key=lambda v: v.data):
                count = rows_wanted(view.columns, len(runs) * len(views))
                for pair, rows in zip(sums[views], rows_of(view, found[view.data], count, draws[views]), strict=True):
                    pair[is_unseen(k)].add(rows)
    return {v: [(a.moments(), b.moments()) for a, b in pairs] for v, pairs in sums.items()}


def _gatherings(view: View) -> list[tuple[Gathering, Gathering]]:
    return [(Gathering(view.columns), Gathering(view.columns)) for _ in range(view.groups)]


def rows_wanted(columns: int, runs: int) -> int:
    """How many rows to take of each of some runs, for a fit of so many columns."""
    return -(-max(ROWS_PER_COLUMN * columns, LEAST_ROWS) // runs)


def is_unseen(run: int) -> bool:
    """True for a run that fits don't see, and are checked on."""
    return run % UNSEEN == UNSEEN - 1

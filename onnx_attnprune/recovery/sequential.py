"""Recovery "sequential": layer after layer, each fitted on what really arrives at it in the pruned network.

X are the rows of a consumer's input in the pruned network, whose earlier layers are repaired already, and T what its
result lacks there against the unpruned network's at the same samples and positions: W' = W_S + (C_XX + ridge d I)^-1
C_XT. So each layer makes up for the errors that those before it left, also one behind them that loses no input itself.
Both networks are run piece by piece.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import ModelProto, float_type
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.calibration import Calibration
from onnx_attnprune.recovery.jobs import Job, by_weight, following_jobs, jobs_of
from onnx_attnprune.recovery.least_squares import gather, mend, refit, ridge_for
from onnx_attnprune.recovery.mending import Mender
from onnx_attnprune.recovery.registry import Limits, Recovery, recovery, samples_of
from onnx_attnprune.recovery.segments import Segments
from onnx_attnprune.recovery.targets import Flow, Target
from onnx_attnprune.recovery.told import Told


@recovery("sequential")
def in_sequence(
    analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, calibration: Calibration | None,
    limits: Limits,
) -> Recovery:  # fmt: skip  # two lines
    """Refit every consumer of removed channels, and what follows it, one after another.

    Edits `pruned` in place. Raises SettingsError without calibration samples.
    """
    calibration = samples_of(calibration, "the sequential fit")
    if float_type(pruned) == "bfloat16":  # of which ONNX Runtime can only run copies in float32
        return refit(analysis, alive, pruned, calibration, limits)
    jobs, notes = jobs_of(analysis, alive)
    total = len(jobs) + len(notes)
    jobs = _fit_shared(analysis, alive, pruned, jobs, calibration)
    jobs = sorted([*jobs, *following_jobs(analysis, alive)], key=lambda job: job.consumer.node.index)
    flow = Flow(analysis, jobs)
    targets = [flow.target(k, job) for k, job in enumerate(jobs)]
    waves = list(flow.waves(jobs, targets, limits.moments))
    before = Segments(analysis.graph.model, calibration.runs, limits.held)
    after = Segments(pruned, calibration.runs, limits.held)
    for k, wave in enumerate(waves):
        limits.tell(f"repair: wave {k + 1} of {len(waves)}, {len(wave)} layers of {len(jobs)}")
        later = [name for w in waves[k:] for j in w for name in _names(jobs[j], targets[j])]
        told = [Told(jobs[j], targets[j]) for j in wave]
        _gather(told, (before, after), later, len(calibration.runs))
        mender, ridge = Mender(analysis, alive, pruned), ridge_for(calibration)
        for one in told:
            mender.put([one.job], one.problems(ridge), ridge, one.scale)
    return Recovery(
        pruned, f"least squares layer by layer on {calibration.source}", total, total - len(notes), tuple(notes),
        waves=len(waves), samples=calibration.samples,
    )  # fmt: skip  # two lines


def _fit_shared(
    analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, jobs: Sequence[Job],
    calibration: Calibration,
) -> list[Job]:  # fmt: skip  # two lines
    """Fit at once the jobs that share a weight, which no order of layers suits; gives back the others."""
    shared = [job for one in by_weight(jobs) if len(one) > 1 for job in one]
    if shared:
        moments = gather(analysis.graph.model, list(dict.fromkeys(j.view for j in shared)), calibration)
        mend(analysis, alive, pruned, shared, moments, ridge_for(calibration))
    return [job for one in by_weight(jobs) if len(one) == 1 for job in one]


def _names(job: Job, target: Target) -> list[str]:
    names = [job.consumer.source, next(o for o in job.consumer.node.outputs if o)]
    return names if target.name is None else [*names, target.name]


def _gather(told: Sequence[Told], networks: tuple[Segments, Segments], later: Sequence[str], runs: int) -> None:
    """Run both networks up to the consumers, and take in what they see there."""
    wanted = list(dict.fromkeys(name for t in told for name in _names(t.job, t.target)))
    first = [next(o for o in t.job.consumer.node.outputs if o) for t in told]
    rng = np.random.default_rng(0)
    steps = [network.step(wanted, first, later) for network in networks]
    for k, (before, after) in enumerate(zip(*steps, strict=True)):
        for one in told:
            one.add(before, after, k, runs, rng)

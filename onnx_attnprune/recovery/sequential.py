"""Recovery "sequential": layer after layer, each fitted on what really arrives at it in the pruned network.

X are the rows of a consumer's input in the pruned network, whose earlier layers are repaired already, and T what its
result lacks there against the unpruned network's at the same samples and positions: W' = W_S + (C_XX + ridge d I)^-1
C_XT. So each layer makes up for the errors that those before it left, also one behind them that loses no input itself.
Both networks are run piece by piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import ModelProto, float_type
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.calibration import Calibration
from onnx_attnprune.recovery.jobs import Job, by_weight, following_jobs, jobs_of
from onnx_attnprune.recovery.least_squares import affordable, fit_at_once, refit, ridge_for
from onnx_attnprune.recovery.mending import Mender
from onnx_attnprune.recovery.registry import Limits, Recovery, recovery, samples_of
from onnx_attnprune.recovery.segments import Held, Segments
from onnx_attnprune.recovery.spent import Spent
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
    together = [job for one in by_weight(jobs) if len(one) > 1 for job in one]  # which no order of layers suits
    fitting = [job for job in together if affordable(job, limits, notes)]
    fit_at_once(analysis, alive, pruned, fitting, calibration, limits)
    jobs = [job for one in by_weight(jobs) if len(one) == 1 for job in one]
    jobs = sorted([*jobs, *following_jobs(analysis, alive)], key=lambda job: job.consumer.node.index)
    flow, spent = Flow(analysis, jobs), Spent()
    targets = [flow.target(k, job) for k, job in enumerate(jobs)]
    waves = list(flow.waves(jobs, targets, limits.moments))
    before, after = Segments(analysis.graph.model, calibration.runs), Segments(pruned, calibration.runs)
    for k, wave in enumerate(waves):
        limits.tell(f"repair: wave {k + 1} of {len(waves)}, {len(wave)} layers of {len(jobs)}")
        told = [Told(jobs[j], targets[j], len(calibration.runs), limits.moments) for j in wave]
        room = max(limits.held, limits.memory // 2 - sum(one.bytes for one in told))
        ahead = waves[k + 1 :] or [wave]
        wanted = list(dict.fromkeys(name for one in told for name in _names(one.job, one.target)))
        # The unpruned network goes on to before the next wave; the other one goes back, for what is refitted.
        whole = before.step(wanted, *_cut(ahead, jobs, targets), room)
        cut = after.step(wanted, *_cut(waves[k:], jobs, targets), room)
        _gather(told, whole, cut, spent)
        mender, ridge = Mender(analysis, alive, pruned), ridge_for(calibration)
        for one in told:
            with spent.on("fit"):
                mender.put([one.job], one.problems(ridge), ridge, one.scale)
    return Recovery(
        pruned, f"least squares layer by layer on {calibration.source}", total, total - len(notes), tuple(notes),
        waves=len(waves), samples=calibration.samples, parts=spent.parts,
    )  # fmt: skip  # two lines


def _result(job: Job) -> str:
    return next(o for o in job.consumer.node.outputs if o)


def _names(job: Job, target: Target) -> list[str]:
    names = [job.consumer.source, _result(job)]
    return names if target.name is None else [*names, target.name]


def _cut(waves: Sequence[Sequence[int]], jobs: Sequence[Job], targets: Sequence[Target]) -> tuple[list[str], list[str]]:
    """The results of the consumers of the first of some waves, and the tensors that all of them look at."""
    return [_result(jobs[j]) for j in waves[0]], [
        name for w in waves for j in w for name in _names(jobs[j], targets[j])
    ]


def _gather(told: Sequence[Told], before: Iterator[Held], after: Iterator[Held], spent: Spent) -> None:
    """Take in what the consumers see in the unpruned and in the pruned network, run by run."""
    rng = np.random.default_rng(0)
    for k, (whole, cut) in enumerate(spent.each("run both networks", zip(before, after, strict=True))):
        with spent.on("gather"):
            for one in told:
                one.add(whole, cut, k, rng)

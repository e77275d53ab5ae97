"""Recovery "sequential": layer after layer, each fitted on what really arrives at it in the pruned network.

X are the rows of a consumer's input in the pruned network, whose earlier layers are repaired already, and T what its
result lacks there against the unpruned network's at the same samples and positions: W' = W_S + (C_XX + ridge d I)^-1
C_XT. So each layer makes up for the errors that those before it left. Both networks are run piece by piece.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import ModelProto, float_type
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.calibration import Calibration
from onnx_attnprune.recovery.forms import Array
from onnx_attnprune.recovery.jobs import Job, by_weight, jobs_of
from onnx_attnprune.recovery.least_squares import gather, is_unseen, mend, refit, ridge_for, rows_wanted
from onnx_attnprune.recovery.mending import Mender, Pair
from onnx_attnprune.recovery.registry import Limits, Recovery, recovery, samples_of
from onnx_attnprune.recovery.rows import Gathering, positions, results_at, rows_at, some
from onnx_attnprune.recovery.segments import Held, Segments
from onnx_attnprune.recovery.solving import joint
from onnx_attnprune.recovery.targets import Flow, Target


@recovery("sequential")
def in_sequence(
    analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, calibration: Calibration | None,
    limits: Limits,
) -> Recovery:  # fmt: skip  # two lines
    """Refit every consumer of removed channels, one after another.

    Edits `pruned` in place. Raises SettingsError without calibration samples.
    """
    calibration = samples_of(calibration, "the sequential fit")
    if float_type(pruned) == "bfloat16":  # of which ONNX Runtime can only run copies in float32
        return refit(analysis, alive, pruned, calibration, limits)
    jobs, notes = jobs_of(analysis, alive)
    total = len(jobs) + len(notes)
    jobs = _fit_shared(analysis, alive, pruned, jobs, calibration)
    flow = Flow(analysis, jobs)
    targets = [flow.target(k, job) for k, job in enumerate(jobs)]
    waves = list(flow.waves(jobs, targets, limits.moments))
    before = Segments(analysis.graph.model, calibration.runs, limits.held)
    after = Segments(pruned, calibration.runs, limits.held)
    for k, wave in enumerate(waves):
        limits.tell(f"repair: wave {k + 1} of {len(waves)}, {len(wave)} layers of {len(jobs)}")
        later = [name for w in waves[k:] for j in w for name in _names(jobs[j], targets[j])]
        told = [_Told(jobs[j], targets[j]) for j in wave]
        _gather(told, (before, after), later, len(calibration.runs))
        mender = Mender(analysis, alive, pruned)
        for one in told:
            mender.put([one.job], one.problems(), ridge_for(calibration), one.scale)
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


class _Told:
    """What is gathered for one consumer: rows of its pruned input beside what its result lacks, by group."""

    def __init__(self, job: Job, target: Target) -> None:
        self.job, self.target = job, target
        self._groups = [g for g, kept in enumerate(job.kept) if kept.any()]
        channels = int(np.count_nonzero(~job.consumer.removed))
        self.view = replace(job.view, channels=channels, groups=len(self._groups))
        width = self.view.columns + int(np.count_nonzero(job.consumer.outputs)) // len(self._groups)
        self._sums = [(Gathering(width), Gathering(width)) for _ in self._groups]

    def add(self, before: Held, after: Held, run: int, runs: int, rng: np.random.Generator) -> None:
        """Take in one run of both networks."""
        x = after[self.view.data]
        chosen = some(positions(self.view, x.shape), rows_wanted(self.view.columns, runs), rng)
        lack = self._lack(before, after, chosen)
        parts = np.split(lack, len(self._groups), axis=1)
        for pair, rows, part in zip(self._sums, rows_at(self.view, x, chosen), parts, strict=True):
            pair[is_unseen(run)].add(np.concatenate([rows, part], axis=1))

    def _lack(self, before: Held, after: Held, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        name, outputs = self.target.name, self.job.consumer.outputs
        if name is None:
            return self._computed(before[self.view.data], after[self.view.data], chosen)
        ours = results_at(self.view, after[name], chosen)
        return results_at(self.view, before[name], chosen)[:, outputs] - ours

    def _computed(self, before: NDArray[Any], after: NDArray[Any], chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """For a consumer whose product is no tensor: the product with the old weight, of both inputs."""
        job, parts = self.job, []
        weight, outputs = job.weight, job.consumer.outputs.reshape(job.view.groups, -1)
        whole, cut = list(rows_at(job.view, before, chosen)), rows_at(self.view, after, chosen)
        for g, rows in zip(self._groups, cut, strict=True):
            w = weight[g][:, outputs[g]]
            parts.append(whole[g] @ w - rows @ w[job.kept[g]])
        return np.concatenate(parts, axis=1).astype(np.float32)

    def problems(self) -> list[Pair]:
        """What is to be solved for each group."""
        found = []
        for seen, unseen in self._sums:
            one, other = joint(seen.moments(), self.view.columns), joint(unseen.moments(), self.view.columns)
            found.append((one, other if other.rows else None))
        return found

    @property
    def scale(self) -> Array | None:
        """How much larger the lack is at the target than at the consumer's own result, per surviving output."""
        return None if self.target.scale is None else self.target.scale[self.job.consumer.outputs]


def _gather(told: Sequence[_Told], networks: tuple[Segments, Segments], later: Sequence[str], runs: int) -> None:
    """Run both networks up to the consumers, and take in what they see there."""
    wanted = list(dict.fromkeys(name for t in told for name in _names(t.job, t.target)))
    first = [next(o for o in t.job.consumer.node.outputs if o) for t in told]
    rng = np.random.default_rng(0)
    steps = [network.step(wanted, first, later) for network in networks]
    for k, (before, after) in enumerate(zip(*steps, strict=True)):
        for one in told:
            one.add(before, after, k, runs, rng)

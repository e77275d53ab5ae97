"""Puts what a fit has found into a pruned model, where it does better on samples that the fit has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import ModelProto
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.bias import Biases
from onnx_attnprune.recovery.compensate import shift_of
from onnx_attnprune.recovery.forms import Array
from onnx_attnprune.recovery.jobs import Job
from onnx_attnprune.recovery.solving import Answer, Posed, best, settle
from onnx_attnprune.recovery.stored import takes_bias
from onnx_attnprune.recovery.weights import Weights

Pair = tuple[Posed, Posed | None]  # of rows that the fit sees, and of others
LARGEST_GROWTH = 10.0  # times its norm in the unpruned model, that a weight may reach


@dataclass(frozen=True, slots=True)
class Fit:
    """What was found for a consumer: `change` [groups, columns, outputs of a group] of its pruned weight and `shift`
    [outputs] of its bias; `plain`: the shift of the mean alone; `error`, `before`: mean squared errors of its output
    with the one and the other, on samples that the fit has not seen."""

    change: Array
    shift: Array
    plain: Array
    error: float
    before: float


def fitted(problems: Sequence[Pair], ridge: float, centred: bool = True) -> Fit:
    """The least-squares fit of every group."""
    return _together(problems, [best(seen, unseen, ridge, centred) for seen, unseen in problems], centred)


def _together(problems: Sequence[Pair], answers: Sequence[Answer], centred: bool) -> Fit:
    plain = np.concatenate([p.lack for p, _ in problems]) * centred
    return Fit(
        answers[0].change[None] if len(answers) == 1 else np.stack([a.change for a in answers]),
        np.concatenate([a.shift for a in answers]), plain,
        sum(a.error for a in answers), sum(a.before for a in answers),
    )  # fmt: skip  # in the order of the fields


class Mender:
    """A pruned model that is repaired in place, consumer by consumer."""

    def __init__(self, analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto) -> None:
        self._analysis = analysis
        self._weights, self._biases = Weights(analysis, alive, pruned), Biases(pruned)

    def put(self, jobs: Sequence[Job], problems: Sequence[Pair], ridge: float, scale: Array | None = None) -> bool:
        """Refit jobs that share a weight; the shift of the mean alone where that does better. True where refitted.

        scale: by how much, per surviving output, what the problems' T lacks is larger than what the result lacks.
        """
        first = jobs[0].consumer
        centred = takes_bias(self._analysis, first)
        # Weights of a hundred million numbers are not rare: as few copies of them as can be are held at once.
        whole = jobs[0].read()
        largest = LARGEST_GROWTH * float(np.linalg.norm(whole))
        old = self._weights.cut(first, whole)
        del whole
        by = np.ones(np.count_nonzero(first.outputs)) if scale is None else scale
        grouped = by.reshape(len(problems), 1, -1)
        found = fitted(problems, ridge, centred)
        helps = found.error < found.before  # by rows that were not looked at; below, some were
        new = first.form.weight(found.change / grouped, old.shape)
        new += old
        if not self._weights.is_fine(first):
            new = self._weights.rounded(first, new)
            change = first.form.matrix(new - old, len(problems)) * grouped
            answers = [settle(*pair, one, centred) for pair, one in zip(problems, change, strict=True)]
            found = _together(problems, answers, centred)
        del old
        sound = bool(np.isfinite(new).all()) and np.linalg.norm(new) < largest
        better = sound and helps and found.error < found.before
        if better:
            self._weights.replace(jobs, new)
        shift = (found.shift if better else found.plain) / by
        if shift.any():
            for job in jobs:
                self._biases.add(shift_of(self._analysis, job.consumer, shift))
        return bool(better)

    def is_fine(self, *jobs: Job) -> bool:
        """True where weights are stored in at least single precision."""
        return all(self._weights.is_fine(job.consumer) for job in jobs)

    def matrix(self, job: Job) -> Array:
        """The present weight of a job as [groups, columns, outputs of a group]."""
        return job.consumer.form.matrix(self._weights.present(job), 1)

    def move(self, job: Job, change: Array, shift: Array) -> None:
        """Add a `change` [columns, outputs] to the present weight of a job without groups, and a shift [outputs] to its
        bias."""
        present = self._weights.present(job)
        self._weights.replace([job], present + job.consumer.form.weight(change[None], present.shape))
        self._biases.add(shift_of(self._analysis, job.consumer, shift))

    def amend(self, job: Job, problem: Pair, ridge: float, scale: Array) -> bool:
        """Refit the present weight of a job without groups, where that does better; see `put`."""
        found = fitted([problem], ridge)
        new = self.matrix(job) + found.change / scale
        sound = bool(np.isfinite(new).all()) and np.linalg.norm(new) < LARGEST_GROWTH * np.linalg.norm(job.weight)
        better = bool(sound) and found.error < found.before
        if better:
            self.move(job, found.change[0] / scale, found.shift / scale)
        return better

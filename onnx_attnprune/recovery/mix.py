"""Recovery "mix": what removed channels gave is mixed out of the kept ones, by one map for all that read a tensor.

With X the channels of the tensor at its positions in the unpruned model (RECOVERY.md, formula 2), S those that are
kept and P those that go, A = (H_SS + ridge d I)^-1 H_SP, where H = X^T X / rows and d is the mean of the diagonal of
H_SS. Every consumer takes the map into its weight, tap by tap: W'_t = W_St + A W_Pt. Where none of them pads with zeros
and each can take a bias, H is the covariance, and the mean of what the map misses goes into the biases. Only the
moments of channels are gathered, not those of patches: 512 x 512 numbers for 512 channels, of which a 3 x 3 convolution
makes 4608 columns. Source: Tang et al., "GRAIL: Post-hoc Compensation by Linear Reconstruction for Compressed Networks"
(2026); here the ridge is on A alone, so that a large one leaves W_S as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import ModelProto
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.bias import Biases
from onnx_attnprune.recovery.calibration import Calibration
from onnx_attnprune.recovery.compensate import shift_of
from onnx_attnprune.recovery.forms import Array
from onnx_attnprune.recovery.jobs import Job, Views, by_weight, jobs_of, kept_columns, views_of
from onnx_attnprune.recovery.least_squares import affordable, gather, ridge_for, waves_of
from onnx_attnprune.recovery.mending import LARGEST_GROWTH
from onnx_attnprune.recovery.registry import Limits, Recovery, recovery, samples_of
from onnx_attnprune.recovery.rows import Moments, View
from onnx_attnprune.recovery.solving import best, lost
from onnx_attnprune.recovery.stored import takes_bias
from onnx_attnprune.recovery.weights import Weights

Pairs = Sequence[tuple[Moments, Moments]]  # by group: of rows that the map is fitted on, and of others


@recovery("mix")
def mix(
    analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, calibration: Calibration | None,
    limits: Limits,
) -> Recovery:  # fmt: skip  # two lines
    """Fold one map of channels per tensor into all its consumers; edits `pruned` in place.

    Raises SettingsError without calibration samples.
    """
    calibration = samples_of(calibration, "channel mixing")
    found, notes = jobs_of(analysis, alive)
    total = len(found) + len(notes)
    about_zero = {j.view.data for j in found if pads(j.view) or not takes_bias(analysis, j.consumer)}
    jobs = [job for job in map(by_channel, found) if affordable(job, limits, notes)]
    waves = list(waves_of(jobs, limits.moments))
    mixer = Mixer(analysis, alive, pruned, ridge_for(calibration))
    for k, wave in enumerate(waves):
        limits.tell(f"repair: wave {k + 1} of {len(waves)}, {len(wave)} layers")
        moments = gather(analysis.graph.model, map(views_of, by_weight(wave)), calibration)
        maps: dict[tuple[Views, bytes, bool], list[Array] | None] = {}
        for shared in by_weight(wave):
            views = views_of(shared)
            pairs = moments[views]
            kept, centred = shared[0].kept, about_zero.isdisjoint(v.data for v in views)
            key = views, kept.tobytes(), centred
            if key not in maps:
                maps[key] = map_of(pairs, kept, mixer.ridge, centred)
            mixer.put(shared, maps[key], pairs if centred else None)
    return Recovery(
        pruned, f"channel mixing on {calibration.source}", total, len(jobs), tuple(notes),
        waves=len(waves), samples=calibration.samples,
    )  # fmt: skip  # two lines


def pads(view: View) -> bool:
    """True where a consumer sees zeros beside the data, at which a constant must not be added."""
    return any(p > 0 for p in view.pads) or any(s > 1 for s in view.spread) or (bool(view.same) and view.taps > 1)


def by_channel(job: Job) -> Job:
    """The same job with the rows of its tensor's positions, one column a channel, in place of its patches."""
    ones = (1,) * len(job.view.kernel)
    view = replace(job.view, kernel=ones, strides=ones, pads=2 * (0,) * len(ones), dilations=ones, spread=(), same="")
    return replace(job, view=view, kept=kept_columns(job.consumer, view))


def map_of(pairs: Pairs, kept: BoolArray, ridge: float, centred: bool) -> list[Array] | None:
    """How the removed channels come out of the kept ones, [kept, removed] for each group that keeps some.

    None where it tells them no better than their mean (without centring: than zero) on rows that it was not fitted on.
    """
    answers = []
    for stays, (seen, unseen) in zip(kept, pairs, strict=True):
        if stays.any():
            gone = np.eye(len(stays))[:, ~stays]
            held_back = lost(unseen, stays, gone) if unseen.rows else None
            answers.append(best(lost(seen, stays, gone), held_back, ridge, centred))
    helps = sum(a.error for a in answers) < sum(a.before for a in answers)
    return [a.change for a in answers] if helps else None


class Mixer:
    """A pruned model that takes in maps, in place, consumer by consumer. ridge: the least that a map is fitted with."""

    def __init__(self, analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, ridge: float) -> None:
        self._analysis, self.ridge = analysis, ridge
        self._weights, self._biases = Weights(analysis, alive, pruned), Biases(pruned)

    def put(self, jobs: Sequence[Job], maps: Sequence[Array] | None, pairs: Pairs | None) -> None:
        """Fold a map, if there is one, into the weight that jobs share, and the mean of what it misses into the biases.

        pairs: moments with the means to do so; None where a constant can't make up for anything.
        """
        job, consumer = jobs[0], jobs[0].consumer
        parts = _parts(job)
        change = np.stack([np.zeros((np.count_nonzero(kept) * w.shape[1], w.shape[-1])) for kept, w in parts])
        if maps is not None:
            whole = job.read()
            old = self._weights.cut(consumer, whole)
            wanted = np.stack([_folded(m, kept, w) for m, (kept, w) in zip(maps, parts, strict=True)])
            new = self._weights.rounded(consumer, old + consumer.form.weight(wanted, old.shape))
            if np.isfinite(new).all() and np.linalg.norm(new) < LARGEST_GROWTH * np.linalg.norm(whole):
                self._weights.replace(jobs, new)
                change = consumer.form.matrix(new - old, len(parts))
        if pairs is None:
            return
        means = [_mean(*pair) for pair, kept in zip(pairs, job.kept, strict=True) if kept.any()]
        shift = np.concatenate([_missed(*one) for one in zip(means, parts, change, strict=True)])
        for each in jobs if shift.any() else ():
            self._biases.add(shift_of(self._analysis, each.consumer, shift))


Part = tuple[BoolArray, Array]  # which channels of a group stay, and its weight: [channels, taps, outputs]


def _parts(job: Job) -> list[Part]:
    """Those of the groups that keep some, with the outputs that survive."""
    outputs = job.consumer.outputs.reshape(job.view.groups, -1)
    parts = zip(job.weight, job.kept, outputs, strict=True)
    return [(kept, w.reshape(len(kept), -1, w.shape[-1])[:, :, out]) for w, kept, out in parts if kept.any()]


def _folded(mixed: Array, kept: BoolArray, weight: Array) -> Array:
    """The change [kept columns, outputs] of a weight, tap by tap."""
    return np.asarray(np.tensordot(mixed, weight[~kept], 1).reshape(-1, weight.shape[-1]))


def _mean(seen: Moments, unseen: Moments) -> Array:
    """That of all rows."""
    rows = max(seen.rows + unseen.rows, 1)
    return np.asarray((seen.rows * seen.mean + unseen.rows * unseen.mean) / rows)


def _missed(mean: Array, part: Part, change: Array) -> Array:
    """What the result lacks on average, [outputs], once the weight has changed."""
    kept, weight = part
    taps = weight.shape[1]
    return np.asarray(mean[~kept] @ weight[~kept].sum(1) - np.repeat(mean[kept], taps) @ change)

"""Recovery "paired": after the sequential fit each layer that lost inputs once more, with the layer that makes them.

How two layers are fitted together is in `together`, which couples there are in `producers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import ModelProto, float_type
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.calibration import UNSEEN, Calibration
from onnx_attnprune.recovery.guard import divergence, outputs_of, unseen_runs
from onnx_attnprune.recovery.least_squares import ridge_for
from onnx_attnprune.recovery.mending import Mender
from onnx_attnprune.recovery.producers import Couple, couples_of
from onnx_attnprune.recovery.registry import Limits, Recovery, recovery, samples_of
from onnx_attnprune.recovery.segments import Segments
from onnx_attnprune.recovery.sequential import in_sequence, numbers_of, scale_of
from onnx_attnprune.recovery.spent import Spent
from onnx_attnprune.recovery.together import ROUNDS, Together

MOST_MACS = 12_000_000_000  # that the fit of a couple may take
PASSES = 4  # a round runs both layers, brings back what is lacking, and tries lengths
WAY_MACS = 8  # in whose time a number of what lies between is gone over once, on the way back


@recovery("paired")
def in_pairs(
    analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, calibration: Calibration | None,
    limits: Limits,
) -> Recovery:  # fmt: skip  # two lines
    """Repair layer by layer, then refit couples of layers, the first of which makes what the second one reads.

    Edits `pruned` in place. Raises SettingsError without calibration samples.
    """
    calibration = samples_of(calibration, "the fit of couples of layers")
    found = in_sequence(analysis, alive, pruned, calibration, limits)
    if float_type(pruned) == "bfloat16":  # of which ONNX Runtime can only run copies in float32
        return found
    spent = Spent()
    with spent.on("fit couples"):
        better = _unless_worse(analysis, alive, pruned, calibration, limits)
    told = f"{found.method}, then couples of layers ({better})" if better else found.method
    return replace(found, method=told, parts=(*found.parts, *spent.parts))


def _unless_worse(
    analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, calibration: Calibration, limits: Limits
) -> int:
    """Fit couples; take all of it back where the outputs on unseen samples are further from the original's then: what
    lowers the squared error before a sigmoid may move numbers that count behind it."""
    unseen = unseen_runs(calibration)
    reference, first = outputs_of(analysis.graph.model, unseen), outputs_of(pruned, unseen)
    earlier = ModelProto()
    earlier.CopyFrom(pruned)
    better = _fit_couples(analysis, alive, pruned, calibration, limits)
    if better and divergence(reference, outputs_of(pruned, unseen)) > divergence(reference, first):
        pruned.CopyFrom(earlier)
        return 0
    return better


def _fit_couples(
    analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, calibration: Calibration, limits: Limits
) -> int:
    """How many couples came nearer to the unpruned network. They are taken in the order of their first layers, so that
    both networks are only ever run on."""
    sized = _sized(analysis, alive, pruned, calibration, limits.looked)
    runs = calibration.runs[: max((count for _, count in sized), default=0)]
    before, after = (Segments(model, runs) for model in (analysis.graph.model, pruned))
    better = 0
    for k, (couple, count) in enumerate(sized):
        limits.tell(f"repair: couple {k + 1} of {len(sized)}")
        later = [one for one, _ in sized[k:]]
        room = limits.room(0)
        aims = [one.aim for one in later]  # what lies between two layers may hold a couple of its own
        said = before.step([couple.aim], aims, aims, room)
        wanted = [held[couple.aim] for held in said][:count]
        after.go_on([couple.made], [name for one in later for name in one.names], room)
        better += Together(analysis, alive, pruned, couple, after, wanted, limits.moments).fit(ridge_for(calibration))
    return better


def _sized(
    analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, calibration: Calibration, room: int
) -> list[tuple[Couple, int]]:
    """The couples that can be fitted, and on how many runs."""
    mender = Mender(analysis, alive, pruned)
    found = [c for c in couples_of(analysis, alive) if mender.is_fine(c.first, c.second)]
    sized = [(c, runs_for(analysis, c, calibration, room)) for c in found]
    return sorted((one for one in sized if one[1]), key=lambda one: one[0].first.consumer.node.index)


def runs_for(analysis: Analysis, couple: Couple, calibration: Calibration, room: int) -> int:
    """On how many runs a couple can be fitted: all, or as many as time and memory (`room` bytes) allow; none where they
    are too few to hold some back."""
    scale = scale_of(analysis, calibration)
    macs = sum(
        scale * numbers_of(analysis, job.consumer.node.outputs[0]) * job.view.columns * float(job.kept.mean())
        for job in (couple.first, couple.second)
    )
    ends, whole = (4 * scale * sum(numbers_of(analysis, n) for n in names) for names in (couple.ends, couple.names))
    beside = 2 * (whole - ends)  # of one run at a time, and as much again on the way back
    macs += WAY_MACS * scale * sum(link.taps * numbers_of(analysis, link.result) for link in couple.way)
    most = min(MOST_MACS / max(PASSES * ROUNDS * macs, 1), (room - beside) / max(ends, 1), len(calibration.runs))
    return int(most) if most >= UNSEEN else 0

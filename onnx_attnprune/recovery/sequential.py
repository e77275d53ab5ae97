"""Recovery "sequential": layer after layer, each fitted on what really arrives at it in the pruned network.

X are the rows of a consumer's input in the pruned network, whose earlier layers are repaired already, and T what its
result lacks there against the unpruned network's at the same samples and positions: W' = W_S + (C_XX + ridge d I)^-1
C_XT. So each layer makes up for the errors that those before it left, also one behind them that loses no input itself.
The unpruned network is run through many layers at once, the pruned one layer by layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import ModelProto, float_type
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.calibration import Calibration
from onnx_attnprune.recovery.jobs import Job, by_weight, following_jobs, jobs_of
from onnx_attnprune.recovery.least_squares import affordable, fit_at_once, refit, ridge_for
from onnx_attnprune.recovery.mending import Mender
from onnx_attnprune.recovery.registry import Limits, Recovery, recovery, samples_of
from onnx_attnprune.recovery.segments import Segments
from onnx_attnprune.recovery.spent import Spent
from onnx_attnprune.recovery.targets import Flow
from onnx_attnprune.recovery.told import Told

RUNNING = "run both networks"


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
    jobs = ordered(analysis, alive)
    flow, spent = Flow(analysis, jobs), Spent()
    targets = [flow.target(k, job) for k, job in enumerate(jobs)]
    waves = list(flow.waves(jobs, targets, limits.moments))
    told = [Told(job, target, len(calibration.runs), limits.moments) for job, target in zip(jobs, targets, strict=True)]
    before, after = Segments(analysis.graph.model, calibration.runs), Segments(pruned, calibration.runs)
    rng, done = np.random.default_rng(0), 0
    for section in _sections(analysis, waves, told, calibration, limits.looked):
        rest, looked = waves[done + len(section) :] or section, [told[j] for wave in section for j in wave]
        room = min(limits.room(sum(told[j].bytes for j in wave)) for wave in section)
        # The unpruned network goes on to before the next section; the other one goes back, for what is refitted.
        goals = [told[j].before for wave in rest for j in wave]
        whole = before.step(_distinct(one.before for one in looked), _results(jobs, rest[0]), goals, room)
        for run, held in enumerate(spent.each(RUNNING, whole)):
            with spent.on("gather"):
                for one in looked:
                    one.look(held, run, rng)
        for wave in section:
            limits.tell(f"repair: wave {done + 1} of {len(waves)}, {len(wave)} layers of {len(jobs)}")
            mine, room = [told[j] for j in wave], limits.room(sum(told[j].bytes for j in wave))
            goals = [name for later in waves[done:] for j in later for name in told[j].after]
            cut = after.step(_distinct(n for one in mine for n in one.after), _results(jobs, wave), goals, room)
            for run, held in enumerate(spent.each(RUNNING, cut)):
                with spent.on("gather"):
                    for one in mine:
                        one.add(held, run)
            mender, ridge = Mender(analysis, alive, pruned), ridge_for(calibration)
            for one in mine:
                with spent.on("fit"):
                    mender.put([one.job], one.problems(ridge), ridge, one.scale)
            done += 1
    return Recovery(
        pruned, f"least squares layer by layer on {calibration.source}", total, total - len(notes), tuple(notes),
        waves=len(waves), samples=calibration.samples, parts=spent.parts,
    )  # fmt: skip  # two lines


def ordered(analysis: Analysis, alive: Mapping[int, BoolArray]) -> list[Job]:
    """All jobs with a weight of their own, in the order of the graph; also those that lose no input."""
    alone = [job for one in by_weight(jobs_of(analysis, alive)[0]) if len(one) == 1 for job in one]
    return sorted([*alone, *following_jobs(analysis, alive)], key=lambda job: job.consumer.node.index)


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _results(jobs: Sequence[Job], wave: Sequence[int]) -> list[str]:
    """What the consumers of a wave give."""
    return [next(o for o in jobs[j].consumer.node.outputs if o) for j in wave]


def _sections(
    analysis: Analysis, waves: Sequence[Sequence[int]], told: Sequence[Told], calibration: Calibration, room: int
) -> Iterator[list[Sequence[int]]]:
    """Waves that the unpruned network is run for at once: what it says in one run, and what is kept of it, fits into
    `room` bytes each. Every stop costs it about as much as the layers between two stops."""
    scale = scale_of(analysis, calibration)
    section: list[Sequence[int]] = []
    said: set[str] = set()
    kept = 0
    for wave in waves:
        names = said | {told[j].before for j in wave}
        numbers = {name: int(numbers_of(analysis, name) * scale) for name in names}
        more = sum(told[j].kept(numbers[told[j].before]) for j in wave)
        if section and (4 * sum(numbers.values()) > room or kept + more > room):
            yield section
            section, names, kept = [], {told[j].before for j in wave}, 0
        section.append(wave)
        said, kept = names, kept + more
    if section:
        yield section


def scale_of(analysis: Analysis, calibration: Calibration) -> float:
    """How many times as much a tensor holds in a run as at the sizes of the analysis."""
    feeds = calibration.runs[0]
    return sum(a.size for a in feeds.values()) / max(sum(numbers_of(analysis, name) for name in feeds), 1)


def numbers_of(analysis: Analysis, name: str) -> int:
    """How many a tensor holds at the sizes of the analysis."""
    return math.prod(axis.size for axis in analysis.tensors[name].axes or ())

"""The search for the largest model that is fast enough, measured beside the unpruned one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from onnx_attnprune import surgery
from onnx_attnprune.errors import PromiseError
from onnx_attnprune.evaluate.feeds import random_feeds
from onnx_attnprune.evaluate.latency import Array, measure_pair
from onnx_attnprune.evaluate.layers import node_seconds
from onnx_attnprune.evaluate.measure import Speed
from onnx_attnprune.evaluate.staging import loadable
from onnx_attnprune.graph import ModelProto, index_limits
from onnx_attnprune.pipeline.budgets import Budgets
from onnx_attnprune.pipeline.choice import Work, budgets_of, channels_left, make_plan, work_of
from onnx_attnprune.pipeline.request import Clock, Request
from onnx_attnprune.pipeline.search import choices_of
from onnx_attnprune.pipeline.source import Shapes, Source
from onnx_attnprune.planning import Kept, Settings, time_terms
from onnx_attnprune.planning import Path as Choices
from onnx_attnprune.report import TimedTrial, Timing
from onnx_attnprune.runtime import Session

TRIALS = 8
NEAR = 0.01  # of the estimated time: two choices closer than this are one
MARGIN = 0.02  # of the limit, by which a choice has to be faster: what one measurement tells is no more exact than that


def fit_latency(request: Request, source: Source, shapes: Shapes, clock: Clock, folder: Path) -> Work:
    """The choice that keeps most and takes at most `--target-latency` of the unpruned model's time.

    The time of each node says which groups are worth shrinking; which choice is fast enough is measured on whole
    models, in turns with the unpruned one. Raises PromiseError where none is, which says how fast the smallest is.
    """
    limit = request.settings.target_latency
    assert limit is not None
    budgets = budgets_of(request, source, shapes, clock)
    with clock.stage("search"):
        clock.tell("search: time of the nodes")
        stopwatch = _Stopwatch(request, budgets, folder)
        budgets = replace(budgets, timed=tuple(time_terms(budgets.analysis, stopwatch.node_seconds())))
        settings, choices = choices_of(budgets, "latency", limit)
        works, trials = _trials(budgets, settings, choices, stopwatch, clock)
        trials, chosen = _confirmed(works, trials, limit, stopwatch)
    plan = works[chosen].plan
    notes = (*plan.notes, *budgets.notes(settings))
    work = work_of(budgets, replace(plan, notes=notes))
    return replace(work, timing=Timing(limit, request.provider, tuple(trials), chosen))


def hold_latency(timing: Timing | None, speed: Speed | None) -> None:
    """Raise PromiseError where the finished model is slower than the search was to make it."""
    if timing is not None and speed is not None and 1 / speed.speedup > timing.limit:
        raise PromiseError(
            f"--target-latency {timing.limit:g}: the finished model takes {1 / speed.speedup:.3f} of the time, after "
            f"{timing.trials[timing.chosen].confirmed:.3f} in the search; nothing was written. The machine may be too "
            "busy to measure on: try again, with a larger --latency-seconds or a smaller target"
        )


# ---------------------------------------------------------------- the points that are tried
def _trials(
    budgets: Budgets, settings: Settings, choices: Choices, stopwatch: _Stopwatch, clock: Clock
) -> tuple[list[Work], list[TimedTrial]]:
    """Choices by the estimated time: first where the estimate keeps the limit, then where the last measurements say."""
    limit = settings.target_latency or 1.0
    if not budgets.alive(choices[-1]):
        raise PromiseError(
            f"--target-latency {limit:g} can't be kept: by the time that each node takes, no channel that the settings "
            "let go saves any (see --round-to, --include, --exclude; --latency-seconds measures longer)"
        )
    works: list[Work] = []
    trials: list[TimedTrial] = []
    seen: set[tuple[tuple[int, int], ...]] = set()
    low, high = budgets.left("latency", budgets.alive(choices[-1])), 1.0
    aim = limit
    while len(trials) < TRIALS and high - low >= NEAR:
        aim = float(np.clip(aim, low + 0.1 * (high - low), high - 0.1 * (high - low)))
        kept = budgets.at(choices, "latency", aim, "--target-latency")
        counts = tuple(sorted(kept.items()))
        if counts in seen or not budgets.alive(kept):
            low = aim
            continue
        seen.add(counts)
        clock.tell(f"search: choice {len(trials) + 1} of at most {TRIALS}, {aim:.0%} of the estimated time")
        works.append(_work(budgets, settings, kept))
        trials.append(_timed(budgets, works[-1], stopwatch))
        found = trials[-1].latency
        low, high = (aim, high) if found <= limit * (1 - MARGIN) else (low, aim)
        # Calls, which the estimate leaves out, do not shrink: the time is taken to be a line through (1, 1).
        slope = max((1 - found) / max(1 - aim, 1e-6), 1e-6)
        aim = 1 - (1 - limit * (1 - MARGIN)) / slope
    if not trials or min(t.latency for t in trials) > limit * (1 - MARGIN):
        works.append(_work(budgets, settings, choices[-1]))
        trials.append(_timed(budgets, works[-1], stopwatch))
    return works, trials


def _work(budgets: Budgets, settings: Settings, kept: Kept) -> Work:
    plan = make_plan(
        budgets.analysis, settings, budgets.source.digest, budgets.shapes, decided=kept, samples=budgets.samples
    )
    return work_of(budgets, plan)


def _timed(budgets: Budgets, work: Work, stopwatch: _Stopwatch) -> TimedTrial:
    return TimedTrial(budgets.left("macs", work.alive), channels_left(work), stopwatch.share(work))


def _confirmed(
    works: list[Work], trials: list[TimedTrial], limit: float, stopwatch: _Stopwatch
) -> tuple[list[TimedTrial], int]:
    """The trials and the place of the one that keeps most of the MACs and is fast enough when measured again."""
    trials = list(trials)
    for k in sorted(range(len(trials)), key=lambda k: -trials[k].macs):
        if trials[k].latency > limit * (1 - MARGIN):
            continue
        trials[k] = replace(trials[k], confirmed=stopwatch.share(works[k], longer=2))
        if (trials[k].confirmed or 1.0) <= limit * (1 - MARGIN / 2):
            return trials, k
    fastest = min(trials, key=lambda t: t.confirmed or t.latency)
    raise PromiseError(
        f"--target-latency {limit:g} can't be kept: the fastest choice that was tried takes "
        f"{fastest.confirmed or fastest.latency:.3f} of the time, at {fastest.macs:.1%} of the MACs "
        "(see --max-ratio, --round-to, --include, --exclude; calls of many small nodes cost time that no cut lowers)"
    )


# ---------------------------------------------------------------- measuring
class _Stopwatch:
    """Measures models beside the unpruned one, on one sample. Raises ModelError where that does not run."""

    def __init__(self, request: Request, budgets: Budgets, folder: Path) -> None:
        self._request, self._budgets, self._folder = request, budgets, folder
        self._feeds = _feeds(budgets)
        with loadable(budgets.source.model, folder) as source:
            self._before = self._session(source)

    def _session(self, source: bytes | Path) -> Session:
        return Session(source, provider=self._request.provider, threads=self._request.threads)

    def node_seconds(self) -> dict[int, float]:
        """Seconds in each node of the unpruned model, by its index."""
        graph, request = self._budgets.analysis.graph, self._request
        return node_seconds(graph, self._feeds, provider=request.provider, threads=request.threads, folder=self._folder)

    def share(self, work: Work, longer: int = 1) -> float:
        """The share of the unpruned model's time that the model takes once it is cut."""
        pruned: ModelProto = surgery.prune(work.analysis, work.alive)
        with loadable(pruned, self._folder) as source:
            after = self._session(source)
        seconds = self._request.latency_seconds * longer
        return 1 / measure_pair(self._before, after, self._feeds, min_seconds=seconds, max_runs=200 * longer)[2]


def _feeds(budgets: Budgets) -> Mapping[str, Array]:
    """One sample: the user's where there are any."""
    source, given = budgets.source, budgets.source.data or budgets.source.calibration
    if given is None:
        return random_feeds(source.specs, budgets.sample, 1, index_limits(budgets.analysis.graph))
    return given.first(budgets.sample)

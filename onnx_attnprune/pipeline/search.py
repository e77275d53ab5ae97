"""The search for the smallest model that loses no more accuracy than allowed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from onnx_attnprune import surgery
from onnx_attnprune.errors import PromiseError, SettingsError
from onnx_attnprune.evaluate.data import Dataset, fixed_batch
from onnx_attnprune.evaluate.likeness import likeness, said
from onnx_attnprune.evaluate.loading import told
from onnx_attnprune.evaluate.measure import BATCH
from onnx_attnprune.evaluate.metrics import all_outputs, evaluate
from onnx_attnprune.evaluate.staging import loadable
from onnx_attnprune.graph import ModelProto, as_float32, float_type
from onnx_attnprune.pipeline.budgets import Budgets
from onnx_attnprune.pipeline.choice import Work, budgets_of, channels_left, make_plan, multiples, work_of
from onnx_attnprune.pipeline.repair import repair
from onnx_attnprune.pipeline.request import Clock, Request
from onnx_attnprune.pipeline.samples import SAMPLES
from onnx_attnprune.pipeline.source import Shapes, Source
from onnx_attnprune.planning import Kept, Settings
from onnx_attnprune.planning import Path as Choices
from onnx_attnprune.report import Search, Trial
from onnx_attnprune.runtime import Session

TRIALS = 7
TINY = 1e-9  # room for float rounding: 0.93 - 0.91 is more than 0.02
NEAR = 0.01  # of the MACs: two choices closer than this are one
HALVED_FROM = 1000  # samples, from which on half of them are set aside to confirm what the other half says


@dataclass(frozen=True, slots=True)
class _Tried:
    """A choice that was cut, repaired and measured. channels: the share that is left of all."""

    work: Work
    trial: Trial


@dataclass(frozen=True, slots=True)
class _Judge:
    """What accuracy is measured on, and what the unpruned model reaches on it. `later` confirms (None: too few)."""

    measure: str
    now: Dataset
    later: Dataset | None
    before: tuple[float, float]
    run: Callable[[ModelProto, Dataset], float]

    def drops(self, model: ModelProto) -> tuple[float, float | None]:
        """How much lower the model comes, on the samples of the search and on those that confirm."""
        confirmed = None if self.later is None else self.before[1] - self.run(model, self.later)
        return self.before[0] - self.run(model, self.now), confirmed


def search(request: Request, source: Source, shapes: Shapes, clock: Clock, folder: Path) -> tuple[Work, Source]:
    """The smallest choice whose accuracy after repair falls by at most `--max-drop`, and what the repair may look at.

    At most TRIALS choices are cut, repaired and measured, by halving the share of MACs that is left. Where the samples
    are many, half of them are not looked at until the end, and have to confirm the drop. Raises PromiseError, which
    says what the gentlest cut lost, where none keeps the promise; DataError where the model is no classifier.
    """
    limit = request.settings.max_drop
    assert limit is not None
    with clock.stage("search"):
        source, samples = _apart(request, source)
        judge = _judge(request, source, samples, folder)
    budgets = budgets_of(request, source, shapes, clock)
    with clock.stage("search"):
        clock.tell("search: error of the groups")
        settings, choices = choices_of(budgets, "macs", 0.5)
        tried = list(_trials(budgets, settings, choices, judge, clock))
    chosen = _chosen([t.trial for t in tried], limit)
    found = Search(limit, judge.measure, judge.now.size, 0 if judge.later is None else judge.later.size,
                   tuple(t.trial for t in tried), chosen)  # fmt: skip  # in the order of the fields
    plan = tried[chosen].work.plan
    return work_of(budgets, replace(plan, notes=(*plan.notes, *budgets.notes(settings), _told(found))), found), source


def _chosen(trials: list[Trial], limit: float) -> int:
    """The smallest that keeps the limit, on the confirming samples too."""
    held = [
        k for k, t in enumerate(trials) if max(t.drop, t.drop if t.confirmed is None else t.confirmed) <= limit + TINY
    ]
    if held:
        return min(held, key=lambda k: (trials[k].macs, k))
    if not trials:
        raise PromiseError(f"--max-drop {limit:g}: the settings leave every channel in place (see --round-to)")
    gentlest = max(trials, key=lambda t: t.macs)
    lost = max(gentlest.drop, gentlest.drop if gentlest.confirmed is None else gentlest.confirmed)
    raise PromiseError(
        f"--max-drop {limit:g} can't be kept: at {gentlest.macs:.1%} of the MACs ({gentlest.channels:.1%} of the "
        f"channels), the gentlest cut that was tried, accuracy drops by {lost:.4f}"
    )


def _told(found: Search) -> str:
    taken = found.trials[found.chosen]
    if taken.confirmed is None:
        how = f"search and check use the same {found.samples:,} samples: the drop on others may be larger"
    else:
        how = f"searched on {found.samples:,} samples, confirmed on {found.confirming:,} that the search did not see"
        how += f" ({taken.confirmed:+.4f})"
    return f"{found.measure} drops by {taken.drop:+.4f} (at most {found.limit:g}); {how}"


# ---------------------------------------------------------------- the points that are tried
def choices_of(budgets: Budgets, cost: str, target: float) -> tuple[Settings, Choices]:
    """The choices at the first multiple of channels at which there are any."""
    tried = multiples(budgets.request, budgets.analysis)
    for multiple in tried:
        settings = replace(budgets.request.settings, round_to=multiple)
        choices = budgets.path(settings, cost, target)
        if multiple == tried[-1] or budgets.left(cost, budgets.alive(choices[-1])) < 1 - NEAR:
            return settings, choices
    raise AssertionError("the last multiple is taken in any case")


def _trials(budgets: Budgets, settings: Settings, choices: Choices, judge: _Judge, clock: Clock) -> list[_Tried]:
    """Choices by halving, the share of MACs between one that loses too much and one that does not."""
    limit = (settings.max_drop or 0.0) + TINY
    tried: list[_Tried] = []
    seen: set[tuple[tuple[int, int], ...]] = set()
    low, high = budgets.left("macs", budgets.alive(choices[-1])), 1.0
    while len(tried) < TRIALS and high - low >= NEAR:
        aim = (low + high) / 2
        kept = budgets.at(choices, "macs", aim, "--max-drop")
        counts = tuple(sorted(kept.items()))
        if counts in seen or not budgets.alive(kept):
            low = aim
            continue
        seen.add(counts)
        clock.tell(f"search: choice {len(tried) + 1} of at most {TRIALS}, {aim:.0%} of the MACs")
        tried.append(_try(budgets, settings, kept, judge))
        trial = tried[-1].trial
        low, high = (low, trial.macs) if trial.drop <= limit else (aim, high)
    return tried


def _try(budgets: Budgets, settings: Settings, kept: Kept, judge: _Judge) -> _Tried:
    analysis, source = budgets.analysis, budgets.source
    work = work_of(
        budgets, make_plan(analysis, settings, source.digest, budgets.shapes, decided=kept, samples=budgets.samples)
    )
    model = repair(budgets.request, source, work, surgery.prune(analysis, work.alive)).model
    drop, confirmed = judge.drops(model)
    return _Tried(work, Trial(budgets.left("macs", work.alive), channels_left(work), drop, confirmed))


# ---------------------------------------------------------------- what accuracy is measured on
def _apart(request: Request, source: Source) -> tuple[Source, Dataset]:
    """The samples that accuracy is measured on, and the source without them, where they are for calibration too."""
    if source.data is not None:
        return source, source.data
    given = source.calibration
    if given is None or given.size < 2:
        raise SettingsError(f"{told(request.calibration)}: --max-drop needs two samples or more without --eval")
    if given.whole:
        raise SettingsError(f"{told(request.calibration)}: --max-drop needs --eval where samples are whole runs")
    fitted = min(SAMPLES, math.ceil(given.size * 3 / 4), given.size - 1)
    return replace(source, calibration=given.part(slice(None, fitted))), given.part(slice(fitted, None))


def _judge(request: Request, source: Source, samples: Dataset, folder: Path) -> _Judge:
    """How models are measured: against labels, or against what the unpruned model says."""
    coarse = float_type(source.model) == "bfloat16"  # which ONNX Runtime has no kernels for on the CPU
    if coarse:
        samples = samples.in_float32()
    rows = fixed_batch(source.specs, samples)

    def session(model: ModelProto) -> Session:
        with loadable(as_float32(model) if coarse else model, folder) as given:
            return Session(given, provider=request.provider, threads=request.threads)

    def outputs(model: ModelProto, data: Dataset) -> dict[str, NDArray[Any]]:
        return all_outputs(session(model), data, BATCH, rows)

    halved = samples.size >= HALVED_FROM
    now = samples.part(slice(None, None, 2)) if halved else samples
    later = samples.part(slice(1, None, 2)) if halved else None
    if source.data is None:
        return _against_itself(source.model, outputs, now, later)

    def value(model: ModelProto, data: Dataset) -> float:
        return evaluate(session(model), data, BATCH, rows, source.metric).main

    first = evaluate(session(source.model), now, BATCH, rows, source.metric)
    before = first.main, 0.0 if later is None else value(source.model, later)
    return _Judge(first.measure, now, later, before, value)


def _against_itself(
    original: ModelProto, outputs: Callable[[ModelProto, Dataset], dict[str, NDArray[Any]]], now: Dataset,
    later: Dataset | None,
) -> _Judge:  # fmt: skip  # two lines
    """Against what the unpruned model says; of several outputs the one that changes most."""
    reference = {id(data): said(outputs(original, data), data.size) for data in (now, later) if data is not None}
    measure = likeness(reference[id(now)], outputs(original, now)).measure

    def value(model: ModelProto, data: Dataset) -> float:
        return likeness(reference[id(data)], outputs(model, data)).main

    return _Judge(measure, now, later, (1.0, 1.0), value)

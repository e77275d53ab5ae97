"""The search for the smallest model that loses no more accuracy than allowed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from onnx_attnprune import surgery
from onnx_attnprune.errors import PromiseError
from onnx_attnprune.evaluate.chance import SURE
from onnx_attnprune.evaluate.likeness import AGREEMENT, LIKENESS, LOGS
from onnx_attnprune.pipeline.budgets import Budgets
from onnx_attnprune.pipeline.choice import Work, budgets_of, channels_left, make_plan, multiples, work_of
from onnx_attnprune.pipeline.dropping import Dropping, apart, dropping
from onnx_attnprune.pipeline.repair import repair
from onnx_attnprune.pipeline.request import Clock, Request
from onnx_attnprune.pipeline.source import Shapes, Source
from onnx_attnprune.planning import Kept, Settings
from onnx_attnprune.planning import Path as Choices
from onnx_attnprune.report import Search, Trial, keeps

TRIALS = 7
NEAR = 0.01  # of the MACs: two choices closer than this are one


@dataclass(frozen=True, slots=True)
class _Tried:
    """A choice that was cut, repaired and measured. channels: the share that is left of all."""

    work: Work
    trial: Trial


def search(request: Request, source: Source, shapes: Shapes, clock: Clock, folder: Path) -> tuple[Work, Source]:
    """The smallest choice whose accuracy after repair falls by at most `--max-drop`, and what the repair may look at.

    At most TRIALS choices are cut, repaired and measured, by halving the share of MACs that is left. A choice keeps the
    promise where in nine cases of ten the drop on other samples is no larger either; where the samples are too few to
    vouch for that of any choice, it has to be as good as they can tell. Raises PromiseError, which says what could be
    kept, where none does; DataError where nothing can be measured.
    """
    limit = request.settings.max_drop
    assert limit is not None
    with clock.stage("search"):
        source, samples = apart(request, source)
        judge = dropping(request, source, samples, folder)
    budgets = budgets_of(request, source, shapes, clock)
    with clock.stage("search"):
        clock.tell("search: error of the groups")
        settings, choices = choices_of(budgets, "macs", 0.5)
        tried = list(_trials(budgets, settings, choices, judge, clock))
    found = Search(limit, judge.measure, judge.samples, judge.vouched, tuple(t.trial for t in tried), 0)
    found = replace(found, chosen=_chosen(found))
    plan = tried[found.chosen].work.plan
    return work_of(budgets, replace(plan, notes=(*plan.notes, *budgets.notes(settings), _told(found))), found), source


def _chosen(found: Search) -> int:
    """The smallest that keeps the limit."""
    held = [k for k in range(len(found.trials)) if keeps(found.trials[k], found.limit, found.vouched)]
    if held:
        return min(held, key=lambda k: (found.trials[k].macs, k))
    if not found.trials:
        raise PromiseError(f"--max-drop {found.limit:g}: the settings leave every channel in place (see --round-to)")
    gentlest = max(found.trials, key=lambda t: t.macs)
    lost = f"{gentlest.drop:.4f} on {found.samples:,} samples"
    could = gentlest.drop
    if gentlest.most is not None:
        could = max(gentlest.most, gentlest.drop)
        lost += f", and in nine cases of ten by at most {gentlest.most:.4f} on others"
    what = found.measure if found.measure in (AGREEMENT, LIKENESS, LOGS) else "accuracy"
    advice = f": --max-drop {math.ceil(could * 1000) / 1000:g} could be kept" if 0 <= could < 1 else ""
    raise PromiseError(
        f"--max-drop {found.limit:g} can't be kept: at {gentlest.macs:.1%} of the MACs ({gentlest.channels:.1%} of the "
        f"channels), the gentlest cut that was tried, {what} drops by {lost}{advice}{_too_few(found)}"
    )


def _told(found: Search) -> str:
    taken = found.trials[found.chosen]
    text = f"{found.measure} drops by {taken.drop:+.4f} (at most {found.limit:g}) on {found.samples:,} samples"
    if taken.most is None or taken.known is None:
        return f"{text}, which the search was made on: the drop on others may be larger"
    text += (
        f", which tell it to {100 * taken.known:.1f} points: on others, in nine cases of ten, {taken.most:+.4f} at most"
    )
    return text + _too_few(found)


def _too_few(found: Search) -> str:
    """That no choice could have kept the limit for sure, on so few samples; and how many could tell."""
    if found.vouched <= found.limit:
        return ""
    enough = f"; some {math.ceil(SURE / found.limit):,} samples could" if found.limit else ""
    return f". So few can't vouch for {found.limit:g}{enough}"


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


def _trials(budgets: Budgets, settings: Settings, choices: Choices, judge: Dropping, clock: Clock) -> list[_Tried]:
    """Choices by halving, the share of MACs between one that loses too much and one that does not."""
    limit = settings.max_drop or 0.0
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
        low, high = (low, trial.macs) if keeps(trial, limit, judge.vouched) else (aim, high)
    return tried


def _try(budgets: Budgets, settings: Settings, kept: Kept, judge: Dropping) -> _Tried:
    analysis, source = budgets.analysis, budgets.source
    work = work_of(
        budgets, make_plan(analysis, settings, source.digest, budgets.shapes, decided=kept, samples=budgets.samples)
    )
    model = repair(budgets.request, source, work, surgery.prune(analysis, work.alive)).model
    drop = judge.of(model)
    left = budgets.left("macs", work.alive), channels_left(work)
    return _Tried(work, Trial(*left, drop.value, drop.most, drop.known))

"""Choosing: the analysis of a model, the plan, and what they say of one sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from onnx_attnprune import surgery
from onnx_attnprune.axes import BoolArray, Var
from onnx_attnprune.errors import NothingToPruneError
from onnx_attnprune.evaluate.feeds import with_batch
from onnx_attnprune.graph import folded
from onnx_attnprune.grouping import Analysis, alive_of, analyze
from onnx_attnprune.pipeline.budgets import Budgets
from onnx_attnprune.pipeline.request import Clock, Request, Tell
from onnx_attnprune.pipeline.source import Shapes, Source
from onnx_attnprune.planning import Plan, PlannedGroup, Settings, choose, to_json
from onnx_attnprune.report import Search, Timing
from onnx_attnprune.runtime import preferred_multiple
from onnx_attnprune.scoring import SAMPLED, Samples

MULTIPLES = (8, 4, 2, 1)  # that automatic rounding goes down to where larger ones leave every channel in place


@dataclass(frozen=True, slots=True)
class Work:
    """A chosen removal. `single`: masks by variable id under which a run is one sample, of the shapes `sample`.

    budgets: what it was chosen by; None where a plan file says what goes.
    """

    analysis: Analysis
    plan: Plan
    alive: dict[int, BoolArray]
    shapes: Shapes
    single: dict[int, BoolArray]
    sample: Shapes
    search: Search | None = None
    timing: Timing | None = None
    budgets: Budgets | None = None


def choose_channels(request: Request, source: Source, shapes: Shapes, clock: Clock) -> Work:
    """Analyse the model at `shapes` and choose what goes, or take it from a plan file."""
    budgets = budgets_of(request, source, shapes, clock)
    with clock.stage("plan"):
        if source.plan is not None:
            return work_of(budgets, source.plan.checked(budgets.analysis, source.digest))
        plan = planned(budgets, request.settings, clock.tell)
    return replace(work_of(budgets, plan), budgets=budgets)


def budgets_of(request: Request, source: Source, shapes: Shapes, clock: Clock) -> Budgets:
    """The analysis of the model at `shapes`, and the budgets that go with it."""
    with clock.stage("analyse"):
        alike = request.settings.alike if source.plan is None else source.plan.alike
        analysis = analyze(folded(source.model), shapes, alike)
        groups = tuple(replace(g, spared=request.spared.get(g.name, g.spared)) for g in analysis.groups)
        analysis = replace(analysis, groups=groups)
    single = one_sample_masks(analysis, source, shapes)
    sample = shapes if single is None else with_batch(source.specs, shapes, source.free, 1)
    return Budgets(request, source, analysis, shapes, single or {}, sample, clock.tell)


def work_of(budgets: Budgets, plan: Plan, search: Search | None = None) -> Work:
    """A plan with what goes with it. What was gathered for it is forgotten: a repair needs the memory."""
    budgets.forget()
    alive = alive_of(budgets.analysis.groups, plan.removed)
    return Work(budgets.analysis, plan, alive, dict(budgets.shapes), dict(budgets.single), budgets.sample, search)


def multiples(request: Request, analysis: Analysis) -> list[int]:
    """What kept counts may be multiples of, the best first; smaller ones are for where those don't do."""
    liked = request.round_to or preferred_multiple(request.settings.deploy or request.provider)
    return [liked, *(m for m in MULTIPLES if m < liked and not request.round_to and analysis.groups)]


def channels_left(work: Work) -> float:
    """The share that is left of all channels."""
    channels = sum(g.size for g in work.analysis.groups)
    return 1 - sum(map(len, work.plan.removed.values())) / channels


def planned(budgets: Budgets, settings: Settings, tell: Tell) -> Plan:
    """A new plan; where automatic rounding would leave every channel in place, one with smaller multiples.

    Raises NothingToPruneError where no multiple lets anything go, PromiseError where none keeps a target.
    """
    tried = multiples(budgets.request, budgets.analysis)
    for multiple in tried:
        try:
            plan = _at_multiple(budgets, replace(settings, round_to=multiple), tell)
        except NothingToPruneError:
            if multiple == tried[-1]:
                raise
        else:
            if multiple == tried[0]:
                return plan
            why = "would leave every channel in place" if settings.target is None else "leave too much"
            note = f"multiples of {tried[0]} {why}: rounded to multiples of {multiple}"
            return replace(plan, notes=(note, *plan.notes))
    raise AssertionError("the last multiple is either chosen or raises")


def _at_multiple(budgets: Budgets, settings: Settings, tell: Tell) -> Plan:
    """A plan with the settings; one that keeps their target, where they have one."""
    analysis, digest, shapes = budgets.analysis, budgets.source.digest, budgets.shapes
    if settings.target is None:
        return _of_ratio(budgets, settings, tell)
    aim = settings.target[1]
    while True:
        plan = make_plan(analysis, settings, digest, shapes, tell, budgets.kept(settings, aim), budgets.samples)
        over = budgets.over(settings, plan.removed)
        if over <= 0:
            return replace(plan, notes=(*plan.notes, *budgets.notes(settings)))
        aim -= over + 1e-6  # later stages may have chosen other channels; ends where no choice leaves so little


def _of_ratio(budgets: Budgets, settings: Settings, tell: Tell) -> Plan:
    """A plan without a target. A ratio of all channels goes from where it costs the outputs least, where a criterion
    or the repair looks at samples that can tell; else channels are ranked."""
    decided: Mapping[int, int] | None = None
    notes: tuple[str, ...] = ()
    looked = settings.criterion in SAMPLED or budgets.request.fits
    if settings.ratio is not None and settings.scope == "global" and looked:
        decided, notes = budgets.by_error(settings), budgets.notes(settings)
        settings = settings if decided is not None else replace(settings, scope="layer")
    made = make_plan(budgets.analysis, settings, budgets.source.digest, budgets.shapes, tell, decided, budgets.samples)
    return replace(made, notes=(*made.notes, *notes))


def make_plan(
    analysis: Analysis, settings: Settings, digest: str, shapes: Shapes, tell: Tell = lambda _: None,
    decided: Mapping[int, int] | None = None, samples: Samples | None = None,
) -> Plan:  # fmt: skip  # two lines
    """Score and choose: the plan for the model file with the hash `digest`, analysed at `shapes`.

    decided: how many channels each group keeps, where a budget has said so. samples: for a criterion that goes by
    some. Raises NothingToPruneError where nothing can go, SettingsError for patterns that match nothing.
    """
    choice = choose(analysis, settings, tell, decided, samples)
    groups = tuple(
        PlannedGroup(g.id, g.name, g.size, choice.removed.get(g.id, ()), tuple(map(float, choice.scores[g.id])))
        for g in analysis.groups
    )
    stated = {**settings.as_dict(), "shapes": {name: list(shape) for name, shape in shapes.items()}}
    return Plan(digest, stated, groups, choice.notes)


def one_sample_masks(analysis: Analysis, source: Source, shapes: Shapes) -> dict[int, BoolArray] | None:
    """Masks by variable id that leave one sample of a free batch; None where the batch is no variable of its own."""
    masks: dict[int, BoolArray] = {}
    for name in source.free:
        batch, size = analysis.space.find((analysis.tensors[name].axes or ())[0]), shapes[name][0]
        if not isinstance(batch, Var) or batch.size != size:
            return None
        masks[batch.id] = np.arange(size) == 0
    return masks


def plan_text(plan: Plan, analysis: Analysis, alive: Mapping[int, BoolArray]) -> str:
    """The plan file's text, with the slices that go from every tensor of the original file."""
    cuts = surgery.cuts_of(analysis, alive)
    whole = {name: _indices(removed) for name, removed in surgery.named_cuts(analysis, cuts).items()}
    uses = [
        {"tensor": u.tensor, "consumer": u.consumer, "input": u.place, "removed": _indices(u.removed)}
        for u in cuts.uses
        if u.tensor not in analysis.graph.folds  # which the file does not hold, and no plan has to silence
    ]
    return to_json(plan, analysis, whole, uses)


def _indices(removed: surgery.Removed) -> dict[str, list[int]]:
    return {str(axis): list(gone) for axis, gone in removed.items()}

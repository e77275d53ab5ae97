"""Choosing: the analysis of a model, the plan, and what they say of one sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from onnx_attnprune import surgery
from onnx_attnprune.axes import BoolArray, Var
from onnx_attnprune.errors import NothingToPruneError
from onnx_attnprune.evaluate.feeds import with_batch
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import Analysis, alive_of, analyze
from onnx_attnprune.pipeline.request import Clock, Request, Tell
from onnx_attnprune.pipeline.source import Shapes, Source
from onnx_attnprune.planning import Plan, PlannedGroup, Settings, choose, to_json
from onnx_attnprune.runtime import preferred_multiple

MULTIPLES = (8, 4, 2, 1)  # that automatic rounding goes down to where larger ones leave every channel in place


@dataclass(frozen=True, slots=True)
class Work:
    """A chosen removal. `single`: masks by variable id under which a run is one sample, of the shapes `sample`."""

    analysis: Analysis
    plan: Plan
    alive: dict[int, BoolArray]
    shapes: Shapes
    single: dict[int, BoolArray]
    sample: Shapes


def choose_channels(request: Request, source: Source, shapes: Shapes, clock: Clock) -> Work:
    """Analyse the model at `shapes` and choose what goes, or take it from a plan file."""
    with clock.stage("analyse"):
        analysis = analyze(Graph(source.model), shapes)
    with clock.stage("plan"):
        if source.plan is not None:
            plan = source.plan.checked(analysis, source.digest)
        else:
            plan = _planned(analysis, request, source, shapes, clock.tell)
        alive = alive_of(analysis.groups, plan.removed)
    single = one_sample_masks(analysis, source, shapes)
    sample = shapes if single is None else with_batch(source.specs, shapes, source.free, 1)
    return Work(analysis, plan, alive, shapes, single or {}, sample)


def _planned(analysis: Analysis, request: Request, source: Source, shapes: Shapes, tell: Tell) -> Plan:
    """A new plan; where automatic rounding would leave every channel in place, one with smaller multiples."""
    liked = request.round_to or preferred_multiple(request.provider)
    multiples = [liked, *(m for m in MULTIPLES if m < liked and not request.round_to and analysis.groups)]
    for multiple in multiples:
        try:
            plan = make_plan(analysis, replace(request.settings, round_to=multiple), source.digest, shapes, tell)
        except NothingToPruneError:
            if multiple == multiples[-1]:
                raise
        else:
            if multiple == liked:
                return plan
            note = f"multiples of {liked} would leave every channel in place: rounded to multiples of {multiple}"
            return replace(plan, notes=(note, *plan.notes))
    raise AssertionError("the last multiple is either chosen or raises")


def make_plan(analysis: Analysis, settings: Settings, digest: str, shapes: Shapes, tell: Tell = lambda _: None) -> Plan:
    """Score and choose: the plan for the model file with the hash `digest`, analysed at `shapes`.

    Raises NothingToPruneError where nothing can go, SettingsError for patterns that match nothing.
    """
    choice = choose(analysis, settings, tell)
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
    whole = {name: _indices(removed) for name, removed in cuts.whole.items()}
    uses = [
        {"tensor": u.tensor, "consumer": u.consumer, "input": u.place, "removed": _indices(u.removed)}
        for u in cuts.uses
    ]
    return to_json(plan, analysis, whole, uses)


def _indices(removed: surgery.Removed) -> dict[str, list[int]]:
    return {str(axis): list(gone) for axis, gone in removed.items()}

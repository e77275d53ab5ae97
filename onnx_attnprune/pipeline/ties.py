"""Networks in which rounding alone ranks most of what they select: what changes how sums round stays whole there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from onnx_attnprune.errors import NothingToPruneError
from onnx_attnprune.evaluate.rounding import rounding_groups
from onnx_attnprune.evaluate.selfcheck import SelfCheck
from onnx_attnprune.graph import ModelProto
from onnx_attnprune.pipeline.choice import Work
from onnx_attnprune.pipeline.request import Clock, Request
from onnx_attnprune.pipeline.source import Source

MOVED = 0.1  # of the ranks; of a trained detector's boxes hardly one in a hundred is as close to the next as rounding
WHY = (
    "most of what the network selects ties, and without their channels sums round otherwise, so that other boxes come "
    "first; --ties cut takes them"
)


@dataclass(frozen=True, slots=True)
class Made:
    """A choice that was cut, with the check that it passed. source: what the repair may look at."""

    source: Source
    work: Work
    pruned: ModelProto
    check: SelfCheck


def steady(request: Request, make: Callable[[Request], Made], clock: Clock) -> Made:
    """What is made of a request; where its check could only compare what goes into selections, because most of the
    ranks there changed with the last bit of a sum, made anew without the groups that change it.

    Where nothing else can go, or a budget can't be kept without them, it stays as it was made first.
    """
    first = made = make(request)
    if request.settings.ties == "cut" or first.source.plan is not None:
        return first
    spared: dict[str, str] = {}
    while made.check.moved > MOVED:
        with clock.stage("ties"):
            groups = rounding_groups(made.work.analysis, made.work.plan.removed)
        fresh = {g.name: WHY for g in made.work.analysis.groups if g.id in groups and g.name not in spared}
        if not fresh:  # no sum rounds otherwise by itself, or a pattern asks for these groups by name
            return first
        spared.update(fresh)
        try:
            made = make(replace(request, spared=spared))
        except NothingToPruneError:
            return first
    return made

"""The part of a report that analysis and plan tell, before any model is run."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from onnx_attnprune import __version__, runtime
from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import damaged_tensors, parameter_count
from onnx_attnprune.grouping import Analysis, Kept
from onnx_attnprune.planning import Plan, PlannedGroup
from onnx_attnprune.report.model import Change, GroupRow, Histogram, KeptRow, Report
from onnx_attnprune.surgery import Cuts, Removed, cuts_of

Shapes = Mapping[str, tuple[int, ...]]
BINS = 25  # of a histogram of scores: 0.04 each


def begin(
    analysis: Analysis, plan: Plan, alive: Mapping[int, BoolArray], single: Mapping[int, BoolArray], *,
    model: str, output: str | None, command: str, settings: Mapping[str, Any], shapes: Shapes,
) -> Report:  # fmt: skip  # what is known of the run on one line
    """The report so far; the parameters after the cut are estimated, without a repair's biases.

    single: masks by variable id under which one run is one sample; `shapes` are the input shapes of such a run.
    """
    removed = plan.removed
    planned = {g.id: g for g in plan.groups}
    rows = tuple(
        GroupRow(g.name, g.size, g.size - len(removed.get(g.id, ())), len(g.members), _histogram(planned.get(g.id)))
        for g in analysis.groups
    )
    before, lost = parameter_count(analysis.graph.file), lost_parameters(analysis, cuts_of(analysis, alive))
    return Report(
        model=model, output=output, command=command, versions=versions(), settings={**plan.settings, **settings},
        shapes=dict(shapes),
        channels=Change(sum(r.size for r in rows), sum(r.kept for r in rows)),
        parameters=Change(before, parameter_count(analysis.graph.model) - lost),
        macs=Change(analysis.macs(single), analysis.macs({**alive, **single})),
        size=None, groups=rows, kept=kept_rows(analysis.kept), self_check=None, drift=None, speed=None, accuracy=None,
        repair=None, stages=(), notes=(*_damage(analysis), *_computed(analysis), *plan.notes), sha256=plan.sha256,
    )  # fmt: skip  # what is not known yet on one line


def _computed(analysis: Analysis) -> Iterator[str]:
    folds = analysis.graph.folds
    if folds:
        yield (
            f"{len(folds)} weights that the file computes out of stored ones are stored as they come out (such as "
            f"{next(iter(folds))}, of {next(iter(folds.values())).source})"
        )


def _damage(analysis: Analysis) -> tuple[str, ...]:
    names = damaged_tensors(analysis.graph.model)
    if not names:
        return ()
    return (f"the model is damaged: nan among the weights of {', '.join(names[:3])}{', …' if len(names) > 3 else ''}",)


def _histogram(group: PlannedGroup | None) -> Histogram | None:
    if group is None or len(group.scores) != group.size:  # a plan that was written by hand, or left it out
        return None
    scores = np.asarray(group.scores)
    gone = np.zeros(group.size, bool)
    gone[list(group.removed)] = True
    scored = np.isfinite(scores)
    kept, removed = scores[scored & ~gone], scores[scored & gone]
    cut = None
    if kept.size and removed.size and removed.max() <= kept.min():
        cut = float(removed.max() + kept.min()) / 2
    bins = [tuple(np.histogram(np.clip(s, 0, 1), BINS, (0, 1))[0].tolist()) for s in (kept, removed)]
    return Histogram(bins[0], bins[1], cut, int(np.count_nonzero(~scored)))


def lost_parameters(analysis: Analysis, cuts: Cuts) -> int:
    """How many parameters cuts remove."""
    return lost(analysis, cuts, dict.fromkeys(parameter_types(analysis), 1))


def lost(analysis: Analysis, cuts: Cuts, worth: Mapping[str, int]) -> int:
    """What cuts remove, each number of a tensor being worth what `worth` says by its name (nothing where it does not).

    A tensor that its readers are cut from differently becomes several.
    """
    graph, outputs = analysis.graph, {o.name for o in analysis.graph.outputs}
    gone = sum(
        worth[name] * (math.prod(graph.constants[name].dims) - _left(graph.constants[name].dims, removed))
        for name, removed in cuts.whole.items()
        if name in worth
    )
    copies: dict[str, list[Removed]] = {}
    for use in cuts.uses:
        copies.setdefault(use.tensor, []).append(use.removed)
    for name, removals in copies.items():
        if name not in worth:
            continue
        constant = graph.constants[name]
        unread = len(removals) == len(graph.readers[name]) + (name in outputs)
        if unread and constant.is_initializer:
            gone += worth[name] * constant.count
        different = {tuple(sorted(r.items())) for r in removals}
        gone -= worth[name] * sum(_left(constant.dims, dict(r)) for r in different)
    return gone


def parameter_types(analysis: Analysis) -> set[str]:
    """Names of the constants that count as parameters (see `graph.parameter_count`)."""
    found = set()
    for name, constant in analysis.graph.constants.items():
        if constant.dims and constant.dtype not in (6, 7, 9):  # TensorProto: INT32, INT64, BOOL
            found.add(name)
    return found


def _left(dims: Sequence[int], removed: Removed) -> int:
    return math.prod(size - len(removed.get(k, ())) for k, size in enumerate(dims))


def kept_rows(kept: Sequence[Kept]) -> tuple[KeptRow, ...]:
    """The axes that are kept, one row a reason, the one with most channels first."""
    found: dict[tuple[str, str], list[Kept]] = {}
    for k in kept:
        found.setdefault((k.why, k.op), []).append(k)
    rows = [
        KeptRow(why, op, len(ks), sum(k.size for k in ks), f"{ks[0].tensor} axis {ks[0].axis}", ks[0].node)
        for (why, op), ks in found.items()
    ]
    return tuple(sorted(rows, key=lambda r: -r.channels))


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    from importlib.metadata import version

    # ONNX Runtime comes in packages of many names.
    found = {"onnx": version("onnx"), "onnxruntime": runtime.version(), "numpy": version("numpy")}
    return {"onnx-attnprune": __version__, **found, "python": platform.python_version()}

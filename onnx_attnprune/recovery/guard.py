"""The guard of a whole repair: it stays only where the network's outputs come nearer to those of the unpruned one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune import surgery
from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import ModelProto, inlined, nested, with_outputs
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.branches import straightened, taken_of
from onnx_attnprune.recovery.calibration import Calibration, Feeds, runnable
from onnx_attnprune.recovery.least_squares import is_unseen
from onnx_attnprune.recovery.norms import at_home
from onnx_attnprune.recovery.registry import Limits, Recovery, recover
from onnx_attnprune.recovery.spent import Spent
from onnx_attnprune.runtime import Session

MOST = 64  # samples that are compared
Outputs = list[dict[str, NDArray[Any]]]


def guarded(
    name: str, analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, calibration: Calibration,
    limits: Limits | None = None,
) -> Recovery:  # fmt: skip  # two lines
    """Repair as `recover` does, by a method that uses samples, and check it on some that it was not fitted on.

    Where the outputs are no nearer to those of the unpruned model than without repair, the mean is compensated instead;
    where that is no better either, the pruned model is given back as it was. The notes say so.
    """
    found = _branching(name, analysis, alive, pruned, calibration, limits)
    unseen, spent = unseen_runs(calibration), Spent()
    with spent.on("check"):
        reference = outputs_of(analysis.graph.model, unseen)
        plain = surgery.prune(analysis, alive)
        before = divergence(reference, outputs_of(plain, unseen))
        after = divergence(reference, outputs_of(found.model, unseen))
    found = replace(found, parts=(*found.parts, *spent.parts))
    if after < before:
        return found
    told = (
        f"{name} brought the outputs no nearer to the original's ({after:.3g} of their variance, {before:.3g} without)"
    )
    milder = recover("mean", analysis, alive, plain)
    if divergence(reference, outputs_of(milder.model, unseen)) < before:
        return replace(milder, parts=found.parts, notes=(f"{told}: compensated the mean instead", *milder.notes))
    left = recover("none", analysis, alive, surgery.prune(analysis, alive))
    return replace(left, method="none", parts=found.parts, notes=(f"{told}: left as it is", *found.notes))


def _branching(
    name: str, analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, calibration: Calibration,
    limits: Limits | None,
) -> Recovery:  # fmt: skip  # two lines
    """Repair; in a network with branches those that the samples take."""
    taken, limits = taken_of(analysis, calibration), limits or Limits()
    if not taken:
        return at_home(name, analysis, alive, pruned, calibration, limits)
    straight = inlined(pruned, taken)
    found = at_home(name, straightened(analysis, taken), alive, straight, calibration, limits)
    return replace(found, model=nested(pruned, found.model, taken))


def unseen_runs(calibration: Calibration) -> list[Feeds]:
    """Runs that no fit has seen; the last one where there are too few."""
    runs = [feeds for k, feeds in enumerate(calibration.runs) if is_unseen(k)] or list(calibration.runs[-1:])
    each = max(calibration.samples // len(calibration.runs), 1)
    return runs[: max(MOST // each, 1)]


def outputs_of(model: ModelProto, runs: Sequence[Feeds]) -> Outputs:
    """The outputs of a model, run by run. Raises ModelError where it does not run."""
    model, runs = runnable(model, runs)
    session = Session(with_outputs(model, []))
    return [session.run(feeds) for feeds in runs]


def divergence(reference: Outputs, other: Outputs) -> float:
    """How far outputs are off: of numbers the mean squared error over the variance, of others the share that differs;
    the mean over all outputs. Infinite where a number is not finite."""
    parts = []
    for name in reference[0]:
        one, two = ([run[name] for run in runs] for runs in (reference, other))
        if any(a.shape != b.shape for a, b in zip(one, two, strict=True)):
            parts.append(1.0)  # as many boxes as are found, for one
            continue
        a, b = (np.concatenate([x.ravel() for x in arrays]) for arrays in (one, two))
        if a.dtype.kind in "iub?" or a.dtype == object:
            parts.append(float(np.mean(a != b)))
        else:
            a, b = a.astype(np.float64), b.astype(np.float64)
            finite = np.isfinite(a)
            off = float(((a - b)[finite] ** 2).mean()) if finite.any() else 0.0
            parts.append(off / max(float(a[finite].var()), 1e-30) if np.isfinite(off) else np.inf)
    return float(np.mean(parts)) if parts else 0.0

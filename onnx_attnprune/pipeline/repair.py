"""The repair of a run: which method, on which samples."""

from __future__ import annotations

from dataclasses import replace

from onnx_attnprune.errors import ModelError
from onnx_attnprune.graph import ModelProto
from onnx_attnprune.pipeline.choice import Work
from onnx_attnprune.pipeline.request import Request, Tell
from onnx_attnprune.pipeline.samples import calibration_of
from onnx_attnprune.pipeline.source import Source
from onnx_attnprune.recovery import Calibration, Limits, Recovery, Spent, guarded, recover

BEST, QUICK = "paired", "sequential"  # what `auto` is on samples of the user's, and on made-up ones: see ADR 0010


def repair(
    request: Request, source: Source, work: Work, pruned: ModelProto, tell: Tell = lambda _: None,
    given: Calibration | None = None,
) -> Recovery:  # fmt: skip  # two lines
    """Repair the pruned model (in place) and check that it helped, on the user's samples or on procedural ones. `auto`
    fits couples of layers on the user's samples, layer after layer on procedural ones; where the network does not run
    on those, it is the data-free compensation of the mean. given: other samples to fit on.
    """
    if request.recover in ("none", "mean"):
        return recover(request.recover, work.analysis, work.alive, pruned)
    spent = Spent()
    try:
        with spent.on("samples"):
            calibration = given or calibration_of(request, source, work.analysis, work.shapes, work.sample)
        best = QUICK if calibration.foreign else BEST
        method = best if request.recover == "auto" else request.recover
        found = guarded(method, work.analysis, work.alive, pruned, calibration, Limits(request.memory, tell))
        return replace(found, parts=(*spent.parts, *found.parts))
    except ModelError as error:
        if request.calibration is not None or request.recover != "auto":
            raise
        found = recover("mean", work.analysis, work.alive, pruned)
        return replace(found, notes=(f"the model does not run on procedural samples ({error})", *found.notes))

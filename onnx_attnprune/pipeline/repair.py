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

BEST = "paired"  # what `auto` is: see ADR 0010


def repair(
    request: Request, source: Source, work: Work, pruned: ModelProto, tell: Tell = lambda _: None,
    given: Calibration | None = None,
) -> Recovery:  # fmt: skip  # two lines
    """Repair the pruned model (in place) and check that it helped, on the user's samples or on procedural ones. `auto`
    is BEST; where the network does not run on procedural samples, it is the data-free compensation of the mean. given:
    other samples to fit on.
    """
    if not request.fits:
        return recover(request.recover, work.analysis, work.alive, pruned)
    spent = Spent()
    try:
        with spent.on("samples"):
            calibration = given or calibration_of(request, source, work.analysis, work.shapes, work.sample)
        method = BEST if request.recover == "auto" else request.recover
        found = guarded(method, work.analysis, work.alive, pruned, calibration, Limits(request.memory, tell))
        return replace(found, parts=(*spent.parts, *found.parts))
    except ModelError as error:
        if request.calibration is not None or request.recover != "auto":
            raise
        found = recover("mean", work.analysis, work.alive, pruned)
        return replace(found, notes=(f"the model does not run on procedural samples ({error})", *found.notes))

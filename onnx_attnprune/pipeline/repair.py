"""The repair of a run: which method, on which samples."""

from __future__ import annotations

from dataclasses import replace

from onnx_attnprune.errors import ModelError
from onnx_attnprune.graph import ModelProto
from onnx_attnprune.pipeline.choice import Work
from onnx_attnprune.pipeline.request import Request
from onnx_attnprune.pipeline.samples import calibration_of
from onnx_attnprune.pipeline.source import Source
from onnx_attnprune.recovery import Recovery, recover


def repair(request: Request, source: Source, work: Work, pruned: ModelProto) -> Recovery:
    """Repair the pruned model (in place). `auto` is least squares, on the user's samples or on procedural ones; where
    the network does not run on those, it is the data-free compensation of the mean."""
    if request.recover not in ("auto", "least-squares"):
        return recover(request.recover, work.analysis, work.alive, pruned)
    try:
        calibration = calibration_of(request, source, work.analysis, work.shapes, work.sample)
        return recover("least-squares", work.analysis, work.alive, pruned, calibration)
    except ModelError as error:
        if request.calibration is not None or request.recover != "auto":
            raise
        found = recover("mean", work.analysis, work.alive, pruned)
        return replace(found, notes=(f"the model does not run on procedural samples ({error})", *found.notes))

"""The repair of a run: which method, on which samples."""

from __future__ import annotations

from dataclasses import replace

from onnx_attnprune.errors import ModelError
from onnx_attnprune.evaluate.feeds import with_batch
from onnx_attnprune.graph import ModelProto, index_limits
from onnx_attnprune.pipeline.choice import Work
from onnx_attnprune.pipeline.request import Request
from onnx_attnprune.pipeline.source import Source
from onnx_attnprune.recovery import Calibration, Inputs, Recovery, in_batches, likely_range, procedural, recover

SAMPLES, FEWEST, BATCH = 256, 32, 16
MACS = 500_000_000_000  # that procedural samples may cost: more than these 256 of a small network need not


def repair(request: Request, source: Source, work: Work, pruned: ModelProto) -> Recovery:
    """Repair the pruned model (in place). `auto` is least squares, on the user's samples or on procedural ones; where
    the network does not run on those, it is the data-free compensation of the mean."""
    if request.recover not in ("auto", "least-squares"):
        return recover(request.recover, work.analysis, work.alive, pruned)
    try:
        calibration = _calibration(request, source, work)
        return recover("least-squares", work.analysis, work.alive, pruned, calibration)
    except ModelError as error:
        if request.calibration is not None or request.recover != "auto":
            raise
        found = recover("mean", work.analysis, work.alive, pruned)
        return replace(found, notes=(f"the model does not run on procedural samples ({error})", *found.notes))


def _calibration(request: Request, source: Source, work: Work) -> Calibration:
    whole_batch = set(source.free) == {s.name for s in source.specs}
    single = next(iter(work.sample.values()), (1,))
    if source.calibration is not None and request.calibration is not None:
        feeds = {n: a[:SAMPLES] for n, a in source.calibration.feeds.items()}
        return in_batches(feeds, BATCH if whole_batch else single[0], request.calibration.name)
    macs = max(work.analysis.macs({}) // max(next(iter(work.shapes.values()), (1,))[0], 1), 1)
    samples = int(min(max(MACS // macs, FEWEST), SAMPLES))
    batch = min(BATCH, samples) if whole_batch else 1
    shapes = with_batch(source.specs, source.shapes, source.free, batch) if whole_batch else work.sample
    limits = index_limits(work.analysis.graph)
    inputs = Inputs(shapes, {s.name: s.dtype for s in source.specs}, limits, batch if whole_batch else 1)
    return procedural(inputs, samples, likely_range(work.analysis, inputs))

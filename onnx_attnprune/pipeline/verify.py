"""A pruned model held against its original: what can be read off both, what the plan says, and how both run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from onnx_attnprune.evaluate.loading import path_of
from onnx_attnprune.graph import (
    ModelProto,
    interface_change,
    opset_change,
    read_model,
    structural_fault,
    unsound_weights,
)
from onnx_attnprune.pipeline.judging import Judged, judge
from onnx_attnprune.pipeline.replay import replay
from onnx_attnprune.pipeline.request import Clock, Tell
from onnx_attnprune.pipeline.source import read
from onnx_attnprune.pipeline.verify_request import VerifyRequest
from onnx_attnprune.report import Outputs, check_outputs, to_json, versions
from onnx_attnprune.report.verification import Check, Verification
from onnx_attnprune.runtime import resolve_provider

SETTINGS = ("provider", "threads", "recover", "max_drop", "min_agreement")
NOT_FED = Judged((Check("outputs", "skipped", "another interface: the models can't be fed alike"),))


def verify_files(request: VerifyRequest, tell: Tell = lambda _: None) -> Verification:
    """Check a pruned model file against its original, measure both, and say what failed.

    `tell` is called with the name of each stage as it begins. A check that fails is no error here: see
    `Verification.failed`. Raises a subclass of AttnPruneError where the files, the plan, the data or the settings are
    such that nothing can be checked.
    """
    data = (path_of(request.evaluation), path_of(request.calibration))
    inputs = [p for p in (request.original, request.pruned, request.plan, *data) if p is not None]
    reports = [] if request.report is None else [request.report]
    check_outputs(reports, inputs)
    resolve_provider(request.provider)
    clock, run = Clock(tell), request.as_run()
    with Outputs() as outputs, tempfile.TemporaryDirectory() as folder:
        source = read(run, clock)
        with clock.stage("read"):
            pruned = read_model(request.pruned)
        with clock.stage("check"):
            static = tuple(_static(source.model, pruned))
        planned = replay(run, request.recover, source, pruned, clock, Path(folder))
        judged = NOT_FED
        if static[0].status == "passed":
            judged = judge(request, source, pruned, planned, clock, Path(folder))
        found = Verification(
            original=str(request.original),
            pruned=str(request.pruned),
            plan=None if request.plan is None else str(request.plan),
            command=request.command,
            versions=versions(),
            settings={name: getattr(request, name) for name in SETTINGS},
            checks=(*static, *planned.checks, *judged.checks),
            drift=judged.drift,
            accuracy=judged.accuracy,
            confusion=judged.confusion,
            stages=tuple(clock.stages),
            notes=judged.notes,
        )
        if request.report is not None:
            outputs.put_text(to_json(found), request.report)
        outputs.commit()
    return found


def _check(name: str, fault: str, fine: str) -> Check:
    return Check(name, "failed" if fault else "passed", fault or fine)


def _static(original: ModelProto, pruned: ModelProto) -> Iterator[Check]:
    """What can be read off the two models."""
    counts = f"{len(original.graph.input)} in, {len(original.graph.output)} out: names, types and shapes are the same"
    yield _check("interface", interface_change(original, pruned), counts)
    yield _check("operator sets", opset_change(original, pruned), "the same")
    fault = structural_fault(pruned)
    if fault and structural_fault(original):
        yield Check("checker", "skipped", f"onnx.checker rejects the original too: {fault}")
    else:
        yield _check("checker", fault and f"onnx.checker: {fault}", "onnx.checker finds nothing wrong (full check)")
    yield _check("weights", unsound_weights(original, pruned), "no new nan or infinity")

"""Reading: the model, what it takes, the data and the plan of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnx_attnprune.evaluate.data import Dataset
from onnx_attnprune.evaluate.feeds import InputSpec, Shape, concrete_shapes, free_batches, input_specs, with_batch
from onnx_attnprune.evaluate.loading import check_preprocess, load
from onnx_attnprune.evaluate.own import Metric, metric_of
from onnx_attnprune.graph import ModelProto, external_files, read_model, sha256
from onnx_attnprune.pipeline.request import Clock, Request
from onnx_attnprune.planning import PlanFile, read_plan
from onnx_attnprune.report import check_outputs

Shapes = dict[str, Shape]


@dataclass(frozen=True, slots=True)
class Source:
    """What was read. `asked`: the shapes that the user, the plan or the data say; `free`: the inputs whose batch is
    free, and for us to choose. calibration: every part of it lies evenly spread over all that was given."""

    model: ModelProto
    digest: str
    bytes: int
    specs: tuple[InputSpec, ...]
    asked: Shapes
    shapes: Shapes
    free: tuple[str, ...]
    data: Dataset | None
    calibration: Dataset | None
    plan: PlanFile | None
    metric: Metric | None


def read(request: Request, clock: Clock) -> Source:
    """Read everything that a run is given, and refuse outputs that are files of its weights."""
    with clock.stage("read"):
        model = read_model(request.model)
        # Only files that are read again name the model by its hash.
        digest = sha256(request.model) if request.plan or request.from_plan or request.reports else ""
        plan = None if request.from_plan is None else read_plan(request.from_plan)
        if plan is not None:
            plan.check_model(digest)
        specs = input_specs(model)
        how = request.preprocess
        check_preprocess(how, (request.evaluation, request.calibration))
        data = None if request.evaluation is None else load(request.evaluation, specs, how, labelled=True)
        given = None if request.calibration is None else load(request.calibration, specs, how, labelled=False)
        calibration = None if given is None else given.spread()
        metric = metric_of(request.metric)
        stored = external_files(request.model)
        outputs = [p for p in (request.output, request.plan, *request.reports) if p is not None]
        if stored:
            check_outputs([*outputs, *([] if request.output is None else [_beside(request.output)])], stored)
        size = sum(p.stat().st_size for p in (request.model, *stored))
        asked = _asked(specs, request, data or calibration, plan)
        shapes = concrete_shapes(specs, asked)
    free = free_batches(specs, request.shapes)
    return Source(model, digest, size, specs, asked, shapes, free, data, calibration, plan, metric)


def _beside(output: Path) -> Path:
    """Where the weights of a result over 2 GB go."""
    return output.with_name(f"{output.name}.data")


def _asked(specs: tuple[InputSpec, ...], request: Request, data: Dataset | None, plan: PlanFile | None) -> Shapes:
    """Sizes for the free dimensions: as asked for, else those of the plan, else of the data."""
    asked = dict(request.shapes)
    if plan is not None and plan.shapes and not asked:
        return dict(plan.shapes)
    for spec in specs:
        if data is not None and spec.name not in asked:
            batch = spec.shape[0] if spec.shape and isinstance(spec.shape[0], int) else 2
            asked[spec.name] = data.shape(spec.name, batch)
    return asked


def one_sample(source: Source) -> Shapes:
    """The shapes with a batch of one, where the batch is free."""
    return with_batch(source.specs, source.shapes, source.free, 1)

"""A run from file to file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from onnx_attnprune.errors import FeedError, NothingToPruneError, PromiseError, SelfCheckError
from onnx_attnprune.evaluate.loading import path_of
from onnx_attnprune.evaluate.measure import Given, Setup, accuracy_of, measure
from onnx_attnprune.evaluate.metrics import Figures
from onnx_attnprune.graph import ModelProto, as_float32, index_limits, parameter_count, write_model
from onnx_attnprune.pipeline.choice import Work, choose_channels, plan_text
from onnx_attnprune.pipeline.cut import check_shapes, cut
from onnx_attnprune.pipeline.holding import what_would_hold
from onnx_attnprune.pipeline.memory import peak_memory
from onnx_attnprune.pipeline.proof import bench_rows, phone_change, speed_on
from onnx_attnprune.pipeline.repair import repair
from onnx_attnprune.pipeline.request import Clock, Request, Tell
from onnx_attnprune.pipeline.samples import unlabelled
from onnx_attnprune.pipeline.search import search
from onnx_attnprune.pipeline.sizes import sizes_that_run
from onnx_attnprune.pipeline.source import Shapes, Source, one_sample, read
from onnx_attnprune.pipeline.ties import Made, steady
from onnx_attnprune.pipeline.timing import fit_latency, hold_latency
from onnx_attnprune.report import (
    Change,
    Outputs,
    Repair,
    Report,
    advice,
    begin,
    check_outputs,
    check_reports,
    report_text,
)
from onnx_attnprune.runtime import resolve_provider


@dataclass(frozen=True, slots=True)
class _Written:
    """A result that is written, but not in its place yet: what to measure, and the report so far."""

    report: Report
    original: Path
    result: Path
    given: Given
    setup: Setup
    unrepaired: Figures | None


def prune_file(request: Request, tell: Tell = lambda _: None) -> Report:
    """Prune one model file: read, analyse, choose, cut, check, repair, write, measure.

    `tell` is called with the name of each stage as it begins. The outputs appear together and whole, after every check
    has passed, or not at all; the input is never written to. A dry run cuts nothing and writes no model. Raises a
    subclass of AttnPruneError for everything that can go wrong.
    """
    paths = [p for p in (request.output, request.plan, *request.reports) if p is not None]
    check_reports(request.reports)
    data = (path_of(request.evaluation), path_of(request.calibration))
    check_outputs(paths, [p for p in (request.model, request.from_plan, *data) if p is not None])
    for provider in (request.provider, *request.bench):
        resolve_provider(provider)
    clock = Clock(tell)
    with Outputs() as outputs:
        if request.output is None:
            report = _dry(request, clock, outputs)
        else:
            report = _measured(_written(request, request.output, clock, outputs), request, clock)
        report = replace(report, stages=tuple(clock.stages))
        report = replace(report, warnings=advice(report))
        for path in request.reports:
            outputs.put_text(report_text(report, path), path)
        outputs.commit()
    return report


def _dry(request: Request, clock: Clock, outputs: Outputs) -> Report:
    source = read(request, clock)
    try:
        work = choose_channels(request, source, source.shapes, clock)
    except NothingToPruneError:
        work = choose_channels(request, source, one_sample(source), clock)
    _put_plan(request, work, outputs)
    report = _begin(request, work)
    if request.evaluation is not None:
        report = replace(report, notes=(*report.notes, "a dry run measures no accuracy"))
    if request.bench:
        report = replace(report, notes=(*report.notes, "a dry run measures no latency"))
    return report


def _put_plan(request: Request, work: Work, outputs: Outputs) -> None:
    if request.plan is not None:
        outputs.put_text(plan_text(work.plan, work.analysis, work.alive), request.plan)


def _begin(request: Request, work: Work) -> Report:
    return begin(
        work.analysis, work.plan, work.alive, work.single,
        model=str(request.model),
        output=None if request.output is None else str(request.output),
        command=request.command,
        settings={"provider": request.provider, "recover": request.recover, "threads": request.threads,
                  "from_plan": None if request.from_plan is None else str(request.from_plan)},
        shapes=work.sample,
    )  # fmt: skip  # one line a piece


def _written(request: Request, output: Path, clock: Clock, outputs: Outputs) -> _Written:
    """Cut, check, repair and write; the weights of neither model are held after this."""
    folder = outputs.folder(output)
    made = _cut(request, read(request, clock), clock, folder)
    source, work, pruned, check = made.source, made.work, made.pruned, made.check
    report = replace(_begin(request, work), self_check=check, search=work.search, timing=work.timing)
    samples, notes = unlabelled(request, source)
    given = Given(
        source.specs, check_shapes(work), work.sample, index_limits(work.analysis.graph), source.data,
        source.metric, samples,
    )  # fmt: skip  # two lines
    benched = request.provider in request.bench and not check.in_float32
    setup = Setup(request.provider, request.threads, 0 if benched else request.latency_seconds, check.in_float32)
    unrepaired = None
    if source.data is not None and request.recover != "none":
        with clock.stage("accuracy"):
            unrepaired = accuracy_of(as_float32(pruned) if check.in_float32 else pruned, given, setup, folder)
    with clock.stage("repair"):
        recovery = repair(request, source, work, pruned, clock.tell)
    holding = what_would_hold(request, source, work, recovery.model, clock, folder)
    with clock.stage("write"):
        staged, size = outputs.put_model(recovery.model, output)
        _put_plan(request, work, outputs)
    _hold(request, report.parameters.before, parameter_count(recovery.model), source.bytes, size)
    original = request.model
    if check.in_float32:
        original, staged = _as_float32(source.model, recovery.model, folder)
    report = replace(
        report,
        parameters=Change(report.parameters.before, parameter_count(recovery.model)),
        size=Change(source.bytes, size),
        notes=(*notes, *report.notes),
        holding=holding,
        repair=Repair(
            recovery.method,
            recovery.consumers,
            recovery.compensated,
            recovery.notes,
            recovery.waves,
            recovery.samples,
            peak_memory(),
            recovery.parts,
        ),
    )
    return _Written(report, original, staged, given, setup, unrepaired)


def _cut(request: Request, source: Source, clock: Clock, folder: Path) -> Made:
    """The checked cut, with shapes that the model takes."""

    def made_at(source: Source) -> Made:
        def make(asked: Request) -> Made:
            work, chosen = _chosen(asked, source, source.shapes, clock, folder)
            return Made(chosen, work, *cut(chosen, work, clock, folder))

        return steady(request, make, clock)

    single = replace(source, shapes=one_sample(source))
    try:
        return made_at(source)
    except PromiseError:
        raise
    except NothingToPruneError:
        if single.shapes == source.shapes:
            raise
        return made_at(single)
    except FeedError:
        return _cut_elsewhere(source, single, made_at, clock, folder)


def _cut_elsewhere(
    source: Source, single: Source, made_at: Callable[[Source], Made], clock: Clock, folder: Path
) -> Made:
    """The cut of a model that does not run at the usual sizes: some state a free batch, but hold shapes that were
    computed for a single sample; others take other sizes."""
    try:
        if single.shapes != source.shapes:
            return made_at(single)
    except FeedError:
        pass  # which is raised again where no other sizes will do either
    with clock.stage("sizes"):
        found = sizes_that_run(source, folder)
    return made_at(single if found is None else replace(source, shapes=found))


def _chosen(request: Request, source: Source, shapes: Shapes, clock: Clock, folder: Path) -> tuple[Work, Source]:
    """What goes, and the samples that the repair may look at."""
    if request.settings.max_drop is not None and source.plan is None:
        return search(request, source, shapes, clock, folder)
    if request.settings.target_latency is not None and source.plan is None:
        return fit_latency(request, source, shapes, clock, folder), source
    return choose_channels(request, source, shapes, clock), source


def _hold(request: Request, parameters: int, left: int, bytes_: int, size: int) -> None:
    """Raise SelfCheckError where the result, repaired and written, breaks a target that the plan kept."""
    target = None if request.from_plan is not None else request.settings.target
    shares = {"params": left / max(parameters, 1), "bytes": size / max(bytes_, 1)}
    if target is not None and shares.get(target[0], 0.0) > target[1]:
        raise SelfCheckError(
            f"self-check: {shares[target[0]]:.4f} of the {target[0]} are left, more than {target[1]:g}; nothing was "
            "written (please report this)"
        )


def _as_float32(original: ModelProto, result: ModelProto, folder: Path) -> tuple[Path, Path]:
    """Files with float32 copies of both models, which are gone with the folder."""
    inner = folder / "float32"
    inner.mkdir()
    for name, model in (("original", original), ("result", result)):
        write_model(as_float32(model), inner / f"{name}.onnx")
    return inner / "original.onnx", inner / "result.onnx"


def _measured(written: _Written, request: Request, clock: Clock) -> Report:
    files, given, report = (written.original, written.result), written.given, written.report
    found = measure(*files, written.unrepaired, given, written.setup, clock.stage)
    rows = () if written.setup.in_float32 else bench_rows(request, files, given, clock)
    speed = found.speed or speed_on(rows, request.provider)
    hold_latency(report.timing, speed)
    phone, notes = phone_change(report.settings.get("deploy"), request, files, given, clock)
    return replace(
        report,
        accuracy=found.accuracy,
        drift=found.drift,
        speed=speed,
        bench=rows,
        phone=phone,
        notes=(*found.notes, *notes, *report.notes),
    )

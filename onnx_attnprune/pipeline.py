"""The steps of a run: each a function from frozen data to frozen data; `prune_file` strings them together."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onnx_attnprune import __version__, surgery
from onnx_attnprune.axes import BoolArray
from onnx_attnprune.errors import ModelError, OutputError, SettingsError
from onnx_attnprune.evaluate.data import Dataset, fixed_batch, load_npz
from onnx_attnprune.evaluate.equivalence import Difference, compare
from onnx_attnprune.evaluate.feeds import InputSpec, concrete_shapes, input_specs, random_feeds
from onnx_attnprune.evaluate.latency import measure_pair
from onnx_attnprune.evaluate.metrics import evaluate
from onnx_attnprune.evaluate.selfcheck import SelfCheck, check_equivalence, check_structure
from onnx_attnprune.graph import (
    Graph,
    ModelProto,
    check_writable,
    float_type,
    index_limits,
    parameter_count,
    read_model,
    serialized,
    sha256,
    write_bytes,
    write_model,
)
from onnx_attnprune.grouping import Analysis, Kept, alive_of, analyze
from onnx_attnprune.planning import Plan, PlannedGroup, Settings, choose, read_plan, to_json
from onnx_attnprune.recovery import recover
from onnx_attnprune.report import Accuracy, Change, GroupRow, KeptRow, Repair, Report, Speed, Stage
from onnx_attnprune.report import to_json as report_json
from onnx_attnprune.runtime import Session, preferred_multiple, resolve_provider

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks of one run. `round_to`: a number, or None for what the provider's kernels like."""

    model: Path
    output: Path | None
    settings: Settings
    round_to: int | None = None
    provider: str = "cpu"
    recover: str = "none"
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    evaluation: Path | None = None
    plan: Path | None = None
    from_plan: Path | None = None
    report: Path | None = None
    latency_seconds: float = 1.0
    command: str = ""


class _Clock:
    """Seconds of each stage, told to the user as they begin."""

    def __init__(self, progress: Progress) -> None:
        self.stages: list[Stage] = []
        self._progress = progress

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._progress(name)
        start = time.perf_counter()
        yield
        self.stages.append(Stage(name, time.perf_counter() - start))


def prune_file(request: Request, progress: Progress = lambda _: None) -> Report:
    """Prune one model file: read, analyse, choose, cut, check, repair, measure, write.

    The output appears whole or not at all, after every check has passed; the input is never written to. Without an
    output (a dry run) nothing is cut. Raises a subclass of AttnPruneError for everything that can go wrong.
    """
    _check_paths(request)
    resolve_provider(request.provider)
    clock = _Clock(progress)
    with clock.stage("read"):
        model = read_model(request.model)
        specs = input_specs(model)
        data = None if request.evaluation is None else load_npz(request.evaluation, specs)
        if data is not None and data.labels is None:
            raise SettingsError(f"{request.evaluation}: has no array 'labels' to compare with")
        shapes = _shapes(specs, request, data)
    with clock.stage("analyse"):
        analysis = analyze(Graph(model), shapes)
    with clock.stage("plan"):
        multiple = request.round_to or preferred_multiple(request.provider)
        plan = make_plan(analysis, replace(request.settings, round_to=multiple), request, progress)
        alive = alive_of(analysis.groups, plan.removed)
    report = _summary(request, analysis, plan, alive, shapes)
    if request.output is None:
        if request.plan is not None:
            write_bytes(request.plan, plan_text(plan, analysis, alive).encode())
        return _finish(request, replace(report, stages=tuple(clock.stages)))
    with clock.stage("cut"):
        pruned = surgery.prune(analysis, alive)
    with clock.stage("self-check"):
        check_structure(model, pruned)
        check = _equivalence(analysis, specs, shapes, alive, pruned)
    report = _measured(request, report, _Models(analysis, alive, model, pruned), specs, data, clock)
    with clock.stage("write"):
        size = write_model(pruned, request.output)
        if request.plan is not None:
            write_bytes(request.plan, plan_text(plan, analysis, alive).encode())
    before = request.model.stat().st_size
    report = replace(report, self_check=check, size=Change(before, size), stages=tuple(clock.stages))
    return _finish(request, report)


def _finish(request: Request, report: Report) -> Report:
    if request.report is not None:
        write_bytes(request.report, report_json(report).encode())
    return report


def _check_paths(request: Request) -> None:
    outputs = [p for p in (request.output, request.plan, request.report) if p is not None]
    inputs = [p for p in (request.model, request.from_plan, request.evaluation) if p is not None]
    for path in outputs:
        if any(_same(path, other) for other in inputs):
            raise SettingsError(f"{path}: the output would overwrite an input")
        if path.is_dir():
            raise OutputError(f"{path}: is a folder")
        check_writable(path)
    if len({p.resolve() for p in outputs}) < len(outputs):
        raise SettingsError("two outputs have the same path")


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))


def _shapes(specs: tuple[InputSpec, ...], request: Request, data: Dataset | None) -> dict[str, tuple[int, ...]]:
    """Sizes for the free dimensions: as asked for, else those of the evaluation data, else usual ones."""
    asked = dict(request.shapes)
    for spec in specs:
        if data is not None and spec.name not in asked and spec.shape is not None:
            batch = spec.shape[0] if spec.shape and isinstance(spec.shape[0], int) else 2
            asked[spec.name] = (batch, *data.feeds[spec.name].shape[1:])
    return dict(concrete_shapes(specs, asked))


# ---------------------------------------------------------------- plan
def make_plan(analysis: Analysis, settings: Settings, request: Request, progress: Progress) -> Plan:
    """The plan of a file, or a new one by scores and settings."""
    digest = sha256(request.model)
    if request.from_plan is not None:
        return read_plan(request.from_plan, analysis, digest)
    choice = choose(analysis, settings, progress)
    groups = tuple(
        PlannedGroup(g.id, g.name, g.size, choice.removed.get(g.id, ()), tuple(map(float, choice.scores[g.id])))
        for g in analysis.groups
    )
    return Plan(digest, settings.as_dict(), groups, choice.notes)


def plan_text(plan: Plan, analysis: Analysis, alive: Mapping[int, BoolArray]) -> str:
    """The plan file's text, with the slices that go from every tensor of the original file."""
    cuts = surgery.cuts_of(analysis, alive)
    whole = {name: _indices(removed) for name, removed in cuts.whole.items()}
    uses = [
        {"tensor": u.tensor, "consumer": u.consumer, "input": u.place, "removed": _indices(u.removed)} for u in cuts.uses
    ]
    return to_json(plan, analysis, whole, uses)


def _indices(removed: surgery.Removed) -> dict[str, list[int]]:
    return {str(axis): list(gone) for axis, gone in removed.items()}


# ---------------------------------------------------------------- checks and measurements
@dataclass(frozen=True, slots=True)
class _Models:
    analysis: Analysis
    alive: Mapping[int, BoolArray]
    original: ModelProto
    pruned: ModelProto


def _equivalence(
    analysis: Analysis, specs: tuple[InputSpec, ...], shapes: Mapping[str, tuple[int, ...]],
    alive: Mapping[int, BoolArray], pruned: ModelProto,
) -> SelfCheck:  # fmt: skip  # two lines
    model = analysis.graph.model
    feeds = random_feeds(specs, shapes, 0, index_limits(analysis.graph))
    told = "random inputs (seed 0)"
    try:
        return check_equivalence(surgery.mask(analysis, alive), pruned, feeds, float_type(model), told)
    except ModelError as error:
        raise ModelError(f"{error} (fed with random inputs; give sizes that it takes with --shape)") from None


def _measured(
    request: Request, report: Report, models: _Models, specs: tuple[InputSpec, ...], data: Dataset | None, clock: _Clock
) -> Report:
    """Repair, then accuracy, drift and latency of the result against the original."""
    original = Session(models.original, provider=request.provider)
    batch = fixed_batch(specs)
    unrepaired = None
    if data is not None and request.recover != "none":
        with clock.stage("accuracy"):
            unrepaired = evaluate(Session(models.pruned, provider=request.provider), data, 64, batch)
    with clock.stage("repair"):
        recovery = recover(request.recover, models.analysis, models.alive, models.pruned)
    pruned = Session(serialized(recovery.model), provider=request.provider)
    accuracy, feeds = None, random_feeds(specs, report.shapes, 1, index_limits(models.analysis.graph))
    if data is not None:
        with clock.stage("accuracy"):
            before, after = evaluate(original, data, 64, batch), evaluate(pruned, data, 64, batch)
            accuracy = Accuracy(str(request.evaluation), before, unrepaired, after)
        feeds = {name: _rows(data.feeds[name], shape[0]) for name, shape in report.shapes.items()}
    with clock.stage("latency"):
        drift = _drift(original, pruned, feeds)
        speed = _speed(request, original, pruned, feeds)
    repair = Repair(recovery.method, recovery.consumers, recovery.compensated)
    notes = (*report.notes, *recovery.notes)
    return replace(report, accuracy=accuracy, drift=drift, speed=speed, repair=repair, notes=notes)


def _rows(array: Any, count: int) -> Any:
    return array[:count] if len(array) >= count else array.repeat(math.ceil(count / len(array)), axis=0)[:count]


def _drift(original: Session, pruned: Session, feeds: Mapping[str, Any]) -> tuple[Difference, ...]:
    reference = original.run(feeds)
    return compare(list(reference), reference, pruned.run(feeds))


def _speed(request: Request, original: Session, pruned: Session, feeds: Mapping[str, Any]) -> Speed:
    before, after, speedup = measure_pair(original, pruned, feeds, min_seconds=request.latency_seconds)
    return Speed(request.provider, before, after, speedup, {k: tuple(v.shape) for k, v in feeds.items()})


# ---------------------------------------------------------------- report
def _summary(
    request: Request, analysis: Analysis, plan: Plan, alive: Mapping[int, BoolArray], shapes: Mapping[str, tuple[int, ...]]
) -> Report:
    removed = plan.removed
    rows = tuple(
        GroupRow(g.name, g.size, g.size - len(removed.get(g.id, ())), len(g.members)) for g in analysis.groups
    )
    parameters = parameter_count(analysis.graph.model)
    gone = sum(_lost(analysis, cut) for cut in surgery.cuts_of(analysis, alive).whole.items())
    return Report(
        model=str(request.model),
        output=None if request.output is None else str(request.output),
        command=request.command,
        versions=_versions(),
        settings={**plan.settings, "provider": request.provider, "recover": request.recover},
        shapes=dict(shapes),
        channels=Change(sum(r.size for r in rows), sum(r.kept for r in rows)),
        parameters=Change(parameters, parameters - gone),
        macs=Change(analysis.macs({}), analysis.macs(alive)),
        size=None, groups=rows, kept=_kept_rows(analysis.kept), self_check=None, drift=(), speed=None,
        accuracy=None, repair=None, stages=(), notes=plan.notes,
    )  # fmt: skip  # what is not known yet on one line


def _lost(analysis: Analysis, cut: tuple[str, surgery.Removed]) -> int:
    name, removed = cut
    dims = analysis.graph.constants[name].dims
    return math.prod(dims) - math.prod(d - len(removed.get(k, ())) for k, d in enumerate(dims))


def _kept_rows(kept: tuple[Kept, ...]) -> tuple[KeptRow, ...]:
    found: dict[tuple[str, str], list[Kept]] = {}
    for k in kept:
        found.setdefault((k.why, k.op), []).append(k)
    rows = [
        KeptRow(why, op, len(ks), sum(k.size for k in ks), f"{ks[0].tensor} axis {ks[0].axis}", ks[0].node)
        for (why, op), ks in found.items()
    ]
    return tuple(sorted(rows, key=lambda r: -r.channels))


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    found = {name: version(name) for name in ("onnx", "onnxruntime", "numpy")}
    return {"onnx-attnprune": __version__, **found, "python": platform.python_version()}

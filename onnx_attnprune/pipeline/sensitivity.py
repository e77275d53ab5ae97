"""The error of each channel group against its width, measured group by group: resumable, in several processes."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from onnx_attnprune import surgery
from onnx_attnprune.errors import NothingToPruneError, SettingsError
from onnx_attnprune.evaluate.feeds import Shape
from onnx_attnprune.evaluate.loading import DataSource, path_of
from onnx_attnprune.graph import external_files, sha256
from onnx_attnprune.grouping import alive_of
from onnx_attnprune.pipeline.budgets import Budgets
from onnx_attnprune.pipeline.choice import budgets_of
from onnx_attnprune.pipeline.request import Clock, Request, Tell
from onnx_attnprune.pipeline.source import one_sample, read
from onnx_attnprune.pipeline.workers import finished as as_they_finish
from onnx_attnprune.planning import Settings, choose, refuse_groupless
from onnx_attnprune.recovery import Calibration, Gathered, Probe, curves_for, recover, widest_cut
from onnx_attnprune.report import check_outputs, write_text
from onnx_attnprune.report.sensitivity import GroupCurve, Sensitivity, Suggestion, chart, finished, read_finished

HALVINGS = 40  # of the error that each group may make, in the search for those that add up to the limit
TRIALS = 4  # of ratios that are cut, repaired and measured together


@dataclass(frozen=True, slots=True)
class SensitivityRequest:
    """What a user asks to have measured.

    limit: the error that the suggested ratios may make together. out: where the figures go, after each group; resume:
    take up what is there. jobs: processes of this machine. scheduler: of a Dask cluster, instead; its workers must find
    the model and the samples under the same paths.
    """

    model: Path
    criterion: str = "obs"
    seed: int = 0
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    calibration: DataSource | None = None
    preprocess: str = ""
    limit: float = 0.05
    out: Path | None = None
    chart: Path | None = None
    resume: bool = False
    jobs: int = 1
    scheduler: str | None = None
    command: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.limit < 1:
            raise SettingsError(f"--max-error {self.limit:g}: the error lies between 0 and 1")
        if self.jobs < 1:
            raise SettingsError(f"--jobs {self.jobs}: must be at least 1")
        if self.resume and self.out is None:
            raise SettingsError("--resume goes on from the file of --out, which is not given")
        if self.scheduler is not None and self.jobs > 1:
            raise SettingsError("--jobs is for this machine and --dask for a cluster: leave out one of them")


def sensitivity_file(request: SensitivityRequest, tell: Tell = lambda _: None) -> Sensitivity:
    """Measure every group of a model file and suggest ratios.

    Figures of finished groups are in `out` even where a later one fails or the run is interrupted. Raises a subclass of
    AttnPruneError.
    """
    written = [p for p in (request.out, request.chart) if p is not None]
    read_too = [request.model, *(p for p in (path_of(request.calibration),) if p is not None)]
    check_outputs(written, [*read_too, *external_files(request.model)])
    bench = _bench(request, tell)
    found = _begun(request, bench)
    if request.resume and request.out is not None:
        found = replace(found, groups=read_finished(request.out, found, bench.budgets.analysis.groups))
    tell("scoring")
    with closing(_measured(request, bench, found, tell)) as measured:
        for group in measured:
            found = replace(found, groups=tuple(sorted((*found.groups, group), key=lambda g: g.id)))
            _write(request.out, found.text())
    tell("suggestion")
    found = replace(found, suggestion=_suggested(request, bench, found.groups))
    _write(request.out, found.text())
    if request.chart is not None:
        tell("chart")
        _write(request.chart, chart(found))
    return found


@dataclass(frozen=True, slots=True)
class _Bench:
    """A model that groups are measured on: analysed, with samples, and with the outputs of the unpruned one."""

    budgets: Budgets
    calibration: Calibration
    gathered: Gathered
    probe: Probe

    def measure(self, orders: Mapping[int, Sequence[int]]) -> Generator[GroupCurve, None, None]:
        """Some groups, by id the order in which their channels go."""
        given = {k: np.array(order, np.int64) for k, order in orders.items()}
        for group, curve in curves_for(self.budgets.analysis, given, self.gathered, self.probe):
            yield finished(group, orders[group.id], curve)


@dataclass(frozen=True, slots=True)
class _Task:
    """A group to measure in another process. request: pickled, so that it can be told from others there."""

    request: bytes
    group: int
    order: tuple[int, ...]


def _work(task: _Task) -> GroupCurve:
    return next(_bench_there(task.request).measure({task.group: task.order}))


@lru_cache(maxsize=1)
def _bench_there(pickled: bytes) -> _Bench:
    """A process reads and analyses the model once, for all of its tasks."""
    request: SensitivityRequest = pickle.loads(pickled)
    return _bench(request, lambda _: None, share_of_cores(request.jobs))


def share_of_cores(jobs: int) -> int:
    """On how many threads each of some processes of this machine may run; 0, as many as it likes, where it is alone."""
    return 0 if jobs == 1 else max((os.cpu_count() or 1) // jobs, 1)


def _bench(request: SensitivityRequest, tell: Tell, threads: int = 0) -> _Bench:
    asked = Request(
        request.model, None, Settings(criterion=request.criterion, seed=request.seed), shapes=request.shapes,
        calibration=request.calibration, preprocess=request.preprocess,
    )  # fmt: skip  # two lines
    clock = Clock(tell)
    source = read(asked, clock)
    budgets = budgets_of(asked, source, source.shapes, clock)
    if not budgets.analysis.groups and one_sample(source) != source.shapes:
        # Some models state a free batch, but hold shapes that were computed for a single sample.
        source = replace(source, shapes=one_sample(source), free=())
        budgets = budgets_of(asked, source, source.shapes, clock)
    refuse_groupless(budgets.analysis)
    tell("outputs of the unpruned model")
    calibration = replace(budgets.calibration, threads=threads)
    gathered = Gathered(calibration) if threads else budgets.gathered  # which holds what the scores go by
    return _Bench(budgets, calibration, gathered, Probe(budgets.analysis, gathered.judging, budgets.probed))


def _begun(request: SensitivityRequest, bench: _Bench) -> Sensitivity:
    """The measurement without any group."""
    notes: tuple[str, ...] = ()
    if bench.calibration.foreign:
        notes = (
            "measured on made-up samples: give some of your own with --calibrate, and the errors are those of use",
        )
    return Sensitivity(
        str(request.model), sha256(request.model), request.criterion, request.seed, bench.budgets.shapes,
        bench.calibration.source, _fingerprint(bench.calibration), bench.probe.samples, (),
        len(bench.budgets.analysis.groups), None, notes, request.command,
    )  # fmt: skip  # in the order of the fields


def _fingerprint(calibration: Calibration) -> str:
    """A hash of the numbers of all samples."""
    digest = hashlib.sha256()
    for feeds in calibration.runs:
        for name, array in sorted(feeds.items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _measured(
    request: SensitivityRequest, bench: _Bench, found: Sensitivity, tell: Tell
) -> Generator[GroupCurve, None, None]:
    """The groups that are not measured yet, as they come."""
    done = {g.id for g in found.groups}
    left = [g for g in bench.budgets.analysis.groups if g.id not in done]
    if not left:
        return
    scores = bench.budgets.scores.normalized
    there = pickle.dumps(replace(request, out=None, chart=None, resume=False))
    tasks = [_Task(there, g.id, tuple(np.argsort(scores[g.id], kind="stable").tolist())) for g in left]
    tell(f"group {len(done) + 1} of {found.total}")
    alone = request.jobs == 1 and request.scheduler is None
    ready = (
        bench.measure({t.group: t.order for t in tasks})
        if alone
        else as_they_finish(_work, tasks, request.jobs, request.scheduler)
    )
    with closing(ready):
        for number, group in enumerate(ready, len(done) + 1):
            yield group
            tell(f"group {min(number + 1, found.total)} of {found.total}")


def _write(path: Path | None, text: str) -> None:
    if path is not None:
        write_text(text, path)


# ---------------------------------------------------------------- the suggestion
def _suggested(request: SensitivityRequest, bench: _Bench, groups: Sequence[GroupCurve]) -> Suggestion:
    """Ratios whose errors add up to the limit; where they make more together, to as much less, and measured again."""
    aim = request.limit
    for _ in range(TRIALS):
        found = _adding_up_to(aim, request, bench, groups)
        if found.together is None or found.together <= request.limit:
            break
        aim *= 0.9 * request.limit / found.together
    return found


def _adding_up_to(aim: float, request: SensitivityRequest, bench: _Bench, groups: Sequence[GroupCurve]) -> Suggestion:
    """Ratios within the same error for each group, that error as large as their sum allows."""
    low, high = 0.0, aim
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _sum(groups, middle) <= aim else (low, middle)
    ratios = {g.name: round(widest_cut(g.outputs, low) / g.size, 4) for g in groups}
    found = Suggestion(request.limit, request.criterion, ratios, _sum(groups, low), None)
    pairs = tuple(ratios.items())
    settings = Settings(ratio=0.5, criterion=request.criterion, seed=request.seed, layer_ratios=pairs)
    analysis = bench.budgets.analysis
    try:
        removed = choose(analysis, settings, samples=bench.budgets.samples).removed
    except NothingToPruneError:
        return found
    alive = alive_of(analysis.groups, removed)
    repaired = recover("least-squares", analysis, alive, surgery.prune(analysis, alive), bench.calibration).model
    return replace(found, together=bench.probe.error_of(repaired))


def _sum(groups: Sequence[GroupCurve], error: float) -> float:
    return sum(g.outputs[widest_cut(g.outputs, error)] for g in groups)

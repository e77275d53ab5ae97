"""What looks at models and measures them, as functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from onnx_attnprune.api.models import (
    ModelSource,
    PathLike,
    model_file,
    name_of,
    path_or_none,
    plan_file,
    shapes,
    told,
    usual_of,
)
from onnx_attnprune.evaluate.loading import DataSource
from onnx_attnprune.evaluate.own import MetricFunction
from onnx_attnprune.pipeline import (
    BenchRequest,
    SensitivityRequest,
    VerifyRequest,
    bench_files,
    inspect_file,
    sensitivity_file,
    verify_files,
)
from onnx_attnprune.report.bench import Bench
from onnx_attnprune.report.inspection import Inspection
from onnx_attnprune.report.sensitivity import Sensitivity
from onnx_attnprune.report.verification import Verification

Tell = Callable[[str], None]


def inspect(
    model: ModelSource,
    *,
    shape: Mapping[str, Sequence[int]] | None = None,
    graph: PathLike | None = None,
    tell: Tell = lambda _: None,
) -> Inspection:
    """What of a network can be pruned, and what is in the way: `onnx-attnprune inspect MODEL`.

    graph: where to draw it (.svg or .html). Raises a subclass of AttnPruneError.
    """
    with model_file(model) as path:
        return replace(inspect_file(path, shapes(shape), path_or_none(graph), tell), model=name_of(model))


def verify(
    original: ModelSource,
    pruned: ModelSource,
    *,
    plan: PathLike | Mapping[str, Any] | None = None,
    recover: str | None = None,
    eval: DataSource | None = None,  # noqa: A002 - called like the flag
    calibrate: DataSource | None = None,
    preprocess: str = "",
    metric: str | MetricFunction | None = None,
    shape: Mapping[str, Sequence[int]] | None = None,
    provider: str = "cpu",
    threads: int = 0,
    max_drop: float | None = None,
    min_agreement: float | None = None,
    report: PathLike | None = None,
    tell: Tell = lambda _: None,
) -> Verification:
    """Whether a pruned model is still right: `onnx-attnprune verify ORIGINAL PRUNED`.

    plan: a path, or the `plan` of a Result. A check that fails raises nothing: see `passed` and `failed` of what is
    given back. Raises a subclass of AttnPruneError where nothing can be checked.
    """
    command = told("verify", (original, pruned), dict(locals()), usual_of(verify))
    with model_file(original) as one, model_file(pruned) as two, plan_file(plan) as planned:
        request = VerifyRequest(
            one, two, plan=planned, recover=recover, evaluation=eval, calibration=calibrate, preprocess=preprocess,
            metric=metric, shapes=shapes(shape), provider=provider, threads=threads, max_drop=max_drop,
            min_agreement=min_agreement, report=path_or_none(report), command=command,
        )  # fmt: skip  # some fields a line
        return replace(verify_files(request, tell), original=name_of(original), pruned=name_of(pruned))


def bench(
    *models: ModelSource,
    provider: str | Sequence[str] = "cpu",
    shape: Mapping[str, Sequence[int]] | None = None,
    batch: int | Sequence[int] = (),
    threads: int = 0,
    seconds: float = 1.0,
    report: PathLike | None = None,
    tell: Tell = lambda _: None,
) -> Bench:
    """Models measured side by side, the first is what the others are compared with: `onnx-attnprune bench MODEL...`.

    A row that could not be measured says so in its `outcome`; where none could, that raises a subclass of
    AttnPruneError.
    """
    command = told("bench", models, dict(locals()), usual_of(bench))
    with ExitStack() as stack:
        request = BenchRequest(
            models=tuple(stack.enter_context(model_file(m)) for m in models),
            providers=(provider,) if isinstance(provider, str) else tuple(provider),
            shapes=shapes(shape),
            batches=(batch,) if isinstance(batch, int) else tuple(batch),
            threads=threads,
            seconds=seconds,
            report=path_or_none(report),
            command=command,
        )
        return bench_files(request, tell)


def sensitivity(
    model: ModelSource,
    *,
    calibrate: DataSource | None = None,
    preprocess: str = "",
    criterion: str = "obs",
    seed: int = 0,
    shape: Mapping[str, Sequence[int]] | None = None,
    max_error: float = 0.05,
    out: PathLike | None = None,
    resume: bool = False,
    chart: PathLike | None = None,
    jobs: int = 1,
    dask: str | None = None,
    tell: Tell = lambda _: None,
) -> Sensitivity:
    """What each channel group can spare, measured: `onnx-attnprune sensitivity MODEL`.

    Raises a subclass of AttnPruneError.
    """
    command = told("sensitivity", (model,), dict(locals()), usual_of(sensitivity))
    with model_file(model) as path:
        request = SensitivityRequest(
            path, criterion=criterion, seed=seed, shapes=shapes(shape), calibration=calibrate, preprocess=preprocess,
            limit=max_error, out=path_or_none(out), chart=path_or_none(chart), resume=resume, jobs=jobs, scheduler=dask,
            command=command,
        )  # fmt: skip  # some fields a line
        return replace(sensitivity_file(request, tell), model=name_of(model))

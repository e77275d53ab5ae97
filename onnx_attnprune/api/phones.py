"""The commands for phones, as functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnx_attnprune.api.models import (
    ModelSource,
    PathLike,
    model_file,
    name_of,
    path_or_none,
    paths,
    plan_file,
    shapes,
    told,
    usual_of,
)
from onnx_attnprune.errors import SettingsError
from onnx_attnprune.evaluate.loading import DataSource
from onnx_attnprune.pipeline import BundleRequest, DeviceRequest, check_usability, make_bundle, run_device
from onnx_attnprune.report.device import BundleReport, DeviceRun
from onnx_attnprune.report.usability import UsabilityReport

Tell = Callable[[str], None]


def device_check(
    *models: ModelSource,
    shape: Mapping[str, Sequence[int]] | None = None,
    tell: Tell = lambda _: None,
) -> UsabilityReport:
    """What NNAPI would take of a model, or of an original and a pruned one: `onnx-attnprune device check`.

    Raises a subclass of AttnPruneError.
    """
    if not 1 <= len(models) <= 2:
        raise SettingsError(f"device_check looks at one model or two, not at {len(models)}")
    command = told("device_check", models, dict(locals()), usual_of(device_check))
    with ExitStack() as stack:
        files = [stack.enter_context(model_file(model)) for model in models]
        found = check_usability(files, shapes(shape), command, tell)
    named = zip(found.models, models, strict=True)
    return replace(found, models=tuple(replace(one, model=name_of(model)) for one, model in named))


def device_bundle(
    original: ModelSource,
    pruned: ModelSource,
    folder: PathLike,
    *,
    plan: PathLike | Mapping[str, Any] | None = None,
    calibrate: DataSource | None = None,
    preprocess: str = "",
    shape: Mapping[str, Sequence[int]] | None = None,
    samples: int = 3,
    tell: Tell = lambda _: None,
) -> BundleReport:
    """A folder with both models for a phone: `onnx-attnprune device bundle ORIGINAL PRUNED FOLDER`.

    plan: a path, or the `plan` of a Result. Raises a subclass of AttnPruneError.
    """
    command = told("device_bundle", (original, pruned), dict(locals()), usual_of(device_bundle))
    with model_file(original) as one, model_file(pruned) as two, plan_file(plan) as planned:
        request = BundleRequest(
            one, two, Path(folder), plan=planned, calibration=calibrate, preprocess=preprocess, shapes=shapes(shape),
            samples=samples, names=(name_of(original), name_of(pruned)), command=command,
        )  # fmt: skip  # some fields a line
        return make_bundle(request, tell)


def device_run(
    folder: PathLike,
    *,
    serial: str | None = None,
    adb: PathLike = "adb",
    provider: str | Sequence[str] = ("nnapi", "xnnpack", "cpu"),
    tools: PathLike | None = None,
    repeats: int = 10,
    runs: int = 20,
    threads: int = 0,
    tolerance: float | None = None,
    accelerators_only: bool = False,
    timeout: float = 300.0,
    report: PathLike | Sequence[PathLike] = (),
    tell: Tell = lambda _: None,
) -> DeviceRun:
    """A bundle run on a phone over adb: `onnx-attnprune device run FOLDER`.

    A row of its `bench` that could not be measured says so in its `outcome`; where none could, that raises a subclass
    of AttnPruneError, as does a phone that can't be reached.
    """
    command = told("device_run", (folder,), dict(locals()), usual_of(device_run))
    providers = (provider,) if isinstance(provider, str) else tuple(provider)
    request = DeviceRequest(
        Path(folder), serial=serial, adb=str(adb), providers=providers,
        tools=path_or_none(tools), repeats=repeats, runs=runs, threads=threads, tolerance=tolerance,
        accelerators_only=accelerators_only, timeout=timeout, reports=paths(report), command=command,
    )  # fmt: skip  # some fields a line
    return run_device(request, tell)

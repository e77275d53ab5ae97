"""A bundle run on a phone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from onnx_attnprune.deploy.bundle import MANIFEST, read_bundle
from onnx_attnprune.deploy.onphone import Wanted, run_on, tool_files
from onnx_attnprune.errors import AttnPruneError, DeviceError, ProviderError, SettingsError, VerificationError
from onnx_attnprune.phone import connected
from onnx_attnprune.pipeline.request import Tell
from onnx_attnprune.report import Outputs, check_outputs, check_reports, versions
from onnx_attnprune.report.bench import Bench
from onnx_attnprune.report.device import DeviceRun
from onnx_attnprune.report.forms import device_text
from onnx_attnprune.runtime import check_threads

ON_PHONES = ("nnapi", "xnnpack", "cpu")
USUAL_REPEATS, USUAL_RUNS = 10, 20
USUAL_TIMEOUT = 300.0  # seconds


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """What a user asks to have run on a phone.

    serial: of the phone (None: the only one there). adb: the program. tools: a folder with ONNX Runtime's tools for
    Android (None: they lie in the phone's temporary folder). repeats: how often each model has its turn; runs:
    inferences in each. tolerance: of outputs, as a share of their largest value (None: what suits their type).
    accelerators_only: NNAPI may not use the phone's CPU. timeout: seconds for any one command on the phone.
    reports: where the figures go, each in the form that its ending names.
    """

    bundle: Path
    serial: str | None = None
    adb: str = "adb"
    providers: tuple[str, ...] = ON_PHONES
    tools: Path | None = None
    repeats: int = USUAL_REPEATS
    runs: int = USUAL_RUNS
    threads: int = 0
    tolerance: float | None = None
    accelerators_only: bool = False
    timeout: float = USUAL_TIMEOUT
    reports: tuple[Path, ...] = ()
    command: str = ""

    def __post_init__(self) -> None:
        unknown = [name for name in self.providers if name not in ON_PHONES]
        if unknown or len(set(self.providers)) < len(self.providers):
            why = f"{unknown[0]} is none of {', '.join(ON_PHONES)}" if unknown else "names one twice"
            raise SettingsError(f"--provider {','.join(self.providers)}: {why}")
        for option, count in (("--repeats", self.repeats), ("--runs", self.runs)):
            if count < 1:
                raise SettingsError(f"{option} {count}: at least 1")
        check_threads(self.threads)
        if not 0 < self.timeout < math.inf:
            raise SettingsError(f"--timeout {self.timeout:g}: must be a number of seconds above 0")
        if self.tolerance is not None and not 0 <= self.tolerance < math.inf:
            raise SettingsError(f"--tolerance {self.tolerance:g}: must be 0 or more")


def run_device(request: DeviceRequest, tell: Tell = lambda _: None) -> DeviceRun:
    """Run a bundle on a phone, and report.

    What failed, fell back or gave wrong outputs is a row with the reason; `device_failure` makes an error of it, which
    is raised where nothing could be measured. Raises DeviceError where no phone can be used or it is lost, and other
    subclasses of AttnPruneError for what makes no sense.
    """
    bundle = read_bundle(request.bundle)
    tools = {} if request.tools is None else tool_files(request.tools)
    check_reports(request.reports)
    check_outputs(request.reports, [request.bundle / name for name in (MANIFEST, *bundle.files)])
    tell("look for the phone")
    adb = connected(request.adb, request.serial, request.timeout)
    wanted = Wanted(
        request.providers, request.repeats, request.runs, request.threads, request.tolerance, request.accelerators_only
    )  # fmt: skip  # two lines
    found = run_on(adb, request.bundle, bundle, tools, wanted, tell)
    seconds = [r.latency.median_ms * r.latency.runs * 1e-3 for r in found.rows if r.latency is not None]
    bench = Bench(request.command, versions(), request.threads, min(seconds, default=0.0), found.rows)
    run = DeviceRun(
        bench, str(request.bundle), found.phone, found.runtime, request.repeats, request.runs,
        request.accelerators_only, bundle.inputs, bundle.samples, found.left,
    )  # fmt: skip  # some fields a line
    error = device_failure(run)
    if error is not None and not seconds:
        raise error
    with Outputs() as outputs:
        for path in request.reports:
            outputs.put_text(device_text(run, path), path)
        outputs.commit()
    return run


def device_failure(run: DeviceRun) -> AttnPruneError | None:
    """The error that stands for the rows that were not measured; None where all were."""
    missing = [row for row in run.bench.rows if row.outcome != "measured"]
    kinds = {"wrong": VerificationError, "failed": DeviceError, "fell back": ProviderError}
    for outcome, kind in kinds.items():
        first = next((row for row in missing if row.outcome == outcome), None)
        if first is not None:
            told = f"{len(missing)} of {len(run.bench.rows)} not measured: {first.model} on {first.provider}"
            return kind(f"{told}: {first.reason}")
    return None

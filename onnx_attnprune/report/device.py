"""A bundle and its run on a phone, as data and as a person reads them on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType

from onnx_attnprune.deploy.bundle import Bundle
from onnx_attnprune.evaluate.feeds import shapes_text
from onnx_attnprune.phone import Phone
from onnx_attnprune.report.bench import Bench, conditions, rows_told
from onnx_attnprune.report.terminal import line

WITH_CPU = "NNAPI may run on the phone's CPU what it takes, and does not tell; --accelerators-only forbids it"
WITHOUT_CPU = "NNAPI was kept off the phone's CPU while it was measured, but not while outputs were checked"


@dataclass(frozen=True, slots=True)
class DeviceRun:
    """A bundle measured on a phone: what `bench` reports, and where and how it was measured.

    bundle: its folder. runtime: the version of ONNX Runtime that ran there (empty: it did not say). repeats, runs: how
    often each model had its turn, and inferences in each. accelerators_only: NNAPI could not use the phone's CPU.
    inputs, samples: what it was checked and measured on. left: what could not be removed from the phone.
    """

    bench: Bench
    bundle: str
    phone: Phone
    runtime: str
    repeats: int
    runs: int
    accelerators_only: bool
    inputs: str
    samples: int
    left: str

    def as_dict(self) -> dict[str, Any]:
        """What `bench` reports as plain data for JSON, in its format, with all else below "device"."""
        device = {**asdict(self.phone), "name": self.phone.name}
        own = {name: value for name, value in asdict(self).items() if name not in ("bench", "phone")}
        return {**self.bench.as_dict(), "device": {**device, **own}}


@dataclass(frozen=True, slots=True)
class BundleReport:
    """A bundle that was written, and its folder."""

    folder: str
    bundle: Bundle

    def as_dict(self) -> dict[str, Any]:
        """The manifest with the folder, as plain data for JSON."""
        return {**self.bundle.as_dict(), "folder": self.folder}


def render_run(run: DeviceRun, console: Console) -> None:
    """Print the figures, folded to the width of the console."""
    console.print(Group(*_parts(run, console.width)))


def _parts(run: DeviceRun, width: int) -> Iterator[RenderableType]:
    yield from rows_told(run.bench.rows, width)
    phone = run.phone
    android = f"Android {phone.android} ({phone.abi})" if phone.android else "it does not say its Android"
    runtime = f", ONNX Runtime {run.runtime}" if run.runtime else ""
    yield line("phone", f"{phone.name}, {phone.serial}, {android}{runtime}")
    measured = [row for row in run.bench.rows if row.outcome == "measured"]
    if measured:
        yield line("outputs", f"as computed here, on {samples_text(run)} ({run.inputs})", "green")
        turns = f"all in turns, {run.repeats} each of {run.runs} inferences"
        yield line("note", f"{turns}; {conditions(run.bench.threads)}")
    for text in warned(run):
        yield line("note", text)


def samples_text(run: DeviceRun) -> str:
    """How many samples it was checked on."""
    return f"{run.samples:,} {'sample' if run.samples == 1 else 'samples'}"


def warned(run: DeviceRun) -> Iterator[str]:
    """What a reader of the figures should know besides."""
    if any(row.provider == "nnapi" and row.outcome == "measured" for row in run.bench.rows):
        yield WITHOUT_CPU if run.accelerators_only else WITH_CPU
    if run.left:
        yield f"on the phone {run.left}"


def render_bundle(report: BundleReport, console: Console) -> None:
    """Print what was written."""
    console.print(Group(*_bundle_parts(report)))


def _bundle_parts(report: BundleReport) -> Iterator[RenderableType]:
    bundle = report.bundle
    for model in bundle.models:
        yield line(model.role, f"{model.source} at {shapes_text(model.shapes)}")
        if model.ort is None:
            yield line("note", f"{model.role} has no .ort: {model.without_ort}")
    yield line("samples", f"{bundle.samples}, {bundle.inputs}, with what each model makes of them here")
    size = sum((Path(report.folder) / name).stat().st_size for name in bundle.files)
    yield line("written", f"{report.folder}: {len(bundle.files) + 1} files, {size / 1e6:,.1f} MB", "bold")

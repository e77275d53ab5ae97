"""The page of a run on a phone."""

from __future__ import annotations

from collections.abc import Iterator

from onnx_attnprune import __version__
from onnx_attnprune.report.device import DeviceRun, samples_text, warned
from onnx_attnprune.report.latencies import paired
from onnx_attnprune.report.page.latency import section
from onnx_attnprune.report.page.template import render


def device_page(run: DeviceRun) -> str:
    """An HTML document that needs nothing else: every figure of the run.

    `require` says whether this installation can make one.
    """
    return render(
        "device.html",
        run=run,
        measured=sum(row.outcome == "measured" for row in run.bench.rows),
        samples=samples_text(run),
        latency=section(tuple(paired(run.bench.rows))),
        notes=list(warned(run)),
        facts=list(_facts(run)),
        version=__version__,
    )


def _facts(run: DeviceRun) -> Iterator[tuple[str, str]]:
    phone = run.phone
    yield "phone", f"{phone.name}, {phone.serial}"
    yield "Android", f"{phone.android or '?'} (API {phone.sdk or '?'})"
    yield "processor", phone.abi or "?"
    yield "ONNX Runtime there", run.runtime or "?"
    yield "turns of each model", f"{run.repeats:,}, of {run.runs:,} inferences each"
    yield "threads", str(run.bench.threads or "as ONNX Runtime likes")

"""The commands for phones: what one would take of a model, a bundle to run on it, and the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnx_attnprune.cli.dataoptions import DATA, PREPROCESS
from onnx_attnprune.cli.failing import errors_told
from onnx_attnprune.cli.options import DEBUG, FILE, SHAPE, shapes_of
from onnx_attnprune.cli.printing import command_line, show, with_progress
from onnx_attnprune.cli.types import Listed, Number, Positive
from onnx_attnprune.errors import SettingsError

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
# Written out so that --help need not import them; a test holds them equal.
ON_PHONES = ("nnapi", "xnnpack", "cpu")
_EXAMPLES = """\b
Examples:
  onnx-attnprune device check in.onnx out.onnx
  onnx-attnprune device bundle in.onnx out.onnx bundle
  onnx-attnprune device run bundle --tools android-tools
"""
_CHECK_EXAMPLES = """\b
Examples:
  onnx-attnprune device check out.onnx
  onnx-attnprune device check in.onnx out.onnx --shape input=1x3x224x224 --json
"""
_BUNDLE_EXAMPLES = f"""\b
Examples:
  onnx-attnprune device bundle in.onnx out.onnx bundle
  onnx-attnprune device bundle in.onnx out.onnx bundle --calibrate photos
  onnx-attnprune device bundle in.onnx out.onnx bundle --plan plan.json

{DATA}"""
_RUN_EXAMPLES = """\b
Examples:
  onnx-attnprune device run bundle --tools android-tools
  onnx-attnprune device run bundle --report phone.json --report phone.html
  onnx-attnprune device run bundle --serial emulator-5554 --repeats 20
"""
_JSON = click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON on standard output.")


@click.group(context_settings=_CONTEXT, short_help="For phones: check, bundle, run.", epilog=_EXAMPLES)
def device() -> None:
    """For phones (Android): what one would take of a model, a bundle to run on it, and the run over adb."""


@device.command(context_settings=_CONTEXT, short_help="What NNAPI would take of a model.", epilog=_CHECK_EXAMPLES)
@click.argument("models", type=FILE, nargs=-1, required=True, metavar="ORIG.onnx [PRUNED.onnx]")
@SHAPE
@_JSON
@DEBUG
def check(
    models: tuple[Path, ...], shapes: tuple[tuple[str, tuple[int, ...]], ...], as_json: bool, debug: bool
) -> None:
    """What NNAPI would take of a model on a phone, by ONNX Runtime's own usability analysis; nothing is run there.

    With two models: what pruning changed, such as a Split that is no longer even.
    """
    with errors_told(debug):
        if len(models) > 2:
            raise SettingsError("device check compares two models at most")
        from onnx_attnprune.pipeline.usability import check_usability
        from onnx_attnprune.report.usability import render

        show(check_usability(models, shapes_of(shapes), command_line()), render, as_json)


@device.command(context_settings=_CONTEXT, short_help="Both models, samples, and a script.", epilog=_BUNDLE_EXAMPLES)
@click.argument("original", type=FILE, metavar="ORIG.onnx")
@click.argument("pruned", type=FILE, metavar="PRUNED.onnx")
@click.argument("folder", type=FILE, metavar="DIR")
@click.option("--plan", type=FILE, metavar="F.json", help="Put this plan of the pruning beside them.")
@click.option("--calibrate", "calibration", metavar="DATA", help="Samples to run on; random ones if none are given.")
@PREPROCESS
@SHAPE
@click.option("--samples", type=Positive(), default=3, show_default=True, metavar="N", help="How many of them.")
@_JSON
@DEBUG
def bundle(as_json: bool, debug: bool, **options: Any) -> None:
    """Write a folder for a phone: both models with fixed shapes, samples, and what each makes of them here.

    The models lie there as .onnx for ONNX Runtime's test tools, and as .ort for apps. run.sh runs them by hand, `device
    run` with a report. The folder appears whole or not at all; one that holds anything but a bundle is not touched.
    """
    with errors_told(debug):
        from onnx_attnprune.pipeline import BundleRequest, make_bundle
        from onnx_attnprune.report.device import render_bundle

        shapes = shapes_of(options.pop("shapes"))
        request = BundleRequest(**options, shapes=shapes, command=command_line())
        show(with_progress(make_bundle, request), render_bundle, as_json)


@device.command(context_settings=_CONTEXT, short_help="Run a bundle on a phone over adb.", epilog=_RUN_EXAMPLES)
@click.argument("bundle", type=FILE, metavar="DIR")
@click.option("--serial", metavar="S", help="Which phone, where adb sees several.")
@click.option("--adb", default="adb", show_default=True, metavar="PATH", help="The program adb.")
@click.option(
    "--provider",
    "providers",
    type=Listed(click.Choice(ON_PHONES)),
    default=",".join(ON_PHONES),
    show_default=True,
    metavar="P[,P...]",
    help="Execution providers to run on.",
)
@click.option(
    "--tools",
    type=FILE,
    metavar="DIR",
    help="A folder with Android builds of onnx_test_runner and onnxruntime_perf_test, and their libraries (.so).  "
    "[default: /data/local/tmp on the phone]",
)
@click.option(
    "--repeats", type=Positive(), default=10, show_default=True, metavar="N", help="How often each model has its turn."
)
@click.option("--runs", type=Positive(), default=20, show_default=True, metavar="N", help="Inferences in each turn.")
@click.option("--threads", type=int, default=0, show_default=True, metavar="N", help="0: ONNX Runtime's choice.")
@click.option(
    "--tolerance",
    type=Number(),
    metavar="T",
    help="How far outputs may be from those computed here, as a share of the largest.  [default: by their type, 0.001 "
    "for float32]",
)
@click.option(
    "--accelerators-only",
    is_flag=True,
    help="Keep NNAPI from running on the phone's CPU what it takes; what it leaves then runs on ONNX Runtime's "
    "(Android 10 and newer).",
)
@click.option(
    "--timeout", type=Number(), default=300, show_default=True, metavar="S", help="Seconds for any one command there."
)
@click.option(
    "--report",
    "reports",
    type=FILE,
    multiple=True,
    metavar="F.json|F.html",
    help="Write the figures, as JSON or as a page (pip install 'onnx-attnprune[report]'); repeatable.",
)
@_JSON
@DEBUG
def run(as_json: bool, debug: bool, **options: Any) -> None:
    """Run a bundle on a phone over adb: outputs checked, then latency measured in turns, by ONNX Runtime's own tools.

    Where the nodes ran is read off a profile of a run on the phone: a provider that took none is reported, and never
    timed. Nothing stays on the phone. Exit code 10 tells of a phone or a tool that failed, 8 of wrong outputs, 9 of a
    provider that took nothing.
    """
    with errors_told(debug):
        from onnx_attnprune.pipeline import DeviceRequest, device_failure, run_device
        from onnx_attnprune.report.device import render_run

        found = with_progress(run_device, DeviceRequest(**options, command=command_line()))
        show(found, render_run, as_json)
        if (error := device_failure(found)) is not None:
            raise error

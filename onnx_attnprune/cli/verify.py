"""The command that holds a pruned model against its original."""

from __future__ import annotations

from typing import Any

import click

from onnx_attnprune.cli.dataoptions import DATA, METRIC, PREPROCESS
from onnx_attnprune.cli.failing import errors_told
from onnx_attnprune.cli.options import DEBUG, FILE, PROVIDERS, RECOVERIES, SHAPE, shapes_of
from onnx_attnprune.cli.printing import command_line, show, with_progress
from onnx_attnprune.cli.types import Number
from onnx_attnprune.errors import VerificationError

_EXAMPLES = """\b
Examples:
  onnx-attnprune verify in.onnx out.onnx --plan plan.json --recover auto
  onnx-attnprune verify in.onnx out.onnx --eval test.npz --max-drop 0.01
  onnx-attnprune verify in.onnx out.onnx --calibrate photos/ --min-agreement 0.95
"""
_EXIT_CODES = """\b
Exit codes (onnx-attnprune --help lists the others):
   0  every check passed
   8  a check failed; the report says which and why
"""


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="Is a pruned model still right? Checks, drift, accuracy.",
    epilog=f"{_EXAMPLES}\n{DATA}\n{_EXIT_CODES}",
)
@click.argument("original", type=FILE, metavar="ORIGINAL.onnx")
@click.argument("pruned", type=FILE, metavar="PRUNED.onnx")
@click.option("--plan", type=FILE, metavar="F.json", help="What was removed: the surgery is checked too.")
@click.option(
    "--recover",
    type=click.Choice(RECOVERIES),
    help="How PRUNED was repaired: done again, on --calibrate or the same made-up samples, and compared; none: it must "
    "equal the original with the removed channels silenced.  [default: only look what was changed]",
)
@click.option("--eval", "evaluation", metavar="DATA", help="Labelled samples to measure accuracy on.")
@click.option(
    "--calibrate",
    "calibration",
    metavar="DATA",
    help="Unlabelled samples: for drift, where there are no labelled ones, and for --recover.",
)
@PREPROCESS
@METRIC
@SHAPE
@click.option(
    "--provider", type=click.Choice(PROVIDERS), default="cpu", show_default=True, help="Execution provider to run on."
)
@click.option(
    "--threads", type=int, default=0, show_default=True, metavar="N", help="Threads of ONNX Runtime; 0: its choice."
)
@click.option(
    "--max-drop",
    type=Number(),
    metavar="D",
    help="Fail where top-1 on --eval (R2 for values, the first figure of --metric) falls by more than D (0.01: a "
    "point); with --calibrate alone, where the choices (or values, by R2) differ from the original's by more.",
)
@click.option(
    "--min-agreement",
    type=Number(),
    metavar="A",
    help="Fail where the largest score of an output stays the same on less than this share of the samples.",
)
@click.option("--report", type=FILE, metavar="F.json", help="Write all that was found as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print all that was found as JSON on standard output.")
@DEBUG
def verify(debug: bool, as_json: bool, **options: Any) -> None:
    """Is a pruned model still right? Holds PRUNED against ORIGINAL.

    Checks the interface, the file (onnx.checker) and the weights; with --plan that the cut is exact and that nothing
    but what a repair may touch was changed; then runs both, and measures how far the outputs moved and what that did
    to the accuracy.
    """
    with errors_told(debug):
        from onnx_attnprune.pipeline import VerifyRequest, verify_files
        from onnx_attnprune.report.verdict import render

        request = VerifyRequest(shapes=shapes_of(options.pop("shapes")), command=command_line(), **options)
        found = with_progress(verify_files, request)
        show(found, render, as_json)
        if not found.passed:
            count = f"{len(found.failed)} of {len(found.checks)} checks"
            raise VerificationError(f"{found.pruned}: failed {count}: {', '.join(c.name for c in found.failed)}")

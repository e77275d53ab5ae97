"""The command that measures models side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnx_attnprune.cli.failing import errors_told
from onnx_attnprune.cli.options import DEBUG, FILE, PROVIDERS, SHAPE, shapes_of
from onnx_attnprune.cli.printing import command_line, show, with_progress
from onnx_attnprune.cli.types import Listed, Number, Positive

_EXAMPLES = """\b
Examples:
  onnx-attnprune bench in.onnx out.onnx
  onnx-attnprune bench in.onnx out.onnx --provider cpu,openvino --batch 1,8
  onnx-attnprune bench in.onnx out.onnx --shape input=1x3x224x224 --threads 4
  onnx-attnprune bench in.onnx out.onnx --seconds 5 --report bench.json
"""


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="Measure models side by side, on any execution provider.",
    epilog=_EXAMPLES,
)
@click.argument("models", type=FILE, nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--provider",
    "providers",
    type=Listed(click.Choice(PROVIDERS)),
    default="cpu",
    show_default=True,
    metavar="P[,P...]",
    help=f"Execution providers, of {', '.join(PROVIDERS)}.",
)
@SHAPE
@click.option(
    "--batch",
    "batches",
    type=Listed(Positive()),
    metavar="N[,N...]",
    help="Batch sizes, for models that leave it open.  [default: 1]",
)
@click.option("--threads", type=int, default=0, show_default=True, metavar="N", help="0: ONNX Runtime's choice.")
@click.option(
    "--seconds", type=Number(), default=1.0, show_default=True, metavar="S", help="For how long each model is run."
)
@click.option("--report", type=FILE, metavar="F.json", help="Write the figures as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON on standard output.")
@DEBUG
def bench(models: tuple[Path, ...], as_json: bool, debug: bool, **options: Any) -> None:
    """Measure models side by side: the first is what the others are compared with.

    All models on all providers run in turns, so that what else the machine does falls on all of them. Memory and the
    time to create a session are measured in a process of its own for each. A provider that takes no node of a model is
    reported, and never timed; exit code 9 tells of it.
    """
    with errors_told(debug):
        from onnx_attnprune.pipeline import BenchRequest, bench_files, failure
        from onnx_attnprune.report.bench import render

        shapes, batches = shapes_of(options.pop("shapes")), options.pop("batches") or ()
        request = BenchRequest(models=models, shapes=shapes, batches=batches, command=command_line(), **options)
        found = with_progress(bench_files, request)
        show(found, render, as_json)
        if (error := failure(found)) is not None:
            raise error

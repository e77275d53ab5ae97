"""The command that measures the error of each channel group against its width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnx_attnprune.cli.dataoptions import CALIBRATE, DATA, PREPROCESS
from onnx_attnprune.cli.failing import errors_told
from onnx_attnprune.cli.options import CRITERIA, DEBUG, FILE, SHAPE, shapes_of
from onnx_attnprune.cli.printing import command_line, show, with_progress
from onnx_attnprune.cli.types import Number
from onnx_attnprune.errors import SettingsError

_EXAMPLES = """\b
Examples:
  onnx-attnprune sensitivity in.onnx --calibrate samples.npz
  onnx-attnprune sensitivity in.onnx --chart curves.svg --out curves.json
  onnx-attnprune sensitivity in.onnx --out curves.json --resume --jobs 8
  onnx-attnprune sensitivity in.onnx --dask tcp://10.0.0.1:8786
"""


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="Measure what each channel group can spare, and suggest ratios.",
    epilog=f"{_EXAMPLES}\n{DATA}",
)
@click.argument("model", type=FILE, metavar="MODEL.onnx")
@CALIBRATE
@PREPROCESS
@click.option(
    "--criterion",
    type=click.Choice(CRITERIA),
    default="obs",
    show_default=True,
    metavar="NAME",
    help=f"The order in which channels go: {', '.join(CRITERIA)}.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="For the random criterion.")
@SHAPE
@click.option(
    "--max-error",
    "limit",
    type=Number(),
    default=0.05,
    show_default=True,
    metavar="E",
    help="The error that the suggested ratios may make together.",
)
@click.option("--out", type=FILE, metavar="F.json", help="Write the figures as JSON, after each group.")
@click.option("--resume", is_flag=True, help="Go on from the file of --out, where it is of the same measurement.")
@click.option(
    "--chart", type=FILE, metavar="F.svg", help="Draw the curves. Needs pip install 'onnx-attnprune[report]'."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON on standard output.")
@click.option("--jobs", type=int, default=1, show_default=True, metavar="N", help="Processes that measure groups.")
@click.option(
    "--dask",
    "scheduler",
    metavar="ADDRESS",
    help="Measure on the workers of this Dask scheduler, which must find model and samples under the same paths. "
    "Needs pip install 'onnx-attnprune[dask]'.",
)
@DEBUG
def sensitivity(model: Path, as_json: bool, debug: bool, chart: Path | None, **options: Any) -> None:
    """Measure what each channel group can spare: the error of the outputs against the width of one group at a time.

    Channels go from every tensor of a group at once, what reads them is refitted, and what is left of the outputs is
    measured at several widths. Ends with ratios for the command that prunes.
    """
    with errors_told(debug):
        if chart is not None and chart.suffix.lower() != ".svg":
            raise SettingsError(f"--chart {chart}: the name must end in .svg")
        from onnx_attnprune.pipeline import SensitivityRequest, sensitivity_file
        from onnx_attnprune.report.page import require
        from onnx_attnprune.report.sensitivity import render

        if chart is not None:
            require(f"--chart {chart}")
        shapes = shapes_of(options.pop("shapes"))
        request = SensitivityRequest(model=model, chart=chart, shapes=shapes, command=command_line(), **options)
        found = with_progress(sensitivity_file, request)
        show(found, lambda it, console: render(it, console, chart), as_json)

"""The command that puts several runs side by side."""

from __future__ import annotations

from pathlib import Path

import click

from onnx_attnprune.cli.failing import errors_told
from onnx_attnprune.cli.options import DEBUG, FILE
from onnx_attnprune.cli.printing import show

_EXAMPLES = """\b
Examples:
  onnx-attnprune compare a.json b.json c.json
  onnx-attnprune compare runs/*.json --html runs.html
"""


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="Several runs on one model, and those that no other beats.",
    epilog=_EXAMPLES,
)
@click.argument("reports", type=FILE, nargs=-1, required=True, metavar="REPORT.json...")
@click.option(
    "--html",
    type=FILE,
    metavar="F.html",
    help="Write the comparison as a page, with charts (pip install 'onnx-attnprune[report]').",
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON on standard output.")
@DEBUG
def compare(reports: tuple[Path, ...], html: Path | None, as_json: bool, debug: bool) -> None:
    """Several runs on one model side by side: what each costs and keeps, and which no other beats (the Pareto front).

    Takes the files of --report F.json. Quality is the accuracy that all of them measured on the same data, else the
    likeness of the outputs to the unpruned model's; costs are the shares of MACs, bytes and latency that are left.
    """
    with errors_told(debug):
        from onnx_attnprune.pipeline import compare_files
        from onnx_attnprune.report.comparison import render

        show(compare_files(reports, html), render, as_json)

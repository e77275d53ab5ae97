"""The command that only looks: channel groups, and what is kept and why."""

from __future__ import annotations

from pathlib import Path

import click

from onnx_attnprune.cli.failing import errors_told
from onnx_attnprune.cli.options import DEBUG, FILE, SHAPE, shapes_of
from onnx_attnprune.cli.printing import show, with_progress
from onnx_attnprune.errors import SettingsError

PICTURES = (".svg", ".html")
_EXAMPLES = """\b
Examples:
  onnx-attnprune inspect in.onnx
  onnx-attnprune inspect in.onnx --graph picture.svg
  onnx-attnprune inspect in.onnx --json
"""


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="Look before you cut: channel groups, and what is kept and why.",
    epilog=_EXAMPLES,
)
@click.argument("model", type=FILE, metavar="MODEL.onnx")
@SHAPE
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON on standard output.")
@click.option(
    "--graph",
    type=FILE,
    metavar="F.svg|F.html",
    help="Draw the network: a colour for each group, obstacles marked. Needs pip install 'onnx-attnprune[graph]'.",
)
@DEBUG
def inspect(
    model: Path, shapes: tuple[tuple[str, tuple[int, ...]], ...], as_json: bool, graph: Path | None, debug: bool
) -> None:
    """Look before you cut: what of a network can be pruned, and what is in the way.

    Lists the channel groups with what one channel costs, the share of the network that can be cut, and what is kept
    whole and why, with what would help. Nothing is cut, run or measured.
    """
    with errors_told(debug):
        if graph is not None and graph.suffix.lower() not in PICTURES:
            raise SettingsError(f"--graph {graph}: the name must end in {' or '.join(PICTURES)}")
        from onnx_attnprune.pipeline import inspect_file
        from onnx_attnprune.report.inspection import render

        given = shapes_of(shapes)
        found = with_progress(lambda path, tell: inspect_file(path, given, graph, tell), model)
        show(found, lambda it, console: render(it, console, graph), as_json)

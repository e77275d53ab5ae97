"""The command that prunes: parse, call the pipeline, print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from onnx_attnprune import __version__
from onnx_attnprune.cli.config import drop_other_amounts
from onnx_attnprune.cli.epilog import EPILOG
from onnx_attnprune.cli.failing import errors_told
from onnx_attnprune.cli.options import shapes_of, with_options
from onnx_attnprune.cli.printing import command_line, show, with_progress
from onnx_attnprune.errors import SettingsError

if TYPE_CHECKING:
    from onnx_attnprune.report import Report

# Options that are given under another name, or are of the command alone.
OWN = ("model", "output", "dry_run", "shapes", "evaluation", "calibration", "quiet", "as_json", "debug")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=EPILOG)
@with_options
@click.version_option(__version__, prog_name="onnx-attnprune")
@click.pass_context
def prune(ctx: click.Context, /, **options: Any) -> None:
    """Prune a trained ONNX network: a smaller, faster model, exact in what is left.

    Removes the least important channels of IN.onnx, carries the change through the whole graph, checks the result
    against the original, repairs and measures it, and writes OUT.onnx. The input is never changed.
    """
    options = drop_other_amounts(ctx, options)
    with errors_told(options["debug"]):
        _refuse_contradictions(options)
        _show(_run(options), options)


def _refuse_contradictions(options: dict[str, Any]) -> None:
    if options["output"] is None and not options["dry_run"]:
        raise SettingsError("no output file given (or --dry-run to only look)")
    if options["quiet"] and options["as_json"]:
        raise SettingsError("--quiet and --json contradict each other")


def _run(options: dict[str, Any]) -> Report:
    from onnx_attnprune.api import prune_request
    from onnx_attnprune.pipeline import prune_file

    request = prune_request(
        options["model"],
        None if options["dry_run"] else options["output"],
        command_line(),
        shape=shapes_of(options["shapes"]),
        eval=options["evaluation"],
        calibrate=options["calibration"],
        **{name: value for name, value in options.items() if name not in OWN},
    )
    return prune_file(request) if options["quiet"] else with_progress(prune_file, request)


def _show(report: Report, options: dict[str, Any]) -> None:
    from onnx_attnprune.report import render

    if not options["quiet"]:
        show(report, render, options["as_json"])

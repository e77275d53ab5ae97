"""The commands for phones: what one would take of a model, a bundle to run on it, and the run."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from onnx_attnprune.cli.failing import errors_told, printing
from onnx_attnprune.cli.options import DEBUG, FILE, SHAPE, shapes_of
from onnx_attnprune.errors import SettingsError

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_EXAMPLES = """\b
Examples:
  onnx-attnprune device check in.onnx out.onnx
"""
_CHECK_EXAMPLES = """\b
Examples:
  onnx-attnprune device check out.onnx
  onnx-attnprune device check in.onnx out.onnx --shape input=1x3x224x224 --json
"""
_JSON = click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON on standard output.")


@click.group(context_settings=_CONTEXT, short_help="For phones: what one would take of a model.", epilog=_EXAMPLES)
def device() -> None:
    """For phones (Android): what one would take of a model, and what pruning changed of it."""


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

        _show(check_usability(models, shapes_of(shapes), _command()), render, as_json)


def _command() -> str:
    return shlex.join(["onnx-attnprune", *sys.argv[1:]])


def _show(report: Any, render: Any, as_json: bool) -> None:
    from onnx_attnprune.report import to_json

    with printing():
        if as_json:
            click.echo(to_json(report), nl=False)
        else:
            from rich.console import Console

            render(report, Console(highlight=False))

"""The command that prunes: parse, call the pipeline, print."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from onnx_attnprune import __version__
from onnx_attnprune.cli.config import drop_other_amounts
from onnx_attnprune.cli.epilog import EPILOG
from onnx_attnprune.cli.failing import errors_told, printing
from onnx_attnprune.cli.options import AMOUNTS, BUDGETS, DECIDED, SAMPLED, shapes_of, with_options
from onnx_attnprune.errors import SettingsError

if TYPE_CHECKING:
    from onnx_attnprune.planning import Scope
    from onnx_attnprune.report import Report


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
        _refuse_contradictions(ctx, options)
        _show(_run(options), options)


def _refuse_contradictions(ctx: click.Context, options: dict[str, Any]) -> None:
    if options["output"] is None and not options["dry_run"]:
        raise SettingsError("no output file given (or --dry-run to only look)")
    if options["quiet"] and options["as_json"]:
        raise SettingsError("--quiet and --json contradict each other")
    unread = options["recover"] in ("none", "mean") and options["criterion"] not in SAMPLED
    if options["calibration"] is not None and unread:
        raise SettingsError(f"--recover {options['recover']} looks at no data: leave out --calibrate")
    if options["from_plan"] is not None:
        sources = click.core.ParameterSource.COMMANDLINE, click.core.ParameterSource.DEFAULT_MAP
        given = [n for n in DECIDED if ctx.get_parameter_source(n) in sources]
        if given:
            names = ", ".join("--" + n.replace("_", "-") for n in given)
            raise SettingsError(f"--from-plan has decided what goes: leave out {names}")


def _run(options: dict[str, Any]) -> Report:
    from rich.console import Console

    from onnx_attnprune.pipeline import Request, prune_file
    from onnx_attnprune.planning import Settings
    from onnx_attnprune.report import Progress

    settings = Settings(
        ratio=_ratio(options),
        scope=_scope(options),
        criterion=_criterion(options),
        layer_ratios=options["layer_ratio"],
        **{k: options[k] for k in DECIDED if k not in ("ratio", "scope", "criterion", "layer_ratio", "round_to")},
    )
    request = Request(
        model=options["model"],
        output=None if options["dry_run"] else options["output"],
        settings=settings,
        shapes=shapes_of(options["shapes"]),
        reports=options["report"],
        command=shlex.join(["onnx-attnprune", *sys.argv[1:]]),
        **{k: options[k] for k in ("round_to", "provider", "recover", "evaluation", "calibration", "preprocess",
                                   "metric", "plan", "from_plan", "latency_seconds", "threads")},
    )  # fmt: skip  # a list of names
    if options["quiet"]:
        return prune_file(request)
    with Progress(Console(stderr=True)) as progress:
        return prune_file(request, progress)


def _ratio(options: dict[str, Any]) -> float | None:
    if all(options[name] is None for name in AMOUNTS):
        return 0.3
    ratio: float | None = options["ratio"]
    return ratio


def _scope(options: dict[str, Any]) -> Scope:
    """The scope that was asked for, else the one that measures better (a budget's shares rest on the repair's fit)."""
    asked: Scope | None = options["scope"]
    if asked is not None:
        return asked
    budget = any(options[name] is not None for name in BUDGETS)
    return "global" if budget and options["recover"] in ("auto", "least-squares") else "layer"


def _criterion(options: dict[str, Any]) -> str:
    """The criterion that was asked for, else the one that measures better: with samples for the repair, or without."""
    asked: str = options["criterion"]
    if asked != "auto":
        return asked
    return "obs" if options["calibration"] is not None else "attention"


def _show(report: Report, options: dict[str, Any]) -> None:
    from onnx_attnprune.report import render, to_json

    with printing():
        if options["as_json"]:
            click.echo(to_json(report), nl=False)
        elif not options["quiet"]:
            from rich.console import Console

            render(report, Console(highlight=False))

"""The command line: parse, call the pipeline, print, turn errors into exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnx_attnprune import __version__
from onnx_attnprune.errors import AttnPruneError, OutputError, SettingsError

if TYPE_CHECKING:
    from onnx_attnprune.report import Report

CRITERIA = ("attention", "attention-literal", "l1", "l2", "bn-scale", "random")
RECOVERIES = ("none", "mean")
PROVIDERS = ("cpu", "cuda", "tensorrt", "openvino", "coreml", "dml", "xnnpack", "qnn", "nnapi")
EXIT_CODES = """\b
Exit codes: 0 done; 1 other error; 2 options that make no sense; 3 not a model that can be read;
4 data that does not fit; 5 nothing to prune; 6 a plan of another model; 7 the output can't be
written; 8 the self-check failed, nothing was written; 9 no such execution provider.
"""


class _Share(click.ParamType):
    """A number; nan and infinity are refused by the settings, with their reason."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is no number", param, ctx)


class _Pair(click.ParamType):
    """PATTERN=R."""

    name = "PATTERN=R"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        pattern, _, ratio = str(value).rpartition("=")
        try:
            return pattern, float(ratio)
        except ValueError:
            self.fail(f"{value!r} is not of the form PATTERN=R", param, ctx)


class _Shape(click.ParamType):
    """NAME=1x3x224x224."""

    name = "NAME=AxBxC"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        if isinstance(value, tuple):
            return value
        name, _, sizes = str(value).rpartition("=")
        if not name or not all(s.isdigit() for s in sizes.split("x")):
            self.fail(f"{value!r} is not of the form NAME=1x3x224x224", param, ctx)
        return name, tuple(int(s) for s in sizes.split("x"))


class _Multiple(click.ParamType):
    """A positive integer, or auto (None)."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or value == "auto":
            return None
        if not str(value).isdigit() or int(value) < 1:
            self.fail(f"{value!r} is neither a positive number nor auto", param, ctx)
        return int(value)


_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=EXIT_CODES)
@click.argument("model", type=_FILE, metavar="IN.onnx")
@click.argument("output", type=_FILE, metavar="[OUT.onnx]", required=False)
@click.option("--ratio", type=_Share(), help="Share of the channels to remove.  [default: 0.3]")
@click.option("--threshold", type=_Share(), help="Remove channels whose score (0 to 1) is below this, instead of a ratio.")
@click.option("--top-k", type=int, help="Remove channels that score below the mean of the K best of their group.")
@click.option("--criterion", type=click.Choice(CRITERIA), default="attention", show_default=True,
              help="How channels are scored.")
@click.option("--scope", type=click.Choice(["layer", "global"]), default="layer", show_default=True,
              help="Remove the ratio from every group, or from all channels ranked together.")
@click.option("--steps", type=int, default=1, show_default=True, help="Prune in K stages and score anew before each.")
@click.option("--round-to", type=_Multiple(), default="auto", show_default=True,
              help="Keep channels in multiples of N; auto: what the provider's kernels like on this machine; 1: exact.")
@click.option("--min-channels", type=int, default=1, show_default=True, help="Every group keeps at least this many.")
@click.option("--max-ratio", type=_Share(),
              help="No group loses more than this share.  [default: 0.9 where scores decide]")
@click.option("--include", multiple=True, metavar="PATTERN",
              help="Prune only groups with a tensor or node that matches (*, ?, [...]); repeatable.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave such groups whole; repeatable.")
@click.option("--layer-ratio", type=_Pair(), multiple=True, help="Another ratio for groups that match; repeatable.")
@click.option("--attention", type=click.Choice(["auto", "heads", "head-dims", "both", "none"]), default="auto",
              show_default=True, help="What goes where channels are heads (or convolution groups) times a width.")
@click.option("--recover", type=click.Choice(RECOVERIES), default="mean", show_default=True,
              help="Repair without training: mean moves what the removed channels gave on average into the biases.")
@click.option("--eval", "evaluation", type=_FILE, metavar="DATA.npz",
              help="Measure accuracy before and after: one array per input, and 'labels'.")
@click.option("--shape", "shapes", type=_Shape(), multiple=True, help="Sizes for an input's free dimensions; repeatable.")
@click.option("--provider", type=click.Choice(PROVIDERS), default="cpu", show_default=True,
              help="Execution provider to round for and to measure on.")
@click.option("--plan", type=_FILE, metavar="F.json", help="Write the plan: what is removed where.")
@click.option("--from-plan", type=_FILE, metavar="F.json", help="Remove exactly what a plan says.")
@click.option("--report", type=_FILE, metavar="F.json", help="Write the report as JSON.")
@click.option("--dry-run", is_flag=True, help="Plan and report, but cut and write no model.")
@click.option("--seed", type=int, default=0, show_default=True, help="For the random criterion.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on standard output.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@click.version_option(__version__, prog_name="onnx-attnprune")
def main(**options: Any) -> None:
    """Prune a trained ONNX network: a smaller, faster model that computes what is left exactly.

    Removes the least important channels of IN.onnx, carries the change through the whole graph, checks the result
    against the original, measures it, and writes OUT.onnx. The input is never changed.
    """
    try:
        report = _run(options)
        _show(report, options)
    except AttnPruneError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except MemoryError:
        click.echo("error: out of memory", err=True)
        sys.exit(1)


def _run(options: dict[str, Any]) -> Report:
    if options["output"] is None and not options["dry_run"]:
        raise SettingsError("no output file given (or --dry-run to only look)")
    from onnx_attnprune.pipeline import Request, prune_file
    from onnx_attnprune.planning import Settings

    settings = Settings(
        ratio=_ratio(options),
        layer_ratios=options["layer_ratio"],
        **{k: options[k] for k in ("threshold", "top_k", "criterion", "scope", "steps", "min_channels", "max_ratio",
                                   "attention", "include", "exclude", "seed")},
    )  # fmt: skip  # a list of names
    request = Request(
        model=options["model"],
        output=None if options["dry_run"] else options["output"],
        settings=settings,
        shapes=dict(options["shapes"]),
        command=" ".join(["onnx-attnprune", *sys.argv[1:]]),
        **{k: options[k] for k in ("round_to", "provider", "recover", "evaluation", "plan", "from_plan", "report")},
    )
    with _progress(options) as progress:
        return prune_file(request, progress)


def _ratio(options: dict[str, Any]) -> float | None:
    if options["ratio"] is None and options["threshold"] is None and options["top_k"] is None:
        return 0.3
    return options["ratio"]  # type: ignore[no-any-return]  # click gives a float or None


class _progress:  # noqa: N801  # used as a function, in a with statement
    """Shows the stage at work on standard error once a run takes over two seconds; nothing where nobody looks."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._wanted = sys.stderr.isatty() and not options["quiet"] and not options["as_json"]
        self._status: Any = None
        self._start = 0.0

    def __enter__(self) -> Callable[[str], None]:
        import time

        self._start = time.monotonic()
        if self._wanted:
            from rich.console import Console

            self._status = Console(stderr=True).status("starting")
            self._status.start()
        return self._tell

    def _tell(self, stage: str) -> None:
        if self._status is not None:
            self._status.update(stage)

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()


def _show(report: Report, options: dict[str, Any]) -> None:
    from onnx_attnprune.report import render, to_json

    if options["as_json"]:
        click.echo(to_json(report), nl=False)
    elif not options["quiet"]:
        from rich.console import Console

        try:
            render(report, Console(highlight=False))
        except BrokenPipeError:
            raise OutputError("standard output was closed") from None


if __name__ == "__main__":
    main()

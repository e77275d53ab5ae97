"""The options of the command, their types, and the text of its help."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from onnx_attnprune.cli.dataoptions import CALIBRATE, EVAL, METRIC, PREPROCESS
from onnx_attnprune.cli.types import Listed, Multiple, Number, Pair, Sizes
from onnx_attnprune.errors import SettingsError

# The names of registries, written out so that --help need not import them; a test holds them equal.
SAMPLED = ("activation", "obs")
CRITERIA = ("attention", "attention-literal", "l1", "l2", "bn-scale", "random", *SAMPLED)
RECOVERIES = ("auto", "none", "mean", "mix", "least-squares", "sequential", "paired")
DEPLOYS = ("nnapi",)
PROVIDERS = ("cpu", "cuda", "tensorrt", "openvino", "coreml", "dml", "xnnpack", "qnn", "nnapi")
BUDGETS = ("target_macs", "target_params", "target_bytes", "target_latency", "max_drop")
AMOUNTS = ("ratio", "threshold", "top_k", *BUDGETS)


def _first_word(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What a shell may complete the first word to: another command, or a file."""
    from onnx_attnprune.cli.commands import main  # which imports this file

    names = [name for name in main.commands if incomplete and name.startswith(incomplete)]
    return [*map(CompletionItem, names), CompletionItem(incomplete, type="file")]


class _Bytes(click.ParamType):  # type: ignore[type-arg]  # as above
    """512MB, 4GB, or plain bytes."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(value).strip(), re.IGNORECASE)
        if found is None:
            self.fail(f"{value!r} is no size like 512MB or 4GB", param, ctx)
        return int(float(found[1]) * 1000 ** ("", "K", "M", "G", "T").index(found[2].upper()))


FILE = click.Path(path_type=Path)
SHAPE = click.option(
    "--shape",
    "shapes",
    type=Sizes(),
    multiple=True,
    metavar="NAME=AxBxC",
    help="Sizes for an input with free dimensions; repeatable.  [default: usual ones, and others where the "
    "model does not run at those]",
)
DEBUG = click.option("--debug", is_flag=True, help="Show where an error comes from (a Python traceback).")
_DECORATORS = (
    click.argument("model", type=FILE, metavar="IN.onnx", shell_complete=_first_word),
    click.argument("output", type=FILE, metavar="[OUT.onnx]", required=False),
    click.option("--ratio", type=Number(), metavar="R", help="Share of the channels to remove.  [default: 0.3]"),
    click.option(
        "--threshold",
        type=Number(),
        metavar="T",
        help="Instead of a ratio: remove channels that score below this, on a scale of 0 to 1 in each group.",
    ),
    click.option(
        "--top-k",
        type=int,
        metavar="K",
        help="Instead of a ratio: remove channels that score below the mean of the K best of their group.",
    ),
    *(
        click.option(
            f"--target-{cost}",
            type=Number(),
            metavar="S",
            help=f"Instead of a ratio: leave at most this share of the {what}.",
        )
        for cost, what in (("macs", "multiply-accumulates"), ("params", "parameters"), ("bytes", "file's bytes"))
    ),
    click.option(
        "--target-latency",
        type=Number(),
        metavar="S",
        help="Instead of a ratio: find the largest model that takes at most this share of the time, measured on "
        "--provider.",
    ),
    click.option(
        "--max-drop",
        type=Number(),
        metavar="D",
        help="Instead of a ratio: find the smallest model whose top-1 on --eval falls by at most D (0.01: a point), on "
        "other samples too in nine cases of ten; with --calibrate alone, whose choices (or values, by R2) differ from "
        "the original's by no more.",
    ),
    click.option(
        "--criterion",
        type=click.Choice(("auto", *CRITERIA)),
        default="auto",
        show_default=True,
        metavar="NAME",
        help=f"How channels are scored: {', '.join(CRITERIA)}. The last two look at samples, made-up ones where "
        "--calibrate gives none; auto: obs where it gives some for the repair, else attention.",
    ),
    click.option(
        "--scope",
        type=click.Choice(["layer", "global"]),
        help="layer: take the same share from every group. global: take the ratio from all channels together, from "
        "where it costs the outputs least on samples, and a budget by error against what is saved; with --recover none "
        "or mean and a criterion that looks at no samples, by rank.  [default: global with a ratio or a budget and a "
        "repair that looks at samples, of --calibrate or made-up ones; else layer]",
    ),
    click.option(
        "--steps",
        type=int,
        default=1,
        show_default=True,
        metavar="K",
        help="Remove in K stages, with fresh scores before each.",
    ),
    click.option(
        "--round-to",
        type=Multiple(),
        default="auto",
        show_default=True,
        metavar="N|auto",
        help="Keep channels in multiples of N; auto: what the provider's kernels like on this machine; 1: exact.",
    ),
    click.option(
        "--min-channels",
        type=int,
        default=1,
        show_default=True,
        metavar="N",
        help="Every group keeps at least this many.",
    ),
    click.option(
        "--max-ratio",
        type=Number(),
        metavar="R",
        help="No group loses more than this share.  [default: twice the ratio with --scope global, "
        "0.9 with a threshold or a budget]",
    ),
    click.option(
        "--include",
        multiple=True,
        metavar="PATTERN",
        help="Prune only groups with a tensor or node that matches (*, ?, [...]); repeatable.",
    ),
    click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave such groups whole; repeatable."),
    click.option(
        "--layer-ratio",
        type=Pair(),
        multiple=True,
        metavar="PATTERN=R",
        help="Another ratio for such groups (0: leave them whole); repeatable.",
    ),
    click.option(
        "--attention",
        type=click.Choice(["auto", "heads", "head-dims", "both", "none"]),
        default="auto",
        show_default=True,
        help="What goes where channels are heads (or convolution groups) times a width.",
    ),
    click.option(
        "--streams",
        type=click.Choice(["cut", "keep"]),
        default="cut",
        show_default=True,
        help="Residual streams, whose channels several layers add to; keep: leave them whole, but for those that "
        "--include or --layer-ratio means by name.",
    ),
    click.option(
        "--ties",
        type=click.Choice(["keep", "cut"]),
        default="keep",
        show_default=True,
        help="Where rounding alone ranks most of the boxes that a network selects; keep: leave the groups whole whose "
        "removal changes how sums round, so that the outputs stay; cut: compare what goes into the selection.",
    ),
    click.option(
        "--deploy",
        type=click.Choice(DEPLOYS),
        help="Keep to what this execution provider takes: equal parts where a Split has them, and its multiples; the "
        "report tells what it takes of both models.",
    ),
    click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="For the random criterion."),
    click.option("--plan", type=FILE, metavar="F.json", help="Write the plan: what is removed where."),
    click.option("--from-plan", type=FILE, metavar="F.json", help="Remove exactly what a plan says."),
    click.option("--dry-run", is_flag=True, help="Plan and report, but cut and write no model."),
    click.option(
        "--recover",
        type=click.Choice(RECOVERIES),
        default="auto",
        show_default=True,
        help="Repair without training; mean: move what removed channels gave on average into the biases; "
        "mix: make them up out of the channels that are left, by one map a tensor (little memory); "
        "least-squares: refit each layer on the channels that it keeps; sequential: one after another, on what the "
        "repaired layers before it give; paired: then each once more, with the layer that makes what it reads; auto: "
        "paired, on samples of --calibrate or made-up ones.",
    ),
    click.option(
        "--would-hold",
        type=click.Choice(["try", "foretell", "off"]),
        default="try",
        show_default=True,
        help="Where the result is of little use, name a ratio or target that would hold; try: cut, repair and judge "
        "some, in no more time than the run took; foretell: without that; off: don't judge the result.",
    ),
    click.option(
        "--memory",
        type=_Bytes(),
        default="2GB",
        show_default=True,
        metavar="SIZE",
        help="What the repair may take beside the models (512MB, 4GB); with less it computes more of the network anew.",
    ),
    CALIBRATE,
    EVAL,
    PREPROCESS,
    METRIC,
    SHAPE,
    click.option(
        "--provider",
        type=click.Choice(PROVIDERS),
        default="cpu",
        show_default=True,
        help="Execution provider to round for and to measure on.",
    ),
    click.option(
        "--latency-seconds",
        type=Number(),
        default=1.0,
        show_default=True,
        metavar="S",
        help="Run each model for so long to measure its latency; 0: don't measure.",
    ),
    click.option(
        "--bench",
        type=Listed(click.Choice(PROVIDERS)),
        default=(),
        metavar="P[,P...]",
        help="Measure both models in turns on these execution providers, --latency-seconds each, as bench does: for "
        "the report.",
    ),
    click.option(
        "--threads",
        type=int,
        default=0,
        show_default=True,
        metavar="N",
        help="Threads of ONNX Runtime while measuring; 0: its choice.",
    ),
    click.option(
        "--report",
        type=FILE,
        multiple=True,
        metavar="F.json|F.html",
        help="Write the report, as JSON or as a page (pip install 'onnx-attnprune[report]'); repeatable.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on standard output."),
    click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors."),
    DEBUG,
)


def with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the arguments and options above, in their order."""
    for decorator in reversed(_DECORATORS):
        command = decorator(command)
    return command


def shapes_of(given: Sequence[tuple[str, tuple[int, ...]]]) -> dict[str, tuple[int, ...]]:
    """The shapes by input name. Raises SettingsError for a name that is given twice."""
    shapes = dict(given)
    if len(shapes) < len(given):
        raise SettingsError("--shape is given twice for one input")
    return shapes

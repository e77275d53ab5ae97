"""A comparison as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table

from onnx_attnprune.report.comparison.model import Comparison
from onnx_attnprune.report.terminal import block, fold, line, table_of

TAKEN = 62  # columns that the figures take


def render(found: Comparison, console: Console) -> None:
    """Print the comparison, folded to the width of the console."""
    console.print(Group(*_parts(found, console.width)))


def _parts(found: Comparison, width: int) -> Iterator[RenderableType]:
    title = f"{len(found.runs)} runs on {found.runs[0].model}"
    yield from block(title, _runs(found, width))
    if found.measure:
        yield line("quality", found.measure)
        for front in found.fronts:
            yield line("best", f"by {front.cost}: " + ", ".join(name_of(point.run) for point in front.best))
    if found.differing:
        told = ", ".join(found.differing)
        yield line("differing", f"{told} (--html and --json list the values)")
    for note in found.notes:
        yield line("note", note)


def name_of(run: int) -> str:
    """A run as texts call it; 0 is the original."""
    return f"run {run}" if run else "the original"


def _runs(found: Comparison, width: int) -> Table:
    table = table_of("run", "report", "MACs", "bytes", "latency", "quality", "best by")
    table.columns[1].justify, table.columns[1].no_wrap = "left", False
    table.columns[6].justify = "left"
    table.add_row("", "original", "100%", "100%", "100%", found.quality_text(found.original), _best(found, 0))
    for number, (run, quality) in enumerate(zip(found.runs, found.qualities, strict=True), 1):
        table.add_row(
            f"{number}", fold(run.path, width - TAKEN), share(run.macs), share(run.size), share(run.latency),
            found.quality_text(quality), _best(found, number),
        )  # fmt: skip  # a row
    return table


def _best(found: Comparison, run: int) -> str:
    costs = found.best_for(run)
    return "all" if costs and len(costs) == len(found.fronts) else "\n".join(costs)


def share(value: float | None) -> str:
    """A share of the original that is left."""
    return "-" if value is None else f"{value:.1%}"

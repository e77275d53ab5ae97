"""The error of each group against its width as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onnx_attnprune.recovery import SHARES
from onnx_attnprune.report.sensitivity.model import LIMITS, Sensitivity, Suggestion
from onnx_attnprune.report.terminal import block, fold, line, table_of

FIXED = 52  # columns that the figures take


def render(found: Sensitivity, console: Console, chart: Path | None = None) -> None:
    """Print the table and the suggestion, folded to the width of the console; `chart` is where curves were drawn."""
    console.print(Group(*_parts(found, console.width, chart)))


def _parts(found: Sensitivity, width: int, chart: Path | None) -> Iterator[RenderableType]:
    limits = " and ".join(f"{limit:.0%}" for limit in LIMITS)
    title = f"error with a share of one group gone, and the largest share within {limits}"
    yield from block(title, _groups(found, width))
    if found.suggestion is not None:
        yield from _suggested(found.suggestion)
    yield line("error", "mean squared error over the variance, of the output that is furthest off, after the repair")
    yield line("samples", f"{found.calibration}; {found.samples} of them at the outputs")
    yield line("order", f"channels go in the order of criterion {found.criterion}")
    for note in found.notes:
        yield line("note", note, "yellow")
    if chart is not None:
        yield line("drawn", str(chart), "bold")


def _groups(found: Sensitivity, width: int) -> Table:
    limits = [f"at {limit:.0%}" for limit in LIMITS]
    table = table_of("group", "channels", *(f"-{share:.0%}" for share in SHARES), *limits)
    for g in sorted(found.groups, key=lambda g: g.error(SHARES[-2]), reverse=True):
        errors = [percent(g.error(share)) for share in SHARES]
        table.add_row(fold(g.name, width - FIXED), f"{g.size:,}", *errors, *(f"{g.cut(limit):.0%}" for limit in LIMITS))
    return table


def _suggested(given: Suggestion) -> Iterator[RenderableType]:
    if given.together is None:
        yield line("suggested", f"nothing: no channel can go within an error of {percent(given.limit)}")
        return
    yield Text(f"ratios that make an error of {percent(given.together)} together", style="bold cyan")
    rows = [f"--criterion {given.criterion}", *(f"--layer-ratio {option}" for option in given.options)]
    yield Padding(Text(" \\\n".join(rows), no_wrap=True, overflow="ignore"), (0, 0, 1, 2))


def percent(error: float) -> str:
    """An error for people, two digits of it."""
    if error > 9.99:
        return "> 999%"
    if 0 < error < 0.0005:
        return "< 0.1%"
    return f"{error:.0%}" if error >= 0.0995 else f"{error:.1%}"

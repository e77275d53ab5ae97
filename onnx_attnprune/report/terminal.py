"""The report as a person reads it on a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onnx_attnprune.report.model import Report, Search, Timing
from onnx_attnprune.report.results import (
    drift_text,
    phone_text,
    repair_text,
    results,
    stage_seconds,
    timed_verdict,
    verdict,
)

MOST_GROUPS, MOST_REASONS, MOST_NOTES = 12, 6, 4


def render(report: Report, console: Console) -> None:
    """Print the report, folded to the width of the console."""
    console.print(Group(*_parts(report, console.width)))


def _parts(report: Report, width: int) -> Iterator[RenderableType]:
    yield from block("channel groups", _groups(report, width))
    if report.kept:
        yield from block("kept whole", _kept(report, width))
    if report.search is not None:
        title = f"search: {report.search.measure} may drop by {report.search.limit:g}"
        yield from block(title, _search(report.search))
    if report.timing is not None:
        title = f"search: at most {report.timing.limit:g} of the latency on {report.timing.provider}"
        yield from block(title, _timing(report.timing))
    yield from block("result", _result(report))
    if report.self_check is not None:
        check = report.self_check
        yield line(
            "self-check",
            f"passed: pruned == masked original on {check.inputs}, off by at most {check.largest:.1e} of the largest "
            f"value (limit {check.tolerance:.0e})",
            "green",
        )
    if report.drift is not None and report.drift.outputs:
        yield line("drift", drift_text(report.drift))
    if report.repair is not None and report.repair.method != "none":
        yield line("repair", repair_text(report.repair))
    if report.phone is not None:
        yield line("phone", phone_text(report.phone))
    yield line("time", _time(report))
    for note in report.notes[:MOST_NOTES]:
        yield line("note", note)
    if len(report.notes) > MOST_NOTES:
        yield line("note", f"… and {len(report.notes) - MOST_NOTES} more (--report or --json lists all)")
    for warning in report.warnings:
        yield line("warning", warning, "bold yellow")
    if report.output is None:
        yield line("dry run", "no model was cut or written", "bold")
    else:
        yield line("written", report.output, "bold")


def block(title: str, table: Table) -> Iterator[RenderableType]:
    """A table under its title, and an empty line."""
    yield Text(title, style="bold cyan")
    yield Padding(table, (0, 0, 1, 2))


def line(head: str, text: str, style: str = "") -> RenderableType:
    """A labelled line whose continuation is indented."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, width=10)
    grid.add_column(overflow="fold")
    grid.add_row(Text(head, style=style or "bold"), Text(text, style=style))
    return grid


def table_of(*heads: str) -> Table:
    """A table of names on the left and figures on the right, without a frame."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1), header_style="dim")
    for k, head in enumerate(heads):
        table.add_column(head, justify="left" if k == 0 else "right", overflow="fold", no_wrap=k > 0)
    return table


# ---------------------------------------------------------------- tables
def _groups(report: Report, width: int) -> Table:
    table = table_of("group", "channels", "kept", "left", "tensors")
    room = width - 36
    rows = sorted(report.groups, key=lambda g: g.size * g.members, reverse=True)
    for g in rows[:MOST_GROUPS]:
        table.add_row(fold(g.name, room), f"{g.size:,}", f"{g.kept:,}", f"{g.kept / g.size:.0%}", f"{g.members:,}")
    if len(rows) > MOST_GROUPS:
        rest = rows[MOST_GROUPS:]
        size, kept = sum(g.size for g in rest), sum(g.kept for g in rest)
        table.add_row(f"… and {len(rest)} more", f"{size:,}", f"{kept:,}", f"{kept / size:.0%}", "")
    return table


def _kept(report: Report, width: int) -> Table:
    table = table_of("why", "axes", "channels", "for example")
    table.columns[3].justify, table.columns[3].no_wrap = "left", False
    rows = [(k.why + (f" ({k.op})" if k.op else ""), k) for k in report.kept[:MOST_REASONS]]
    room = width - 27 - min(max(len(why) for why, _ in rows), (width - 27) // 2)
    for why, k in rows:
        table.add_row(why, f"{k.axes:,}", f"{k.channels:,}", fold(k.example, room))
    if len(report.kept) > MOST_REASONS:
        rest = report.kept[MOST_REASONS:]
        axes, channels = sum(k.axes for k in rest), sum(k.channels for k in rest)
        table.add_row(f"… and {len(rest)} more reasons", f"{axes:,}", f"{channels:,}", "")
    return table


def fold(name: str, width: int) -> str:
    """A long tensor name over several lines, the lines after the first indented.

    It is broken behind dots, slashes and colons; where the parts between those are too long, behind low lines too.
    """
    width = max(width, 12)
    lines = [""]
    parts = re.findall(r"[^./:]*[./:]+|[^./:]+", name)
    if any(len(part) > width - 2 for part in parts):
        parts = re.findall(r"[^./:_]*[./:_]+|[^./:_]+", name)
    for part in parts:
        indent = "  " if len(lines) > 1 or lines[0] else ""
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append(indent)
        lines[-1] += part
    return "\n".join(lines)


def _search(search: Search) -> Table:
    others = ("on others at most",) if any(t.most is not None for t in search.trials) else ()
    table = table_of("tried", "MACs left", "channels left", f"drop on {search.samples:,}", *others, "")
    for k, trial in enumerate(search.trials):
        drops = [f"{trial.drop:+.4f}"] + ([f"{trial.most:+.4f}"] if trial.most is not None else [])
        table.add_row(f"{k + 1}", f"{trial.macs:.1%}", f"{trial.channels:.1%}", *drops, verdict(search, k))
    return table


def _timing(timing: Timing) -> Table:
    table = table_of("tried", "MACs left", "channels left", "latency left", "measured again", "")
    for k, trial in enumerate(timing.trials):
        again = "" if trial.confirmed is None else f"{trial.confirmed:.3f}"
        left = (f"{trial.macs:.1%}", f"{trial.channels:.1%}", f"{trial.latency:.3f}")
        table.add_row(f"{k + 1}", *left, again, timed_verdict(timing, k))
    return table


def _result(report: Report) -> Table:
    table = table_of("", "before", "after", "change")
    for figure in results(report):
        table.add_row(("  " if figure.part else "") + figure.name, figure.before, figure.after, figure.change)
    return table


def _time(report: Report) -> str:
    parts = []
    for name, seconds in stage_seconds(report).items():
        share = f" ({seconds / report.seconds:.0%} of it)" if name == "repair" and report.seconds else ""
        parts.append(f"{name} {seconds:.2f}{share}")
    return f"{report.seconds:.2f} s: " + ", ".join(parts)

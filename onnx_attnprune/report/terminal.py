"""The report as a person reads it on a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onnx_attnprune.evaluate.equivalence import Difference
from onnx_attnprune.evaluate.latency import Latency
from onnx_attnprune.evaluate.measure import Drift, Speed
from onnx_attnprune.report.figures import figure_rows
from onnx_attnprune.report.model import Change, Repair, Report, Search, Timing

MOST_GROUPS, MOST_REASONS, MOST_NOTES = 12, 6, 4
FEWEST_FOR_AGREEMENT = 16  # rows; of fewer a share says nothing
NOISY = 0.5


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
        yield line("drift", _drift(report.drift))
    if report.repair is not None and report.repair.method != "none":
        yield line("repair", _repair(report.repair))
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
    confirmed = (f"on {search.confirming:,} more",) if search.confirming else ()
    table = table_of("tried", "MACs left", "channels left", f"drop on {search.samples:,}", *confirmed, "")
    for k, trial in enumerate(search.trials):
        drops = [f"{trial.drop:+.4f}"] + ([f"{trial.confirmed:+.4f}"] if trial.confirmed is not None else [])
        over = trial.drop > search.limit + 1e-9  # room for rounding, as in the search
        said = "taken" if k == search.chosen else "too much" if over else ""
        if trial.confirmed is not None and trial.confirmed > search.limit + 1e-9 and not over:
            said = "not confirmed"
        table.add_row(f"{k + 1}", f"{trial.macs:.1%}", f"{trial.channels:.1%}", *drops, said)
    return table


def _timing(timing: Timing) -> Table:
    table = table_of("tried", "MACs left", "channels left", "latency left", "measured again", "")
    for k, trial in enumerate(timing.trials):
        again = "" if trial.confirmed is None else f"{trial.confirmed:.3f}"
        said = "taken" if k == timing.chosen else "too slow" if trial.latency > timing.limit else ""
        table.add_row(f"{k + 1}", f"{trial.macs:.1%}", f"{trial.channels:.1%}", f"{trial.latency:.3f}", again, said)
    return table


def _result(report: Report) -> Table:
    table = table_of("", "before", "after", "change")
    for name, change in (
        ("channels", report.channels),
        ("parameters", report.parameters),
        (_macs(report), report.macs),
    ):
        table.add_row(name, f"{change.before:,}", f"{change.after:,}", _percent(change))
    if report.size is not None:
        table.add_row("bytes", f"{report.size.before:,}", f"{report.size.after:,}", _percent(report.size))
    if report.speed is not None:
        table.add_row(*_latency(report.speed))
    if report.accuracy is not None:
        accuracy = report.accuracy
        for row in figure_rows(accuracy.before, accuracy.after, accuracy.unrepaired):
            table.add_row(*row)
    return table


def _macs(report: Report) -> str:
    return f"MACs{shape_text(list(report.shapes.values()))}"


def shape_text(shapes: Sequence[tuple[int, ...]]) -> str:
    """The shape of the only input in brackets; nothing where there are several, which the JSON report lists."""
    return f" ({'x'.join(map(str, shapes[0]))})" if len(shapes) == 1 else ""


def _latency(speed: Speed) -> tuple[str, str, str, str]:
    change = f"{speed.speedup:.2f}x faster" if speed.speedup >= 1 else f"{1 / speed.speedup:.2f}x slower"
    return (f"latency, {speed.provider}", _milliseconds(speed.before), _milliseconds(speed.after), change)


def _milliseconds(latency: Latency) -> str:
    spread = "noisy" if latency.spread > NOISY else f"±{latency.spread:.0%}"
    return (
        f"{latency.median_ms:.3g} ms {spread}" if latency.median_ms < 100 else f"{latency.median_ms:,.0f} ms {spread}"
    )


def _percent(change: Change) -> str:
    return f"{(change.left - 1) * 100:+.1f} %"


# ---------------------------------------------------------------- lines
def _repair(repair: Repair) -> str:
    text = f"{repair.method}, {repair.compensated} of {repair.consumers} consumers of removed channels"
    if repair.notes:
        rest = len(repair.notes) - 1
        text += f"; {repair.notes[0]}" + (f" (and {rest} more such notes in --report)" if rest else "")
    return text


def _drift(drift: Drift) -> str:
    worst = min(drift.outputs, key=lambda d: d.cosine)
    which = worst.output if len(drift.outputs) == 1 else f"{len(drift.outputs)} outputs, furthest {worst.output}"
    return f"{which} against the unpruned model on {drift.inputs}: {_distance(worst, drift.samples)}"


def _distance(d: Difference, samples: int) -> str:
    if not ("float" in d.dtype or "complex" in d.dtype):
        return f"{d.max_rel:.1%} of the values differ"
    text = f"cosine {d.cosine:.4f}, {d.sqnr_db:.1f} dB"
    if d.top1_agreement is not None and samples >= FEWEST_FOR_AGREEMENT:
        text += f", same top-1 in {d.top1_agreement:.1%}"
    return text


def _time(report: Report) -> str:
    total: dict[str, float] = {}
    for stage in report.stages:
        total[stage.name] = total.get(stage.name, 0.0) + stage.seconds
    parts = []
    for name, seconds in total.items():
        share = f" ({seconds / report.seconds:.0%} of it)" if name == "repair" and report.seconds else ""
        parts.append(f"{name} {seconds:.2f}{share}")
    return f"{report.seconds:.2f} s: " + ", ".join(parts)

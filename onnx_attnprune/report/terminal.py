"""The report as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnx_attnprune.evaluate.metrics import Classification
from onnx_attnprune.report.model import Change, Report

MOST_GROUPS, MOST_REASONS = 12, 6


def render(report: Report, console: Console) -> None:
    """Print the report."""
    console.print(Group(*_parts(report)))


def _parts(report: Report) -> Iterator[RenderableType]:
    yield _groups(report)
    if report.kept:
        yield _kept(report)
    yield _summary(report)
    for note in report.notes:
        yield Text(f"note: {note}", style="yellow")
    if report.self_check is not None:
        check = report.self_check
        yield Text(
            f"self-check passed: pruned == masked original on {check.inputs}, off by at most "
            f"{check.largest:.1e} of the largest value (limit {check.tolerance:.0e})",
            style="green",
        )
    for d in report.drift:
        agreement = "" if d.top1_agreement is None else f", top-1 agreement {d.top1_agreement:.1%}"
        yield Text(f"drift of {d.output} against the unpruned model: cosine {d.cosine:.4f}, {d.sqnr_db:.1f} dB{agreement}")
    yield Text("time: " + ", ".join(f"{s.name} {s.seconds:.2f} s" for s in report.stages), style="dim")
    if report.output is None:
        yield Text("dry run: nothing was written", style="bold")
    else:
        yield Text(f"written: {report.output}", style="bold")


def _groups(report: Report) -> Table:
    table = Table(title="channel groups", title_justify="left", box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("group", overflow="fold")
    for name in ("channels", "kept", "share", "tensors"):
        table.add_column(name, justify="right")
    rows = sorted(report.groups, key=lambda g: g.size * g.members, reverse=True)
    for g in rows[:MOST_GROUPS]:
        table.add_row(g.name, str(g.size), str(g.kept), f"{g.kept / g.size:.0%}", str(g.members))
    if len(rows) > MOST_GROUPS:
        rest = rows[MOST_GROUPS:]
        size, kept = sum(g.size for g in rest), sum(g.kept for g in rest)
        table.add_row(f"… and {len(rest)} more", str(size), str(kept), f"{kept / size:.0%}", "")
    return table


def _kept(report: Report) -> Table:
    table = Table(title="kept whole", title_justify="left", box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("why", overflow="fold")
    table.add_column("axes", justify="right")
    table.add_column("channels", justify="right")
    table.add_column("for example", overflow="fold")
    for k in report.kept[:MOST_REASONS]:
        table.add_row(k.why + (f" ({k.op})" if k.op else ""), str(k.axes), str(k.channels), k.example)
    if len(report.kept) > MOST_REASONS:
        table.add_row(f"… and {len(report.kept) - MOST_REASONS} more reasons", "", "", "")
    return table


def _summary(report: Report) -> Table:
    table = Table(title="result", title_justify="left", box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("")
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right")
    for name, change in (("channels", report.channels), ("parameters", report.parameters), ("MACs", report.macs)):
        table.add_row(name, f"{change.before:,}", f"{change.after:,}", _percent(change))
    if report.size is not None:
        table.add_row("bytes", f"{report.size.before:,}", f"{report.size.after:,}", _percent(report.size))
    if report.speed is not None:
        s = report.speed
        shape = ", ".join("x".join(map(str, v)) for v in s.shapes.values())
        table.add_row(
            f"latency on {s.provider} ({shape})",
            f"{s.before.median_ms:.2f} ms ±{s.before.spread:.0%}",
            f"{s.after.median_ms:.2f} ms ±{s.after.spread:.0%}",
            f"{s.speedup:.2f}x faster" if s.speedup >= 1 else f"{1 / s.speedup:.2f}x slower",
        )
    if report.accuracy is not None:
        a = report.accuracy
        for name in ("top1", "top5", "precision", "recall", "f1"):
            row = _metric(name, a.before, a.after)
            if row:
                table.add_row(*row)
        if a.unrepaired is not None:
            table.add_row("top-1 without repair", "", f"{a.unrepaired.top1:.2%}", "")
    return table


def _metric(name: str, before: Classification, after: Classification) -> tuple[str, str, str, str] | None:
    one, two = getattr(before, name), getattr(after, name)
    if one is None or two is None:
        return None
    label = {"top1": "top-1", "top5": "top-5", "f1": "F1"}.get(name, name)
    return (f"{label} ({before.n} samples)", f"{one:.2%}", f"{two:.2%}", f"{(two - one) * 100:+.2f} points")


def _percent(change: Change) -> str:
    return f"{(change.left - 1) * 100:+.1f} %"

"""A verification as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnx_attnprune.evaluate.classification import Confusion
from onnx_attnprune.evaluate.drift import Drift
from onnx_attnprune.evaluate.equivalence import TOLERANCE, Difference
from onnx_attnprune.report.figures import figure_rows
from onnx_attnprune.report.results import FEWEST_FOR_AGREEMENT
from onnx_attnprune.report.terminal import block, fold, line, table_of
from onnx_attnprune.report.verification import Status, Verification

STYLES: dict[Status, str] = {"passed": "green", "failed": "bold red", "skipped": "dim"}
MOST_OUTPUTS, MOST_CONFUSED = 12, 5


def render(found: Verification, console: Console) -> None:
    """Print what was checked and measured, folded to the width of the console."""
    console.print(Group(*_parts(found, console.width)))


def _parts(found: Verification, width: int) -> Iterator[RenderableType]:
    yield from block("checks", _checks(found))
    if found.drift is not None and found.drift.outputs:
        yield from block(f"drift of the outputs on {found.drift.inputs}", _drift(found.drift, width))
    if found.accuracy is not None:
        table = table_of("", "original", "pruned", "change")
        for row in figure_rows(found.accuracy.before, found.accuracy.after):
            table.add_row(*row)
        yield from block(f"accuracy on {found.accuracy.data}", table)
    if found.confusion is not None and any(_mistakes(c) for c in found.confusion):
        yield from block("most confused by the pruned model", _confused(*found.confusion))
    for note in found.notes:
        yield line("note", note)
    if found.passed:
        yield line("verified", found.pruned, "bold green")
    else:
        yield line("FAILED", f"{found.pruned}: {', '.join(c.name for c in found.failed)}", "bold red")


def _checks(found: Verification) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in found.checks:
        style = STYLES[check.status]
        told = Text(check.told, style if check.status == "skipped" else "")
        table.add_row(Text(check.name), Text(check.status, style), told)
    return table


def _drift(drift: Drift, width: int) -> Table:
    agrees = drift.samples >= FEWEST_FOR_AGREEMENT and any(d.top1_agreement is not None for d in drift.outputs)
    table = table_of("output", "largest", "of the largest", "cosine", "SQNR", *(["same top-1"] if agrees else []))
    worst_first = sorted(drift.outputs, key=lambda d: d.cosine)
    for d in worst_first[:MOST_OUTPUTS]:
        share = "" if d.top1_agreement is None else f"{d.top1_agreement:.2%}"
        table.add_row(fold(d.output, width - 60), *_distance(d), *([share] if agrees else []))
    if len(worst_first) > MOST_OUTPUTS:
        table.add_row(f"… and {len(worst_first) - MOST_OUTPUTS} nearer ones", *[""] * (len(table.columns) - 1))
    return table


def _distance(d: Difference) -> tuple[str, str, str, str]:
    if d.dtype not in TOLERANCE and not d.dtype.startswith("float"):
        return f"{d.max_abs:g}", f"{d.max_rel:.1%} differ", f"{d.cosine:.4f}", f"{d.sqnr_db:.1f} dB"
    return f"{d.max_abs:.2e}", f"{d.max_rel:.2e}", f"{d.cosine:.4f}", f"{d.sqnr_db:.1f} dB"


def _mistakes(confusion: Confusion) -> dict[tuple[int, int], int]:
    return {(label, guess): count for label, guess, count in confusion.cells if label != guess}


def _confused(before: Confusion, after: Confusion) -> Table:
    """The mistakes that the pruned model makes most often."""
    table = table_of("label → predicted", "original", "pruned")
    then, now = _mistakes(before), _mistakes(after)
    for label, guess in sorted(now, key=lambda pair: (-now[pair], pair))[:MOST_CONFUSED]:
        table.add_row(
            f"{label} → {'nan' if guess < 0 else guess}", f"{then.get((label, guess), 0):,}", f"{now[label, guess]:,}"
        )
    return table

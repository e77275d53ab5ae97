"""Models measured side by side, as data and as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

from onnx_attnprune.evaluate.bench import Row
from onnx_attnprune.evaluate.latency import SpeedUp
from onnx_attnprune.report.results import shape_text
from onnx_attnprune.report.terminal import block, fold, line, table_of

FORMAT, VERSION = "onnx-attnprune/bench", 1
VERDICTS = {"faster": "faster", "slower": "slower", "same": "within noise", "unclear": "unclear"}
FIXED = 60  # columns that the figures of the wider table take


@dataclass(frozen=True, slots=True)
class Bench:
    """All figures of one measurement. threads: 0 is ONNX Runtime's choice; seconds: for how long each session ran."""

    command: str
    versions: Mapping[str, str]
    threads: int
    seconds: float
    rows: tuple[Row, ...]

    def as_dict(self) -> dict[str, Any]:
        """The figures as plain data for JSON, with format and version, and the verdict of each comparison."""
        rows = [{**asdict(row), "verdict": None if row.speed_up is None else row.speed_up.verdict} for row in self.rows]
        return {"format": FORMAT, "version": VERSION, **asdict(self), "rows": rows}


def render(bench: Bench, console: Console) -> None:
    """Print the figures, folded to the width of the console."""
    console.print(Group(*_parts(bench, console.width)))


def _parts(bench: Bench, width: int) -> Iterator[RenderableType]:
    yield from rows_told(bench.rows, width)
    yield line("note", f"all in turns, {bench.seconds:g} s each; {conditions(bench.threads)}")


def rows_told(given: Sequence[Row], width: int) -> Iterator[RenderableType]:
    """The tables of latencies and sessions, with what could not be measured and what was left to the CPU."""
    names = _names([row.model for row in given])
    room = width - FIXED
    for batch in dict.fromkeys(row.batch for row in given):
        rows = [row for row in given if row.batch == batch]
        first = rows[0]
        what = "latency" if batch is None else f"latency, batch {batch}"
        yield from block(f"{what}{shape_text(list(first.shapes.values()))}", _latencies(rows, names, room))
    yield from block("sessions", _sessions(given, names, room))
    for row in given:
        if row.outcome != "measured":
            yield line(row.outcome, f"{names[row.model]} on {row.provider}: {row.reason}", "bold yellow")
    for (model, provider), ops in _left(given).items():
        yield line("note", f"{provider} leaves operators of {names[model]} to the CPU: {', '.join(ops)}")


def conditions(threads: int) -> str:
    """How it was measured, for a note below the tables."""
    return f"threads: {threads or 'as ONNX Runtime likes'}; ± is the IQR over the median"


def _names(paths: Sequence[str]) -> Mapping[str, str]:
    """A short name for each file: without its folders and suffix where that is enough to tell them apart."""
    short = {path: Path(path).stem for path in dict.fromkeys(paths)}
    twice = [name for name in short.values() if list(short.values()).count(name) > 1]
    return {path: path if name in twice else name for path, name in short.items()}


def _latencies(rows: Sequence[Row], names: Mapping[str, str], room: int) -> Table:
    table = table_of("model", "on", "median", "±", "p90", "per s", "against the first")
    table.columns[1].justify = table.columns[6].justify = "left"
    for row in rows:
        cells = [row.outcome, "", "", "", ""]
        if row.latency is not None and row.per_second is not None:
            found = row.latency
            cells = [
                milliseconds(found.median_ms), f"{found.spread:.0%}", milliseconds(found.p90_ms),
                f"{row.per_second:,.0f}" if row.per_second >= 100 else f"{row.per_second:.3g}", against(row.speed_up),
            ]  # fmt: skip  # three lines
        table.add_row(fold(names[row.model], room), row.provider, *cells)
    return table


def _sessions(rows: Sequence[Row], names: Mapping[str, str], room: int) -> Table:
    table = table_of("model", "on", "batch", "created in", "peak memory", "nodes there")
    table.columns[1].justify = "left"
    for row in rows:
        created = "" if row.creation_ms is None else milliseconds(row.creation_ms)
        memory = "" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:,.1f} MB"
        placed = "" if row.placement is None else f"{row.placement.on(row.provider)} of {row.placement.all}"
        batch = "" if row.batch is None else str(row.batch)
        table.add_row(fold(names[row.model], room), row.provider, batch, created, memory, placed)
    return table


def _left(rows: Sequence[Row]) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """The operators that a provider leaves to the CPU, by model and provider."""
    return {
        (row.model, row.provider): row.placement.left_to_cpu
        for row in rows
        if row.outcome == "measured" and row.placement is not None and row.placement.left_to_cpu
    }


def milliseconds(value: float) -> str:
    """A time in milliseconds for people, three digits of it."""
    return f"{value:.3g} ms" if value < 100 else f"{value:,.0f} ms"


def against(speed_up: SpeedUp | None) -> str:
    """How a model compares with the first one; nothing for the first itself."""
    if speed_up is None:
        return ""
    verdict = speed_up.verdict
    if verdict == "slower":
        return f"{1 / speed_up.factor:.2f}x slower"
    return f"{speed_up.factor:.2f}x {VERDICTS[verdict]}"

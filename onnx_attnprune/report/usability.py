"""What a phone would take of models, as data and as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

from onnx_attnprune.deploy.usability import Usability
from onnx_attnprune.report.results import shape_text
from onnx_attnprune.report.terminal import block, fold, line, table_of

FORMAT, VERSION = "onnx-attnprune/usability", 1
VERDICTS = {"no": "no", "maybe": "measure it", "yes": "yes"}


@dataclass(frozen=True, slots=True)
class UsabilityReport:
    """What NNAPI would take of one model, or of two, and what changed between these."""

    command: str
    versions: Mapping[str, str]
    models: tuple[Usability, ...]
    changes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The findings as plain data for JSON, with format and version."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}


def render(report: UsabilityReport, console: Console) -> None:
    """Print the findings, folded to the width of the console."""
    console.print(Group(*_parts(report, console.width)))


def _parts(report: UsabilityReport, width: int) -> Iterator[RenderableType]:
    shapes = shape_text(list(report.models[0].shapes.values()))
    yield from block(f"NNAPI, by ONNX Runtime's usability analysis{shapes}", _table(report, width - 48))
    if any(m.obstacles for m in report.models):
        yield from block("nodes that stay on the CPU", _obstacles(report, width - 40))
    for model in report.models[-1:]:
        for op, text in model.caveats.items():
            yield line("caveat", f"{op}: {text} (not checked)")
    if len(report.models) > 1:
        for change in report.changes:
            yield line("changed", change, "bold yellow")
        if not report.changes:
            yield line("changed", "nothing that NNAPI minds", "green")


def _table(report: UsabilityReport, room: int) -> Table:
    table = table_of("model", "suits", "nodes", "parts", "in multiples of 8")
    for model in report.models:
        found = model.partitions
        even = f"{model.convolutions - len(model.uneven)} of {model.convolutions} convs" if model.convolutions else ""
        nodes = f"{found.supported} of {found.nodes}"
        table.add_row(fold(model.model, room), VERDICTS[found.suitability], nodes, str(len(found.sizes)), even)
    table.columns[4].header = f"multiples of {report.models[0].multiple}"
    return table


def _obstacles(report: UsabilityReport, room: int) -> Table:
    table = table_of("why", *(("nodes",) if len(report.models) == 1 else ("before", "after")), "for example")
    table.columns[-1].justify, table.columns[-1].no_wrap = "left", False
    counts: dict[tuple[str, str], list[int]] = {}
    examples: dict[tuple[str, str], str] = {}
    for k, model in enumerate(report.models):
        for o in model.obstacles:
            counts.setdefault((o.op, o.why), [0] * len(report.models))[k] = o.nodes
            examples.setdefault((o.op, o.why), o.example)
    for (op, why), found in counts.items():
        example = fold(examples[op, why], room // 2)
        table.add_row(f"{op}: {why}" if op else why, *map(str, found), example)
    return table

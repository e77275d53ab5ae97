"""The tables and the plot of `bench_accuracy`, from the cells that were measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from accuracy_cells import PARTS, Cell, default_criterion

OWN = "onnx-attnprune"
CALLED = {
    "sequential": "layer by layer, made-up samples",
    "sequential+samples": "layer by layer+samples",
    "paired": "couples of layers, made-up samples",
    "paired+samples": "couples of layers+samples",
}
COLOURS = (
    "#d62728",
    "#1f77b4",
    "#2ca02c",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#7f7f7f",
    "#bcbd22",
    "#17becf",
    "#ff7f0e",
    "#000000",
    "#aec7e8",
    "#98df8a",
)


def main_table(cells: Sequence[Cell]) -> str:
    """A table a network and part: one row a method, one column a ratio; the best of a column in bold."""
    return "\n".join(text for name in networks(cells) for part in PARTS for text in _network(cells, name, part))


def networks(cells: Sequence[Cell]) -> list[str]:
    """Their names, in the order in which they were measured."""
    return list(dict.fromkeys(c.network for c in cells))


def _network(cells: Sequence[Cell], network: str, part: str) -> Iterator[str]:
    mine = [c for c in cells if c.network == network and c.who != "unpruned" and c.part == part and c.ratio]
    mine = [c for c in mine if _is_default(c)]
    ratios = sorted({c.ratio for c in mine})
    if not ratios:
        return
    whole = next((c for c in cells if c.network == network and c.who == "unpruned"), None)
    what = "channels inside blocks" if part == "inner" else "the whole network"
    yield f"\n{network}, {what}: {whole.top1:.2f} % of {whole.images} images unpruned\n" if whole else f"\n{network}\n"
    yield "| method | repair | " + " | ".join(f"{r:.0%}" for r in ratios) + " |"
    yield "| --- | --- |" + " ---: |" * len(ratios)
    shares = {c.ratio: c.macs for c in mine if c.who == OWN and c.macs}
    yield "| MACs left | | " + " | ".join(f"{shares[r]:.2f}" if r in shares else "-" for r in ratios) + " |"
    best = {r: max(c.top1 for c in mine if c.ratio == r) for r in ratios}
    for method in dict.fromkeys((c.who, c.criterion, c.repair) for c in mine):
        found = {c.ratio: c.top1 for c in mine if (c.who, c.criterion, c.repair) == method}
        texts = [_cell(found.get(r), best[r]) for r in ratios]
        yield f"| {method[0]}, {method[1]} | {CALLED.get(method[2], method[2])} | " + " | ".join(texts) + " |"


def _cell(value: float | None, best: float) -> str:
    if value is None:
        return "-"
    return f"**{value:.2f}**" if value == best else f"{value:.2f}"


def criteria_table(cells: Sequence[Cell]) -> str:
    """Criteria by repair: a row a network, part, ratio and repair, a column a criterion ("": no row is full)."""
    mine = [c for c in cells if c.who == OWN]
    criteria = list(dict.fromkeys(c.criterion for c in mine))
    places: dict[tuple[str, str, float, str], dict[str, float]] = {}
    for c in mine:
        places.setdefault((c.network, c.part, c.ratio, c.repair), {})[c.criterion] = c.top1
    full = {place: row for place, row in places.items() if len(row) == len(criteria) > 1}
    if not full:
        return ""
    lines = ["\n| network | part | ratio | repair | " + " | ".join(criteria) + " |"]
    lines.append("| --- | --- | ---: | --- |" + " ---: |" * len(criteria))
    for (network, part, ratio, repair), row in sorted(full.items()):
        texts = " | ".join(_cell(row[c], max(row.values())) for c in criteria)
        lines.append(f"| {network} | {part} | {ratio:.0%} | {repair} | {texts} |")
    return "\n".join(lines)


def draw(cells: Sequence[Cell], path: Path) -> None:
    """One small chart a network and part: top-1 against the ratio, a line a method."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "onnx-attnprune"  # equal results give equal files
    from matplotlib import pyplot as plt

    names = networks(cells)
    figure, grid = plt.subplots(len(names), len(PARTS), figsize=(10, 3.2 * len(names)), squeeze=False)
    methods = list(dict.fromkeys(_method(c) for c in cells if _drawn(c)))
    for across, name in zip(grid, names, strict=True):
        for chart, part in zip(across, PARTS, strict=True):
            chart.set_title(f"{name}, {'inside blocks' if part == 'inner' else 'whole network'}", fontsize=9)
            chart.grid(alpha=0.3)
            if not any(c.network == name and c.part == part and _drawn(c) for c in cells):
                chart.set_axis_off()  # a plain network has no streams: one chart
                chart.set_title("")
            for k, method in enumerate(methods):
                points = sorted(
                    (c.ratio, c.top1)
                    for c in cells
                    if c.network == name and c.part == part and _drawn(c) and _method(c) == method
                )
                own = method.startswith(OWN)
                style = "-" if own else "--"
                if points:
                    chart.plot(
                        *zip(*points, strict=True),
                        style,
                        marker=".",
                        color=COLOURS[k % len(COLOURS)],
                        label=method,
                        lw=2 if own else 1,
                    )
    handles = {
        label: line for chart in figure.axes for line, label in zip(*chart.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=2, fontsize=7)
    figure.supxlabel("share of the channels that is removed", fontsize=9, y=0.06)
    figure.supylabel("top-1 (%)", fontsize=9)
    figure.tight_layout(rect=(0.02, 0.08, 1, 1))
    figure.savefig(path, metadata={"Date": None})


def _method(cell: Cell) -> str:
    return ", ".join(filter(None, (cell.who, cell.criterion, CALLED.get(cell.repair, cell.repair))))


def _drawn(cell: Cell) -> bool:
    return cell.ratio > 0 and _is_default(cell)


def _is_default(cell: Cell) -> bool:
    return cell.who != OWN or cell.criterion == default_criterion(cell.repair)

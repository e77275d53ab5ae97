"""A look at a network as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onnx_attnprune.report.inspection.model import GroupCost, Inspection, Obstacle, size_text
from onnx_attnprune.report.results import shape_text
from onnx_attnprune.report.terminal import block, fold, line, table_of

MOST_GROUPS, FIRST_OBSTACLES, MOST_OBSTACLES = 12, 3, 9
DEFINITION = "* in layers with an axis that has channels to lose: such a layer counts whole"
UNITS = (("G", 10**9), ("M", 10**6), ("k", 10**3))


def render(found: Inspection, console: Console, graph: Path | None = None) -> None:
    """Print what was found, folded to the width of the console; `graph` is where a picture was drawn."""
    console.print(Group(*_parts(found, console.width, graph)))


def _parts(found: Inspection, width: int, graph: Path | None) -> Iterator[RenderableType]:
    if found.groups:
        yield from block("channel groups, and what one channel of each costs", _groups(found, width))
    else:
        yield Text("no channel group: nothing can be cut\n", style="bold yellow")
    yield Text("what can be cut", style="bold cyan")
    yield Padding(_shares(found), (0, 0, 0, 2))
    note = DEFINITION
    if found.uncounted:
        note += f"\n  not counted: the MACs of {_nodes(found.uncounted)} that nothing is known of"
    for why, names in _spared(found).items():
        note += f"\n  left whole unless --include names it, since {why}: {', '.join(names)}"
    yield Padding(Text(note, style="dim"), (0, 0, 1, 2))
    if found.obstacles:
        yield Text("what is in the way", style="bold cyan")
        for number, one in enumerate(found.obstacles[:FIRST_OBSTACLES], 1):
            yield Padding(_obstacle(number, one, found, width), (0, 0, 1, 2))
        if len(found.obstacles) > FIRST_OBSTACLES:
            yield Padding(_others(found), (0, 0, 1, 2))
    if graph is not None:
        yield line("drawn", str(graph), "bold")


# ---------------------------------------------------------------- groups
def _groups(found: Inspection, width: int) -> Table:
    roomy = width >= 100
    table = table_of("group", "channels", "parameters", "MACs", "lies in")
    table.columns[4].no_wrap = not roomy
    if roomy:
        table.columns[4].justify = "left"
    rows = sorted(found.groups, key=lambda g: _weight(g, found), reverse=True)
    for g in rows[:MOST_GROUPS]:
        lying = _roles(g) if roomy else f"{len(g.members)} tensors"
        table.add_row(
            fold(g.name, width - (76 if roomy else 50)), size_text(g), short(g.parameters), short(g.macs), lying
        )
    if len(rows) > MOST_GROUPS:
        rest = rows[MOST_GROUPS:]
        table.add_row(f"… and {len(rest)} more (--json)", f"{sum(g.size for g in rest):,}", "", "", "")
    return table


def _spared(found: Inspection) -> dict[str, list[str]]:
    """The names of the groups that a plan leaves whole by itself, by the reason."""
    spared: dict[str, list[str]] = {}
    for group in found.groups:
        if group.spared:
            spared.setdefault(group.spared, []).append(group.name)
    return spared


def _weight(group: GroupCost, found: Inspection) -> float:
    """What a group's channels cost together, of MACs and parameters as shares."""
    return group.size * (_share(group.macs, found.macs.all) + _share(group.parameters, found.parameters.all))


def _roles(group: GroupCost) -> str:
    counts: dict[str, int] = {}
    for member in group.members:
        counts[member.role] = counts.get(member.role, 0) + 1
    return ", ".join(f"{n} {_plural(role, n)}" for role, n in counts.items())


def _plural(word: str, number: int) -> str:
    return word if number == 1 else word + ("es" if word.endswith("s") else "s")


def short(number: int) -> str:
    """A count in at most four digits and a unit: 950, 12.3 k, 4.09 G."""
    for unit, size in UNITS:
        if abs(number) >= size:
            return f"{float(f'{number / size:.3g}'):g} {unit}"
    return str(number)


# ---------------------------------------------------------------- shares
def _shares(found: Inspection) -> Table:
    table = table_of("", "all", "can be cut*", "left at ratio 0.5")
    for name, share in (
        ("parameters", found.parameters),
        (f"MACs{shape_text(list(found.shapes.values()))}", found.macs),
    ):
        shares = (f"{share.share:.1%}", f"{_share(share.half, share.all):.1%}") if share.all else ("", "")
        table.add_row(name, f"{share.all:,}" if share.all else "not known", *shares)
    return table


# ---------------------------------------------------------------- obstacles
def _obstacle(number: int, one: Obstacle, found: Inspection, width: int) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(f"{number}.", Text(_title(one), style="bold"))
    grid.add_row("", _holds(one, found))
    if one.tensor or one.node:
        both = f"{one.tensor}, kept by {one.node}" if one.tensor and one.node else one.tensor or one.node
        grid.add_row("", f"for example {both}")
    if one.hint:
        grid.add_row("", Text(one.hint, style="green"))
    return grid


def _title(one: Obstacle) -> str:
    return one.why + (f" ({one.op})" if one.op and not one.why.endswith(one.op) else "")


def _nodes(number: int) -> str:
    return f"{number:,} node" + ("s" if number > 1 else "")


def _holds(one: Obstacle, found: Inspection) -> str:
    text = f"layers with {_share(one.parameters, found.parameters.all):.1%} of the parameters"
    if one.uncounted:
        text += f" in {_nodes(one.uncounted)} whose MACs are not known"
    else:
        text += f" and {_share(one.macs, found.macs.all):.1%} of the MACs"
    if one.axes:
        text += f": {one.axes:,} {'axis' if one.axes == 1 else 'axes'} with {one.channels:,} channels"
    if one.alone < one.axes:
        text += f", {one.alone or 'none'} of them kept by it alone"
    return text


def _others(found: Inspection) -> Table:
    table = table_of("other reasons", "axes", "parameters", "MACs")
    for one in found.obstacles[FIRST_OBSTACLES:MOST_OBSTACLES]:
        table.add_row(
            _title(one), f"{one.axes:,}", f"{_share(one.parameters, found.parameters.all):.1%}",
            f"{_share(one.macs, found.macs.all):.1%}",
        )  # fmt: skip  # two lines
    rest = len(found.obstacles) - MOST_OBSTACLES
    if rest > 0:
        table.add_row(f"… and {rest} more (--json)", "", "", "")
    return table


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0

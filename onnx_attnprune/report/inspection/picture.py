"""The picture of a network as SVG, or as a page with its legend beside it."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterator, Sequence
from html import escape

from onnx_attnprune.grouping import Analysis
from onnx_attnprune.report.inspection.layout import Placed, Point, place
from onnx_attnprune.report.inspection.model import Inspection, size_text
from onnx_attnprune.report.inspection.scene import Box, Scene, scene

FONT, LINE, CHARACTER, BOLD = 12, 15, 6.6, 7.3  # pixels: size, line height, and the width of a letter
PAD, MARGIN, LEGEND, ROW = 8, 24, 360, 20
MOST_LETTERS, LEGEND_LETTERS, MOST_LINES, MOST_ROWS = 30, 40, 3, 60
ALERT = "\N{WARNING SIGN}"
KEPT, ALARM, INK = ("#f1f1f1", "#8a8a8a"), "#c62828", "#222222"
Line = tuple[str, bool]  # a line of a box, and whether it is bold
GOLDEN = 0.618034  # of the circle of hues: neighbours in the list look unlike


def draw(analysis: Analysis, found: Inspection) -> str:
    """The network as an SVG document: a colour for each group, obstacles with a red frame, a legend on the right.

    Raises SettingsError where the package that finds the places is not installed.
    """
    shown = scene(analysis, found)
    labels = [_lines(box, found) for box in shown.boxes]
    sizes = [_size(lines) for lines in labels]
    placed = place(sizes, [(w.source, w.target) for w in shown.wires])
    return "\n".join(_document(found, shown, labels, sizes, placed)) + "\n"


def _document(
    found: Inspection, shown: Scene, labels: Sequence[list[Line]], sizes: Sequence[Point], placed: Placed
) -> Iterator[str]:
    legend = list(_legend(found, shown))
    width, height = placed.width + LEGEND + 3 * MARGIN, max(placed.height, len(legend) * ROW / 2 + ROW) + 2 * MARGIN
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-labelledby="title desc" '
        f'font-family="Helvetica, Arial, sans-serif" font-size="{FONT}" fill="{INK}">'
    )
    yield f'<title id="title">{escape(_name(found))} and its channel groups</title>'
    yield f'<desc id="desc">{escape(_summary(found))}</desc>'
    yield f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>'
    yield f'<g transform="translate({MARGIN} {MARGIN})">'
    for wire, corners in zip(shown.wires, placed.wires, strict=True):
        yield _wire(wire.groups, corners)
    for box, lines, size, centre in zip(shown.boxes, labels, sizes, placed.centres, strict=True):
        yield from _drawn(box, lines, size, centre, found)
    yield "</g>"
    yield f'<g transform="translate({placed.width + 2 * MARGIN:.0f} {MARGIN})">'
    yield from legend
    yield "</g>"
    yield "</svg>"


# ---------------------------------------------------------------- colours
def colour(group: int) -> tuple[str, str]:
    """The light and the dark colour of a group, by its place."""
    hue = (0.58 + group * GOLDEN) % 1
    return _hex(hue, 0.90, 0.75), _hex(hue, 0.40, 0.62)


def _hex(hue: float, light: float, saturation: float) -> str:
    return "#" + "".join(f"{round(c * 255):02x}" for c in colorsys.hls_to_rgb(hue, light, saturation))


def _colours(groups: Sequence[int]) -> tuple[str, str]:
    return colour(groups[0]) if groups else KEPT


# ---------------------------------------------------------------- boxes and wires
def _lines(box: Box, found: Inspection) -> list[Line]:
    """What a box says: its operators, its name, the groups of its result, and what it keeps others for."""
    lines: list[Line] = []
    rest = list(box.ops)
    while rest and len(lines) < MOST_LINES:
        text = rest.pop(0)
        while rest and len(text) + len(rest[0]) + 3 <= MOST_LETTERS:
            text += " · " + rest.pop(0)
        lines.append((text, True))
    if rest:
        lines.append((f"… and {len(rest)} more", False))
    lines.append((short(box.name), False))
    if box.groups:
        sizes = [f"group {k + 1}: {found.groups[k].size}" for k in box.groups[:2]]
        lines.append((", ".join(sizes) + (f", … {len(box.groups) - 2} more" if len(box.groups) > 2 else ""), False))
    for k in box.obstacles[:1]:
        lines.append((f"{ALERT} {_cut(found.obstacles[k].why)}", True))
    return lines


def short(name: str, letters: int = MOST_LETTERS) -> str:
    """The end of a long name, from the beginning of a part of it where that leaves most of it."""
    if len(name) <= letters:
        return name
    end = name[-(letters - 1) :]
    for mark in "/.:_":
        _, found, rest = end.partition(mark)
        if found and len(rest) > letters // 2:
            return f"…{mark}{rest}"
    return f"…{end}"


def _cut(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…"


def _size(lines: Sequence[Line]) -> Point:
    width = max(len(line) * (BOLD if bold else CHARACTER) for line, bold in lines)
    return width + 2 * PAD, len(lines) * LINE + 2 * PAD - 3


def _drawn(box: Box, lines: Sequence[Line], size: Point, centre: Point, found: Inspection) -> Iterator[str]:
    (width, height), (x, y) = size, centre
    fill, stroke = _colours(box.groups)
    frame = f'stroke="{ALARM}" stroke-width="3"' if box.obstacles else f'stroke="{stroke}" stroke-width="1.2"'
    left, top = x - width / 2, y - height / 2
    yield "<g>"
    yield f"<title>{escape(_told(box, found))}</title>"
    yield (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="{14 if box.is_port else 4}" fill="{fill}" {frame}/>'
    )
    if len(box.groups) > 1:  # a stripe for each group
        step = (width - 8) / len(box.groups)
        for k, group in enumerate(box.groups):
            yield (
                f'<rect x="{left + 4 + k * step:.1f}" y="{top + height - 5:.1f}" width="{step:.1f}" height="3" '
                f'fill="{colour(group)[1]}"/>'
            )
    for k, (text, bold) in enumerate(lines):
        style = ' font-weight="bold"' if bold else ""
        if text.startswith(ALERT):
            style += f' fill="{ALARM}"'
        yield f'<text x="{x:.1f}" y="{top + PAD + 9 + k * LINE:.1f}" text-anchor="middle"{style}>{escape(text)}</text>'
    yield "</g>"


def _told(box: Box, found: Inspection) -> str:
    """All that there is to say of a box."""
    parts = [f"{box.name}: {', '.join(box.ops)}"]
    parts += [f"group {k + 1}, {found.groups[k].name}, {found.groups[k].size} channels" for k in box.groups]
    parts += [f"keeps: {found.obstacles[k].why}. {found.obstacles[k].hint}" for k in box.obstacles]
    return "\n".join(parts)


def _wire(groups: Sequence[int], corners: Sequence[Point]) -> str:
    path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in corners)
    x, y = corners[-1]
    stroke = _colours(groups)[1]
    return (
        f'<path d="{path}" fill="none" stroke="{stroke}" stroke-width="{2.2 if groups else 1.2}"/>'
        f'<path d="M{x - 4:.1f} {y - 7:.1f} L{x + 4:.1f} {y - 7:.1f} L{x:.1f} {y:.1f} Z" fill="{stroke}"/>'
    )


# ---------------------------------------------------------------- words
def _name(found: Inspection) -> str:
    return re.split(r"[/\\]", found.model)[-1]


def _summary(found: Inspection) -> str:
    return (
        f"{len(found.groups)} channel groups; {found.parameters.share:.0%} of the parameters and "
        f"{found.macs.share:.0%} of the multiply-accumulates lie in layers with a group. Boxes and lines have the "
        f"colour of the group whose channels they carry; grey is kept whole; what has a red frame keeps others whole."
    )


def _legend(found: Inspection, shown: Scene) -> Iterator[str]:
    """Rows of `ROW` pixels: the groups that the picture shows, then what the other colours say."""
    rows: list[tuple[str, str, str]] = []  # fill, stroke, text
    for k in sorted({k for box in shown.boxes for k in box.groups}):
        group = found.groups[k]
        rows.append((*colour(k), f"{k + 1}  {short(group.name, LEGEND_LETTERS)}: {size_text(group)}"))
    if len(rows) > MOST_ROWS:
        rows[MOST_ROWS:] = [("none", "none", f"… and {len(rows) - MOST_ROWS} more")]
    rows.append((*KEPT, "kept whole"))
    if any(box.obstacles for box in shown.boxes):
        rows.append(("#ffffff", ALARM, "keeps others whole, for the reason it states"))
    yield f'<text y="12" font-size="15" font-weight="bold">{escape(_name(found))}</text>'
    yield '<text y="34" font-weight="bold">Channel groups</text>'
    for number, (fill, stroke, text) in enumerate(rows):
        y = 46 + number * ROW
        yield f'<rect y="{y}" width="16" height="12" rx="2" fill="{fill}" stroke="{stroke}" stroke-width="1.5"/>'
        yield f'<text x="24" y="{y + 10}">{escape(text)}</text>'

"""The picture of a network as a page, with its groups and obstacles in tables beside it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from onnx_attnprune.report.inspection.model import Inspection, size_text
from onnx_attnprune.report.inspection.picture import colour

_STYLE = """
body { font: 14px/1.45 system-ui, Helvetica, Arial, sans-serif; color: #222; background: #fff; margin: 1.5rem; }
h1 { font-size: 1.6rem; overflow-wrap: anywhere; }
main { display: flex; flex-wrap: wrap; gap: 2rem; align-items: flex-start; }
figure { margin: 0; flex: 0 1 auto; max-width: 100%; max-height: 90vh; overflow: auto; border: 1px solid #ddd; }
section { flex: 1 1 34rem; min-width: 0; max-width: 100%; overflow-x: auto; }
table { border-collapse: collapse; margin: 0 0 1.5rem; }
th, td { text-align: left; padding: .15rem .8rem .15rem 0; vertical-align: top; }
td.name { overflow-wrap: anywhere; min-width: 9rem; }
td.mark { white-space: nowrap; }
th { font-weight: 600; border-bottom: 1px solid #999; }
td.figure, th.figure { text-align: right; font-variant-numeric: tabular-nums; }
td.figure { white-space: nowrap; }
.swatch { display: inline-block; width: 1em; height: .8em; border: 1.5px solid; border-radius: 2px; }
.hint { color: #1b5e20; }
"""


def page(found: Inspection, svg: str) -> str:
    """An HTML document that needs nothing else: the picture `svg`, and all groups and obstacles."""
    name = escape(found.model)
    return "\n".join((
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{name}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{name}</h1>",
        f"<p>{found.parameters.share:.1%} of {found.parameters.all:,} parameters and {found.macs.share:.1%} of "
        f"{found.macs.all:,} multiply-accumulates lie in layers with an axis that has channels to lose.</p>",
        f"<main><figure>{svg}</figure><section>",
        *_groups(found), *_obstacles(found),
        "</section></main></body></html>", "",
    ))  # fmt: skip  # a document in its order


def _groups(found: Inspection) -> Iterator[str]:
    yield '<h2>Channel groups</h2><table><tr><th></th><th>group</th><th class="figure">channels</th>'
    yield '<th class="figure">parameters of one</th><th class="figure">MACs of one</th></tr>'
    for k, group in enumerate(found.groups):
        fill, stroke = colour(k)
        yield (
            f'<tr><td class="mark">{k + 1} '
            f'<span class="swatch" style="background:{fill};border-color:{stroke}"></span></td>'
            f'<td class="name">{escape(group.name)}</td><td class="figure">{size_text(group)}</td>'
            f'<td class="figure">{group.parameters:,}</td><td class="figure">{group.macs:,}</td></tr>'
        )
    yield "</table>"


def _obstacles(found: Inspection) -> Iterator[str]:
    yield '<h2>What is in the way</h2><table><tr><th>why</th><th class="figure">axes</th>'
    yield '<th class="figure">parameters</th><th class="figure">MACs</th></tr>'
    for one in found.obstacles:
        hint = f'<br><span class="hint">{escape(one.hint)}</span>' if one.hint else ""
        macs = "not known" if one.uncounted else f"{one.macs:,}"
        yield (
            f'<tr><td class="name">'
            f"{escape(one.why)} {escape(one.op)}{hint}</td>"
            f'<td class="figure">{one.axes:,}</td><td class="figure">{one.parameters:,}</td>'
            f'<td class="figure">{macs}</td></tr>'
        )
    yield "</table>"

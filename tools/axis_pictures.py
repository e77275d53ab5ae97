"""Pictures of axis trees for the documentation: drawn from the analysis of small networks, not by hand.

Each tensor is a row; each of its axes a box that holds its tree: a variable is a coloured box, the same colour wherever
it lies; a product is a box of boxes joined by "x", outermost first; a concat one with boxes side by side; grey is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

import numpy as np
from onnx import numpy_helper, parser

from onnx_attnprune.axes import Axis, Concat, Pick, Product, Var
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import Analysis, analyze

COLOURS = ("#35618e", "#c0393b", "#3f7d37", "#85567a", "#a3570a", "#2f7371")
UNIT, ROW, GAP, LEFT = 26, 40, 8, 120
HEADER = '<ir_version: 10, opset_import: ["" : 21]>'

EXAMPLES = {
    "axes-residual.svg": """g (float[1, 3, 8, 8] x) => (float[1, 10, 8, 8] y)
        <float[16, 3, 3, 3] w1, float[24, 16, 3, 3] w2, float[16, 24, 3, 3] w3, float[10, 16, 1, 1] w4>
        { a = Conv <pads = [1, 1, 1, 1]> (x, w1)
          b = Conv <pads = [1, 1, 1, 1]> (a, w2)
          c = Conv <pads = [1, 1, 1, 1]> (b, w3)
          sum = Add (a, c)
          y = Conv (sum, w4) }""",
    "axes-concat.svg": """g (float[1, 3, 8, 8] x) => (float[1, 10, 8, 8] y)
        <float[16, 3, 1, 1] w1, float[24, 3, 1, 1] w2, float[10, 40, 1, 1] w3>
        { a = Conv (x, w1)
          b = Conv (x, w2)
          both = Concat <axis = 1> (a, b)
          y = Conv (both, w3) }""",
    "axes-heads.svg": """g (float[1, 9, 32] x) => (float[1, 9, 32] y)
        <float[32, 24] wq, float[32, 24] wk, float[32, 24] wv, float[24, 32] wo,
         int64[4] heads = {0, 0, 4, 6}, int64[3] flat = {0, 0, 24}>
        { q = MatMul (x, wq)
          k = MatMul (x, wk)
          v = MatMul (x, wv)
          q4 = Reshape (q, heads)
          k4 = Reshape (k, heads)
          v4 = Reshape (v, heads)
          qt = Transpose <perm = [0, 2, 1, 3]> (q4)
          kt = Transpose <perm = [0, 2, 3, 1]> (k4)
          vt = Transpose <perm = [0, 2, 1, 3]> (v4)
          scores = MatMul (qt, kt)
          weights = Softmax <axis = -1> (scores)
          mixed = MatMul (weights, vt)
          back = Transpose <perm = [0, 2, 1, 3]> (mixed)
          row = Reshape (back, flat)
          y = MatMul (row, wo) }""",
}


@dataclass(frozen=True, slots=True)
class _Look:
    """What a variable looks like: its colour and letter; None for one that is kept or of size 1."""

    of: dict[int, tuple[str, str]]

    def __getitem__(self, var: int) -> tuple[str, str] | None:
        return self.of.get(var)


def picture(text: str) -> str:
    """An SVG of the axis trees of a network's weights and tensors."""
    model = parser.parse_model(f"{HEADER} {text}")
    for stated in model.graph.value_info:  # weights, whose numbers do not matter here
        shape = [d.dim_value for d in stated.type.tensor_type.shape.dim]
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), stated.name))
    analysis = analyze(Graph(model), {})
    letters = "abcdefgh"
    look = _Look({g.var.id: (COLOURS[k], letters[k]) for k, g in enumerate(analysis.groups)})
    rows = list(_rows(analysis))
    width = max(LEFT + sum(_width(a) + GAP for a in axes) for _, axes in rows) + GAP
    height = ROW * len(rows) + GAP
    body = "".join(_row(name, axes, look, GAP + ROW * k) for k, (name, axes) in enumerate(rows))
    told = "; ".join(f"{name}: {', '.join(_text(a, look) for a in axes)}" for name, axes in rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'font-family="sans-serif" font-size="13"><title>Axis trees</title><desc>{escape(told)}</desc>'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>{body}</svg>\n'
    )


def _rows(analysis: Analysis) -> Iterator[tuple[str, tuple[Axis, ...]]]:
    """Weights before the tensors that are made of them, in the order of the graph."""
    find = analysis.space.find
    for node, _ in analysis.effects:
        for slot in analysis.slots:
            if slot.node.index == node.index and len(slot.axes) > 1:
                yield slot.tensor, tuple(map(find, slot.axes))
        for name in node.outputs:
            axes = analysis.tensors[name].axes if name in analysis.tensors else None
            if axes and len(axes) > 1:
                yield name, tuple(map(find, axes))


def _width(axis: Axis) -> int:
    if isinstance(axis, (Product, Concat)):
        return sum(_width(p) + 12 for p in axis.parts)
    return UNIT + 14


def _row(name: str, axes: tuple[Axis, ...], look: _Look, top: int) -> str:
    parts = [f'<text x="{GAP}" y="{top + 21}" fill="#222222">{escape(name)}</text>']
    left = LEFT
    for axis in axes:
        parts.append(_box(axis, look, left, top))
        left += _width(axis) + GAP
    return "".join(parts)


def _box(axis: Axis, look: _Look, left: int, top: int) -> str:
    wide = _width(axis)
    if isinstance(axis, (Product, Concat)):
        sign = "\N{MULTIPLICATION SIGN}" if isinstance(axis, Product) else "|"
        parts = [f'<rect x="{left}" y="{top}" width="{wide}" height="32" rx="4" fill="none" stroke="#666666"/>']
        inner = left + 6
        for k, part in enumerate(axis.parts):
            if k:
                parts.append(f'<text x="{inner - 6}" y="{top + 21}" text-anchor="middle" fill="#222222">{sign}</text>')
            parts.append(_box(part, look, inner, top))
            inner += _width(part) + 12
        return "".join(parts)
    colour, told = _leaf(axis, look)
    ink = "#222222" if colour == "#e4e4e4" else "#ffffff"
    return (
        f'<rect x="{left}" y="{top + 4}" width="{wide}" height="24" rx="3" fill="{colour}"/>'
        f'<text x="{left + wide / 2}" y="{top + 21}" text-anchor="middle" fill="{ink}">{told}</text>'
    )


def _leaf(axis: Axis, look: _Look) -> tuple[str, str]:
    """A colour and a text."""
    known = look[axis.id] if isinstance(axis, Var) else None
    return ("#e4e4e4", str(axis.size)) if known is None else (known[0], f"{known[1]} {axis.size}")


def _text(axis: Axis, look: _Look) -> str:
    if isinstance(axis, (Product, Concat)):
        sign = " x " if isinstance(axis, Product) else " | "
        return f"({sign.join(_text(p, look) for p in axis.parts)})"
    if isinstance(axis, Pick):
        return f"{axis.size} picked"
    return _leaf(axis, look)[1]

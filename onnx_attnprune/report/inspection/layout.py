"""Places for boxes and wires; the only door to graphlay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx_attnprune.errors import SettingsError

Point = tuple[float, float]
MANY = 300  # edges, from which on fewer crossings are not worth the wait
MISSING = "--graph needs the package graphlay: pip install 'onnx-attnprune[graph]'"


@dataclass(frozen=True, slots=True)
class Placed:
    """Centres of boxes and the corners of wires, in pixels; y grows downwards, nothing lies above or left of 0."""

    centres: tuple[Point, ...]
    wires: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def place(sizes: Sequence[Point], edges: Sequence[tuple[int, int]]) -> Placed:
    """A layered layout from top to bottom. sizes: width and height of each box; edges: from box to box.

    Raises SettingsError where the optional package that does it is not installed.
    """
    try:
        import graphlay
    except ImportError:
        raise SettingsError(MISSING) from None
    graph = graphlay.Graph()
    for number, (width, height) in enumerate(sizes):
        graph.node(number, width=width, height=height)
    for source, target in edges:
        graph.edge(source, target)
    spacing = {"layer_gap": 26.0, "node_gap": 28.0, "dummy_gap": 18.0, "port_gap": 12.0}
    effort = "balanced" if len(edges) < MANY else "fast"
    found = graphlay.layout(graph, options={"direction": "topbottom", "spacing": spacing, "effort": effort})
    left, top = found.bounds["min"]["x"], found.bounds["min"]["y"]
    return Placed(
        tuple((n["center"]["x"] - left, n["center"]["y"] - top) for n in found.nodes),
        tuple(tuple((p["x"] - left, p["y"] - top) for p in e["points"]) for e in found.edges),
        found.bounds["max"]["x"] - left,
        found.bounds["max"]["y"] - top,
    )

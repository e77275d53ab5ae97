"""Names of nodes and of fresh tensors."""

from __future__ import annotations

from collections.abc import Iterable

from onnx_attnprune.graph import (
    Graph,
)


def first_output(names: Iterable[str]) -> str:
    """The output that names a node: the first one that is not left out; "" for a node without any."""
    for name in names:  # asked for every node, several times: a generator costs twice as much
        if name:
            return name
    return ""


def fresh_name(name: str, graph: Graph) -> str:
    taken = graph.names
    while name in taken:
        name += "_"
    taken.add(name)
    return name

"""Names of tensors, and the bodies that they stand in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from onnx import AttributeProto, ModelProto, NodeProto

SAMPLE_RATE = 16_000  # of sound, a second, as speech networks have it; with another one the pitch is another


def is_sample_rate(name: str) -> bool:
    """True for an input that is named after a sample rate."""
    return name.lower() in ("sr", "sample_rate", "sampling_rate", "samplerate")


def graphs_of(a: AttributeProto) -> list[onnx.GraphProto]:
    """The bodies that an attribute holds, which for most is none."""
    if a.type == AttributeProto.GRAPH:
        return [a.g]
    return list(a.graphs) if a.type == AttributeProto.GRAPHS else []


def nodes_of(graph: onnx.GraphProto) -> Iterator[NodeProto]:
    """Every node of a graph and of the bodies inside of it."""
    for node in graph.node:
        yield node
        for a in node.attribute:
            for inner in graphs_of(a):
                yield from nodes_of(inner)


def bodies_of(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and every body inside of it."""
    yield graph
    for node in graph.node:
        for a in node.attribute:
            for inner in graphs_of(a):
                yield from bodies_of(inner)


class FreshNames:
    """Gives names that nothing in a model has, each of them once."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def take(self, name: str) -> str:
        """The name itself, or where it is taken one that begins like it."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def defined_names(graph: onnx.GraphProto) -> Iterator[str]:
    """Names that a graph gives to its inputs, initializers and results, bodies included."""
    for body in bodies_of(graph):
        yield from {v.name for v in body.input} | {t.name for t in body.initializer}
        yield from (name for node in body.node for name in node.output if name)


def repeated_names(graph: onnx.GraphProto) -> set[str]:
    """Names that stand for different tensors in different bodies."""
    seen: set[str] = set()
    return {name for name in defined_names(graph) if name in seen or seen.add(name)}  # type: ignore[func-returns-value]  # add gives None


def with_unique_names(model: ModelProto) -> ModelProto:
    """A copy in which every body's own tensors have names that nothing outside of it has."""
    copy = ModelProto()
    copy.CopyFrom(model)
    taken = set(defined_names(model.graph))
    seen: set[str] = set()
    _rename(copy.graph, {}, seen, taken)
    return copy


def _rename(graph: onnx.GraphProto, outer: dict[str, str], seen: set[str], taken: set[str]) -> None:
    names = dict(outer)

    def own(name: str) -> str:
        if not name or name in graph_own:
            return names.get(name, name)
        graph_own.add(name)
        new = name
        while new in seen or (new != name and new in taken):
            new += "_"
        seen.add(new)
        names[name] = new
        return new

    graph_own: set[str] = set()
    for value in graph.input:
        value.name = own(value.name)
    for tensor in graph.initializer:
        tensor.name = own(tensor.name)
    for node in graph.node:
        node.input[:] = [names.get(n, n) for n in node.input]
        for a in node.attribute:
            for body in graphs_of(a):
                _rename(body, names, seen, taken)
        node.output[:] = [own(n) for n in node.output]
    for value in (*graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)

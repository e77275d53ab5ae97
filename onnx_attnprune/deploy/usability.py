"""What NNAPI would take of a model on a phone, and what pruning changed of it."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx_attnprune.evaluate.feeds import Shape
from onnx_attnprune.graph import Graph, ModelProto, Node, write_model
from onnx_attnprune.runtime import preferred_multiple
from onnx_attnprune.runtime.mobile import Partitions, nnapi_partitions, simplified, with_fixed_shapes

PLANE = 4  # dimensions of a batch of images: what NNAPI convolves, pools and resizes
REFUSED = "refused"  # a domain of operators that no provider knows
FLAT = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "Resize")


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why NNAPI does not take some nodes of one operator; `example` is the name of one, or of its first result."""

    op: str
    why: str
    nodes: int
    example: str


@dataclass(frozen=True, slots=True)
class Usability:
    """What NNAPI would take of a model at fixed shapes.

    caveats: what it asks besides, by operator, which nothing here checks. uneven: weights of convolutions whose output
    channels are no multiple of `multiple`, what phones like, of so many `convolutions`.
    """

    model: str
    shapes: Mapping[str, Shape]
    partitions: Partitions
    obstacles: tuple[Obstacle, ...]
    caveats: Mapping[str, str]
    multiple: int
    uneven: tuple[str, ...]
    convolutions: int


def usability(model: ModelProto, shapes: Mapping[str, Shape], name: str, folder: Path) -> Usability:
    """ONNX Runtime's analysis of the model at `shapes`, with what it leaves to the reader checked too where it can be.

    `folder` is for files in between, which are gone afterwards. Raises ModelError where ONNX Runtime can't load it.
    """
    with tempfile.TemporaryDirectory(dir=folder) as inner:
        path = Path(inner, "model.onnx")
        write_model(with_fixed_shapes(model, shapes), path)
        proto = simplified(path, Path(inner))
    graph = Graph(proto)
    refused = dict(_refused(graph))
    for node, _ in refused.values():
        node.proto.domain = REFUSED
    found = nnapi_partitions(graph.model)
    multiple = preferred_multiple("nnapi")
    channels = dict(_channels(graph))
    uneven = tuple(weight for weight, count in channels.items() if count % multiple)
    caveats = {op: text for op, text in found.caveats.items() if op not in CHECKS}
    obstacles = tuple(_obstacles(graph, found, refused))
    return Usability(name, dict(shapes), found, obstacles, caveats, multiple, uneven, len(channels))


# ---------------------------------------------------------------- what ONNX Runtime's analysis does not look at
def _refused(graph: Graph) -> Iterator[tuple[int, tuple[Node, str]]]:
    """Nodes that NNAPI does not take though it knows the operator, by their place, and why."""
    for node in graph.nodes:
        check = CHECKS.get(node.op) if not node.domain else None
        why = None if check is None else check(node, graph)
        if why is not None:
            yield node.index, (node, why)


def _split(node: Node, graph: Graph) -> str | None:
    parts = [_dims(name, graph) for name in node.outputs]
    return None if len(set(parts)) == 1 else "its parts are not equal"


def _flat(node: Node, graph: Graph) -> str | None:
    dims = _dims(node.inputs[0], graph)
    return None if dims is None or len(dims) == PLANE else f"over {len(dims) - 2} dimensions instead of 2"


def _conv(node: Node, graph: Graph) -> str | None:
    constant = all(name in graph.constants for name in node.inputs[1:] if name)
    return _flat(node, graph) or (None if constant else "its weights are computed")


def _gemm(node: Node, graph: Graph) -> str | None:
    fits = node.inputs[1] in graph.constants or node.attr("transB", 0)
    return None if fits else "its weights are computed, and not transposed"


def _depth_to_space(node: Node, graph: Graph) -> str | None:
    mode = node.attr("mode", "DCR")
    return None if mode == "DCR" else f"mode {mode} instead of DCR"


CHECKS: Mapping[str, Callable[[Node, Graph], str | None]] = {
    **dict.fromkeys(FLAT, _flat), "Conv": _conv, "DepthToSpace": _depth_to_space, "Gemm": _gemm, "Split": _split,
}  # fmt: skip  # one line


def _dims(name: str, graph: Graph) -> tuple[int | str | None, ...] | None:
    found = graph.hints.get(name) or next((s for s in (*graph.inputs, *graph.outputs) if s.name == name), None)
    return None if found is None else found.dims


def _channels(graph: Graph) -> Iterator[tuple[str, int]]:
    """The weights of convolutions, and how many output channels they make."""
    for node in graph.nodes:
        if node.op == "Conv" and node.inputs[1] in graph.constants:
            yield node.inputs[1], graph.constants[node.inputs[1]].dims[0]


def _obstacles(graph: Graph, found: Partitions, refused: Mapping[int, tuple[Node, str]]) -> Iterator[Obstacle]:
    because: dict[tuple[str, str], list[str]] = {}
    for node in graph.nodes:
        full = f"{node.domain or 'ai.onnx'}:{node.op}"
        if node.index in refused:
            because.setdefault((node.op, refused[node.index][1]), []).append(node.name or node.outputs[0])
        elif full in found.unsupported:
            because.setdefault((node.op, "NNAPI has no such operator"), []).append(node.name or node.outputs[0])
    for (op, why), names in because.items():
        yield Obstacle(op, why, len(names), names[0])
    for count, why in ((found.by_shape, "a shape that is not fixed"), (found.by_rank, "too many dimensions")):
        if count:
            yield Obstacle("", why, count, "")


# ---------------------------------------------------------------- before and after
def changes(before: Usability, after: Usability) -> tuple[str, ...]:
    """What pruning changed of it for the worse or the better, in words; nothing where it changed nothing."""
    return tuple(_changes(before, after))


def _changes(before: Usability, after: Usability) -> Iterator[str]:
    one, two = before.partitions, after.partitions
    if (one.suitability, len(one.sizes)) != (two.suitability, len(two.sizes)):
        yield f"NNAPI suits it: {one.suitability}, after pruning {two.suitability} ({_parts(one)}, now {_parts(two)})"
    counts = Counter({(o.op, o.why): o.nodes for o in after.obstacles})
    counts.subtract({(o.op, o.why): o.nodes for o in before.obstacles})
    for (op, why), more in counts.items():
        if more:
            nodes = f"{abs(more)} {op or 'other'} {'node' if abs(more) == 1 else 'nodes'}"
            hint = " (--deploy nnapi keeps them equal)" if op == "Split" and more > 0 else ""
            yield f"{nodes} {'less' if more < 0 else 'more'} that NNAPI does not take: {why}{hint}"
    if len(after.uneven) > len(before.uneven):
        yield (
            f"{len(after.uneven)} of {after.convolutions} convolutions make channels in no multiple of "
            f"{after.multiple}, before {len(before.uneven)} (--deploy nnapi rounds to it)"
        )


def _parts(found: Partitions) -> str:
    sizes: Sequence[int] = found.sizes
    return f"{len(sizes)} {'part' if len(sizes) == 1 else 'parts'} of {found.supported} of {found.nodes} nodes"

"""What a picture of a network shows: boxes of nodes, and the tensors between them.

Left out are constants, the arithmetic of sizes and all else that no number of an input goes into, and what nothing
reads. A chain of nodes that only pass channels on (batch norm, activation, pooling, reshape) shares the box of the node
before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from onnx_attnprune.axes import ids_of
from onnx_attnprune.graph import Node
from onnx_attnprune.grouping import GRAPH_INPUT, GRAPH_OUTPUT, Analysis
from onnx_attnprune.report.inspection.model import Inspection


@dataclass(frozen=True, slots=True)
class Box:
    """Nodes that are drawn as one.

    ops: operators in their order; name: of the first node; groups: places in `Inspection.groups` of those whose
    channels lie on its result; obstacles: places in `Inspection.obstacles` of the reasons that it gives.
    """

    ops: tuple[str, ...]
    name: str
    groups: tuple[int, ...]
    obstacles: tuple[int, ...] = ()
    is_port: bool = False  # an input or an output of the graph


@dataclass(frozen=True, slots=True)
class Wire:
    """A tensor from one box to another (places in `Scene.boxes`), with the groups whose channels lie on it."""

    source: int
    target: int
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a picture shows."""

    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]


@dataclass(slots=True)
class _Chain:
    """A box while nodes are added to it; `tail` is the last of them."""

    nodes: list[Node]
    obstacles: tuple[int, ...] = ()

    @property
    def tail(self) -> Node:
        return self.nodes[-1]


def scene(analysis: Analysis, found: Inspection) -> Scene:
    """The boxes and wires of a network."""
    return _Drawing(analysis, found).scene()


@dataclass
class _Drawing:
    analysis: Analysis
    found: Inspection
    chains: list[_Chain] = field(default_factory=list)
    chain_of: dict[str, int] = field(default_factory=dict)  # tensor -> the chain that makes it

    def __post_init__(self) -> None:
        graph = self.analysis.graph
        self.outputs = [o.name for o in graph.outputs]
        self.group_of = {g.var.id: k for k, g in enumerate(self.analysis.groups)}
        self.reading = _readings(graph.nodes)
        self.mixing = {id(n) for n, effect in self.analysis.effects if effect.macs}  # they make channels of others
        self.nodes = list(self._shown(graph.nodes))
        self.readers: dict[str, int] = dict.fromkeys(self.outputs, 1)
        for node in self.nodes:
            for name in dict.fromkeys(self.reading[id(node)]):
                self.readers[name] = self.readers.get(name, 0) + 1

    def _shown(self, nodes: Sequence[Node]) -> Iterator[Node]:
        """The nodes between the inputs and the outputs of the graph, in their order."""
        fed = {i.name for i in self.analysis.graph.inputs}
        fed.update(value.name for node in nodes for body in node.subgraphs for value in body.input)
        for node in nodes:
            if not fed.isdisjoint(self.reading[id(node)]) and not self._is_plumbing(node):
                fed.update(node.outputs)
        wanted, shown = set(self.outputs), []
        for node in reversed(nodes):
            if any(name in wanted and name in fed for name in node.outputs):
                shown.append(node)
                wanted.update(self.reading[id(node)])
        return reversed(shown)

    def _is_plumbing(self, node: Node) -> bool:
        """True for constants, what is computed from them alone, and the arithmetic of sizes."""
        made = [self.analysis.tensors.get(name) for name in node.outputs if name]
        if node.op == "Constant" and not node.domain:
            return True
        return bool(made) and all(t is not None and (t.value is not None or t.slots) for t in made)

    def scene(self) -> Scene:
        """Chain the nodes, then read off boxes and wires; the graph's inputs and outputs are boxes too."""
        obstacles: dict[str, list[int]] = {}
        for place, one in enumerate(self.found.obstacles):
            if one.why not in (GRAPH_INPUT, GRAPH_OUTPUT):  # these name tensors
                for name in one.nodes:
                    obstacles.setdefault(name, []).append(place)
        for node in self.nodes:
            self._place(node, tuple(obstacles.get(node.name, ())))
        boxes = [self._box(chain) for chain in self.chains]
        wires: dict[Wire, None] = {}
        inputs = [i.name for i in self.analysis.graph.inputs if i.name in self.readers]
        for name in inputs:
            self.chain_of[name] = len(boxes)
            boxes.append(Box(("input",), name, self._groups(name), is_port=True))
        for target, chain in enumerate(self.chains):
            inside = {name for node in chain.nodes for name in node.outputs}
            for name in (n for node in chain.nodes for n in self.reading[id(node)] if n not in inside):
                if name in self.chain_of:
                    wires[Wire(self.chain_of[name], target, self._groups(name))] = None
        for name in self.outputs:
            boxes.append(Box(("output",), name, self._groups(name), is_port=True))
            if name in self.chain_of:
                wires[Wire(self.chain_of[name], len(boxes) - 1, self._groups(name))] = None
        return Scene(tuple(boxes), tuple(wires))

    def _place(self, node: Node, obstacles: tuple[int, ...]) -> None:
        """Add a node to the chain before it, or begin one."""
        sources = {self.chain_of[name] for name in self.reading[id(node)] if name in self.chain_of}
        place = sources.pop() if len(sources) == 1 else len(self.chains)
        if place < len(self.chains) and self._joins(self.chains[place], node, obstacles):
            self.chains[place].nodes.append(node)
        else:
            place = len(self.chains)
            self.chains.append(_Chain([node], obstacles))
        self.chain_of.update(dict.fromkeys(filter(None, node.outputs), place))

    def _joins(self, chain: _Chain, node: Node, obstacles: tuple[int, ...]) -> bool:
        if obstacles or chain.obstacles or node.subgraphs:
            return False
        results = [name for name in chain.tail.outputs if name and name in self.readers]
        read = [name for name in self.reading[id(node)] if name in self.chain_of or name in self.readers]
        if len(results) != 1 or set(results) != {n for n in read if n in self.chain_of} or self.readers[results[0]] > 1:
            return False
        return id(node) not in self.mixing and self._groups(results[0]) == self._groups(node.outputs[0])

    def _box(self, chain: _Chain) -> Box:
        ops = tuple(node.op for node in chain.nodes)
        return Box(ops, chain.nodes[0].name, self._groups(chain.tail.outputs[0]), chain.obstacles)

    def _groups(self, name: str) -> tuple[int, ...]:
        """The groups whose channels lie on a tensor."""
        known = self.analysis.tensors.get(name)
        ids = [
            i
            for axis in (known.axes if known is not None else None) or ()
            for i in ids_of(self.analysis.space.find(axis))
        ]
        return tuple(sorted({self.group_of[i] for i in ids if i in self.group_of}))


def _readings(nodes: Sequence[Node]) -> dict[int, tuple[str, ...]]:
    """What each node is drawn to read, by the node's `id`.

    What a body is handed by its Loop or Scan is read where it comes from. A Concat of all that an earlier one joins,
    and more, reads that one's result and the rest: a dense block is a chain then, not a wire from each layer to each.
    """
    outside = {value.name: name for n in nodes for body in n.subgraphs for value, name in _handed(n, body)}
    found: dict[int, tuple[str, ...]] = {}
    joined: list[tuple[int, frozenset[str], str]] = []  # axis, parts, result
    for node in nodes:
        read = tuple(dict.fromkeys(_origin(name, outside) for name in _reads(node)))
        if node.op == "Concat" and not node.domain:
            axis, parts = int(node.attr("axis", 0)), frozenset(read)
            within = [(p, result) for at, p, result in joined if at == axis and p < parts]
            if within:
                most, result = max(within, key=lambda item: len(item[0]))
                read = (result, *(name for name in read if name not in most))
            if len(parts) > 1:
                joined.append((axis, parts, node.outputs[0]))
        found[id(node)] = read
    return found


def _handed(node: Node, body: Any) -> Iterator[tuple[Any, str]]:
    """The inputs of a body with the operands that they begin as; the turn of a Loop has none."""
    for place, (value, name) in enumerate(zip(body.input, node.inputs, strict=False)):
        if name and not (node.op == "Loop" and place < 2):
            yield value, name


def _origin(name: str, outside: Mapping[str, str]) -> str:
    while name in outside:
        name = outside[name]
    return name


def _reads(node: Node) -> Iterator[str]:
    """Tensors that a node reads, and those that its bodies hand out to it."""
    yield from filter(None, node.inputs)
    for body in node.subgraphs:
        yield from (value.name for value in body.output)

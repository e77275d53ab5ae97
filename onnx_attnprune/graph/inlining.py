"""Branches of If in the place of their nodes, so that what lies in them can be looked at, and back again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from onnx import GraphProto, ModelProto, NodeProto, helper

from onnx_attnprune.graph.model import DEFAULT_DOMAINS

Taken = Mapping[str, bool]  # for the first output of an If whether its condition holds


def ifs_of(model: ModelProto) -> list[NodeProto]:
    """The Ifs of the main graph."""
    return [n for n in model.graph.node if n.op_type == "If" and n.domain in DEFAULT_DOMAINS]


def inlined(model: ModelProto, taken: Taken) -> ModelProto:
    """A copy in which the nodes of the branch that is taken stand in the place of each If, nested ones too, with an
    Identity for each of its outputs. Names are unique over all bodies, as in `Graph.model`."""
    copy = ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    nodes = list(_unfolded(graph.node, taken, graph))
    del graph.node[:]
    graph.node.extend(nodes)
    return copy


def _unfolded(nodes: Iterable[NodeProto], taken: Taken, graph: GraphProto) -> Iterator[NodeProto]:
    for node in nodes:
        body = _branch(node, taken)
        if body is None:
            yield node
            continue
        graph.initializer.extend(body.initializer)
        graph.value_info.extend(body.value_info)
        yield from _unfolded(body.node, taken, graph)
        for inner, outer in zip(body.output, node.output, strict=True):
            if outer:
                yield helper.make_node("Identity", [inner.name], [outer])


def _branch(node: NodeProto, taken: Taken) -> GraphProto | None:
    if node.op_type != "If" or not node.output or node.output[0] not in taken:
        return None
    name = "then_branch" if taken[node.output[0]] else "else_branch"
    return next(a.g for a in node.attribute if a.name == name)


def nested(model: ModelProto, straight: ModelProto, taken: Taken) -> ModelProto:
    """A copy of `model` with the nodes and constants of `straight`, which was made of it by `inlined`, and in which
    operands may have become others, nodes have been put behind others, and nodes been dropped."""
    copy = ModelProto()
    copy.CopyFrom(straight)
    graph = copy.graph
    nodes = _Folding(straight, taken).fold(model.graph.node)
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.value_info.extend(model.graph.value_info)
    inner = {t.name for node in _all_taken(model.graph.node, taken) for t in node.initializer}
    graph.initializer.extend(t for t in straight.graph.initializer if t.name not in inner)
    return copy


def _all_taken(nodes: Iterable[NodeProto], taken: Taken) -> Iterator[GraphProto]:
    for node in nodes:
        body = _branch(node, taken)
        if body is not None:
            yield body
            yield from _all_taken(body.node, taken)


class _Folding:
    """Takes the nodes of an inlined model, in their order, back to where they came from."""

    def __init__(self, straight: ModelProto, taken: Taken) -> None:
        self._nodes, self._next, self._taken = straight.graph.node, 0, taken
        self._made = {o for node in self._nodes for o in node.output if o}
        self._stored = {t.name: t for t in straight.graph.initializer}

    def fold(self, nodes: Iterable[NodeProto]) -> list[NodeProto]:
        """What has become of some nodes of the original."""
        found: list[NodeProto] = []
        for node in nodes:
            if _branch(node, self._taken) is None:
                found += self._up_to(node.output)
                continue
            copy = NodeProto()
            copy.CopyFrom(node)
            body = _branch(copy, self._taken)
            assert body is not None  # it was there in what this is a copy of
            inner, tensors = self.fold(body.node), [t for t in body.initializer if t.name in self._stored]
            stored = [self._stored[t.name] for t in tensors]
            del body.node[:], body.initializer[:]
            body.node.extend(inner)
            body.initializer.extend(stored)
            self._up_to(node.output)
            found.append(copy)
        return found

    def _up_to(self, outputs: Sequence[str]) -> list[NodeProto]:
        """The next nodes until all of these are made; none where nothing makes them any more."""
        missing = {o for o in outputs if o} & self._made
        found = []
        while missing:
            node = self._nodes[self._next]
            self._next += 1
            missing -= set(node.output)
            found.append(node)
        return found

"""Two models held against each other, node by node and tensor by tensor, without running either."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto, helper

from onnx_attnprune.graph.model import Constant, Graph, Node, all_tensors

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
BEHIND = -1  # the place of a sum that was put behind a node


@dataclass(frozen=True, slots=True)
class Altered:
    """An operand with other numbers than it has in the first model: operand `place` of the node with the first output
    `node` (BEHIND: what is added to its result), stored as `tensor` with `dims`.

    reordered: they are the same numbers in another order. added: the first model has no such operand.
    """

    node: str
    place: int
    tensor: str
    dims: tuple[int, ...]
    reordered: bool = False
    added: bool = False


class Mismatch(Exception):  # noqa: N818 - a finding, and no error of the program
    """A difference in structure; `str()` says which."""


def altered_operands(model: ModelProto, other: ModelProto) -> tuple[Altered, ...]:
    """Every float operand that `other` holds other numbers for, where all else of the two models is the same.

    A constant may have another name, and a node that lacks an operand, or has a constant sum put behind it, may have
    got a stored one: that is what a repair does. Raises Mismatch, with the first node, operand, shape, type, attribute
    or integer that is different.
    """
    one, two = Graph(model), Graph(other)
    found: list[Altered] = []
    matched: set[str] = set()
    for node in one.nodes:
        if node.op == "Constant" and not node.domain:
            continue  # compared where it is read
        mate = _mate(node, one, two, found)
        matched.update(mate.outputs)
        if mate.outputs[0] != node.outputs[0]:
            matched.add(node.outputs[0])
        _same_node(node, mate)
        found += _operands(node, mate, one, two)
    for node in two.nodes:
        if node.outputs[0] not in matched and not (node.op == "Constant" and not node.domain):
            raise Mismatch(f"node {node.name!r} ({node.op}) is one too many")
    return tuple(found)


def opset_change(original: ModelProto, model: ModelProto) -> str:
    """How the operator sets of two models differ; empty where they don't."""
    one, two = ({o.domain or "ai.onnx": o.version for o in m.opset_import} for m in (original, model))
    return "" if one == two else f"{_opsets(two)} instead of {_opsets(one)}"


def unsound_weights(original: ModelProto, model: ModelProto) -> str:
    """Which stored tensor holds nan or infinity that `original` has none of; empty where none does.

    Masks of attention may hold infinity: a tensor may have what the one of its name has, or where none has its name,
    what any has.
    """
    before = {t.name: _broken(t) for t in all_tensors(original.graph)}
    anywhere = set().union(*before.values()) if before else set()
    for tensor in all_tensors(model.graph):
        new = _broken(tensor) - before.get(tensor.name, anywhere)
        if new:
            return f"{tensor.name or 'a constant'!r} holds {' and '.join(sorted(new))}"
    return ""


def damaged_tensors(model: ModelProto) -> list[str]:
    """The names of the stored tensors that hold nan, which no training leaves behind (masks may hold infinity)."""
    return [tensor.name or "a constant" for tensor in all_tensors(model.graph) if "nan" in _broken(tensor)]


def _broken(tensor: TensorProto) -> set[str]:
    if tensor.data_type not in _FLOATS:
        return set()
    array = Constant("", tuple(tensor.dims), tensor.data_type, tensor, True).array()
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    return {name for name, test in (("nan", np.isnan), ("infinity", np.isinf)) if test(array).any()}


def _mate(node: Node, one: Graph, two: Graph, found: list[Altered]) -> Node:
    """The node of the second graph that does what `node` does; a sum that stands behind it goes to `found`."""
    mate = two.makers.get(node.outputs[0]) if node.outputs[0] else None
    if mate is None:
        mate = next((two.makers[o] for o in node.outputs if o in two.makers), None)
    if mate is not None and mate.op == "Add" and mate.op != node.op and len(mate.inputs) == 2:
        inner, added = mate.inputs
        if inner not in one.names and inner in two.makers and added in two.constants:
            found.append(Altered(node.outputs[0], BEHIND, added, two.constants[added].dims, added=True))
            return two.makers[inner]
    if mate is None:
        raise Mismatch(f"node {node.name!r} ({node.op}) is missing")
    return mate


def _same_node(node: Node, mate: Node) -> None:
    told = f"node {node.name!r}"
    if (node.op, node.domain) != (mate.op, mate.domain):
        raise Mismatch(f"{told} is {mate.op} instead of {node.op}")
    if node.outputs[1:] != mate.outputs[1:]:
        raise Mismatch(f"{told} ({node.op}) has the results {list(mate.outputs)} instead of {list(node.outputs)}")
    before, after = _attributes(node), _attributes(mate)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            raise Mismatch(f"{told} ({node.op}) has another attribute {name!r}")
    bodies = [[[v.name for v in (*b.input, *b.output)] for b in n.subgraphs] for n in (node, mate)]
    if bodies[0] != bodies[1]:
        raise Mismatch(f"{told} ({node.op}) has bodies that take or give something else")


def _attributes(node: Node) -> dict[str, bytes]:
    """Attributes but the bodies of control flow, whose nodes are compared one by one."""
    kinds = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
    return {a.name: a.SerializeToString(deterministic=True) for a in node.proto.attribute if a.type not in kinds}


def _operands(node: Node, mate: Node, one: Graph, two: Graph) -> Iterator[Altered]:
    for place in range(max(len(node.inputs), len(mate.inputs))):
        before, after = (n.inputs[place] if place < len(n.inputs) else "" for n in (node, mate))
        told = f"operand {place} of node {node.name!r} ({node.op})"
        stored, new = one.constants.get(before), two.constants.get(after)
        if before and not after:
            raise Mismatch(f"{told}, {before!r}, is missing")
        if new is not None and new.dtype in _FLOATS and (stored is None or _changed(stored, new, told)):
            if stored is None and before and before not in one.makers:
                raise Mismatch(f"{told} is the constant {after!r} instead of {before!r}")
            reordered = stored is not None and _reordered(stored, new)
            yield Altered(node.outputs[0], place, after, new.dims, reordered, added=not before)
        elif (stored is None) != (new is None) or (stored is None and before != after):
            raise Mismatch(f"{told} is {after!r} instead of {before or 'left out'!r}")
        elif stored is not None and new is not None and new.dtype not in _FLOATS:
            _same_numbers(stored, new, told)


def _changed(before: Constant, after: Constant, told: str) -> bool:
    """Whether float constants differ. Raises Mismatch where their types do, or their shapes but by a broadcast."""
    _same_type(before, after, told)
    if before.dims != after.dims:
        try:
            wider = np.broadcast_shapes(before.dims, after.dims) == after.dims
        except ValueError:
            wider = False
        if not wider:
            raise Mismatch(f"{told}, {after.name!r}, has the shape {list(after.dims)} instead of {list(before.dims)}")
        return True
    one, two = before.array(), after.array()
    return one.tobytes() != two.tobytes()


def _same_numbers(before: Constant, after: Constant, told: str) -> None:
    _same_type(before, after, told)
    if before.dims != after.dims:
        raise Mismatch(f"{told}, {after.name!r}, has the shape {list(after.dims)} instead of {list(before.dims)}")
    if not np.array_equal(before.array(), after.array()):
        raise Mismatch(f"{told}, {after.name!r}, holds other integers than it must")


def _same_type(before: Constant, after: Constant, told: str) -> None:
    if before.dtype != after.dtype:
        names = [helper.tensor_dtype_to_string(d).removeprefix("TensorProto.") for d in (after.dtype, before.dtype)]
        raise Mismatch(f"{told}, {after.name!r}, is {names[0]} instead of {names[1]}")


def _reordered(before: Constant, after: Constant) -> bool:
    """Whether they hold the same numbers in another order; one number, or all of them equal, have no order."""
    one, two = (np.sort(c.array().reshape(-1).astype(np.float64)) for c in (before, after))
    return one.size > 1 and np.array_equal(one, two)


def _opsets(versions: Mapping[str, int]) -> str:
    return ", ".join(f"{domain} {version}" for domain, version in sorted(versions.items())) or "none"

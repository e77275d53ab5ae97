"""Sizes that the graph computes itself, and uses as numbers or makes shapes of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from onnx_attnprune.axes import Axis, Reason, Space
from onnx_attnprune.graph import Node
from onnx_attnprune.ops import Effect, Tensor
from onnx_attnprune.ops.values import Term, Values, terms

AS_NUMBER, LATE = "its size is used as a number", "its size is computed at run time"


def frozen(space: Space, node: Node, restated: Collection[int], known: Mapping[str, Tensor]) -> Iterator[int]:
    """The inputs of a node that use a size as a number, which must stay: a fresh constant holds it after a cut. Where
    the number is computed at run time, the axes behind it are kept instead.

    restated: inputs whose sizes the node's rule restates. known: every tensor that is known so far, by name.
    """
    for place, name in enumerate(node.inputs):
        found = known.get(name)
        if place in restated or found is None or found.value is None or node.op == "Shape":
            continue
        inside = terms(found.value)
        if any(t.dynamic for t in inside):
            for term in inside:
                for axis in term.axes():
                    space.keep(axis, Reason(AS_NUMBER, node.name, node.op))
        elif inside:
            yield place


def settle(space: Space, effects: Sequence[tuple[Node, Effect]], value: Callable[[str], Values | None]) -> None:
    """Keep axes whose size the graph computes in a way that a cut would make wrong and no constant can mend.

    value: the elements of a tensor by its name, where they are known.
    """
    for node, effect in effects:
        for place, axes in effect.inputs.items():
            found = value(node.inputs[place]) if place < len(node.inputs) else None
            if found is None:
                continue
            stands = effect.stands.get(place, (None,) * len(axes))
            for element, axis, stand in zip(found.reshape(-1), axes, stands, strict=True):
                if not isinstance(element, Term) or not element.dynamic:
                    continue
                if axis is None:
                    for one in element.axes():
                        space.keep(one, Reason(AS_NUMBER, node.name, node.op))
                elif stand is None and not _follows(space, element, axis):
                    space.keep(axis, Reason(LATE, node.name, node.op))


def _follows(space: Space, element: Term, axis: Axis) -> bool:
    return element.axis is not None and space.find(element.axis) == space.find(axis)

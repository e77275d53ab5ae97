"""Adds constants to the results of nodes of a pruned model: to a bias where there is one, else as a new one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_attnprune.graph import (
    Constant,
    Graph,
    ModelProto,
    NodeProto,
    add_initializer,
    insert_node,
    new_node,
    store_constant,
    stored_tensor,
    tensor_of,
)
from onnx_attnprune.recovery.laws import Array
from onnx_attnprune.recovery.stored import scales_of


@dataclass(frozen=True, slots=True)
class Shift:
    """What to add to the first result of a node: one number a channel, on axis 1 or -1 (`channel`) of the result.

    place: the operand that is added as it is, times `scale`, to the result; None where the operator has none.
    dtype: the element type of the result. rank: its number of axes.
    """

    output: str
    channel: int
    rank: int
    values: Array
    dtype: int
    place: int | None = None
    scale: float = 1.0


class Biases:
    """The biases of one pruned model, which is edited in place."""

    def __init__(self, model: ModelProto) -> None:
        self._model, self._graph = model, Graph(model)
        self._fresh = self._graph.fresh_names()
        self._makers = {o: n for n in model.graph.node for o in n.output if o}
        self._outputs = {o.name for o in model.graph.output}
        self._readers = {name: len(found) for name, found in self._graph.readers.items()}

    def add(self, shift: Shift) -> None:
        """Add a shift; names and shapes of all other tensors stay."""
        node = self._makers[shift.output]
        if node.op_type == "Add" and not node.domain:  # what an earlier shift of the same result has inserted
            place = next(k for k, name in enumerate(node.input) if self._stored(name) is not None)
            self._increase(node, place, _shaped(shift), shift)
            return
        if shift.place is not None and shift.scale != 0:
            has_bias = shift.place < len(node.input) and node.input[shift.place] != ""
            if not has_bias:
                while len(node.input) <= shift.place:
                    node.input.append("")
                self._give(node, shift.place, shift.values / shift.scale, shift)
                return
            if self._stored(node.input[shift.place]) is not None:
                self._increase(node, shift.place, shift.values / shift.scale, shift)
                return
            if self._increased_quantised(node.input[shift.place], shift.values / shift.scale):
                return
        following = self._only_addition(shift) if shift.channel == -1 else None
        if following is not None:
            self._increase(*following, shift.values, shift)
        else:
            self._insert(node, shift)

    def _increased_quantised(self, name: str, values: Array) -> bool:
        """Add to a bias that stands behind a DequantizeLinear, in its scales; False where there is none of its own."""
        maker = self._makers.get(name)
        scales = None if maker is None else scales_of(maker, self._graph.constants)
        if maker is None or scales is None or self._readers[name] > 1 or self._readers[maker.input[0]] > 1:
            return False
        stored = self._graph.constants[maker.input[0]]
        wide = scales.numbers(stored.array()) + values
        store_constant(self._model, self._graph, self._fresh, [(maker, 0)], scales.quantised(wide), stored.dtype)
        return True

    def _stored(self, name: str) -> Constant | None:
        """The constant behind a name, through copies that exporters leave."""
        found = self._graph.constants.get(name)
        maker = self._makers.get(name)
        if found is None and maker is not None and maker.op_type == "Identity" and not maker.domain:
            return self._stored(maker.input[0])
        return found

    def _only_addition(self, shift: Shift) -> tuple[NodeProto, int] | None:
        """The Add that alone reads the result, and the place of its constant operand."""
        readers = self._graph.readers.get(shift.output, [])
        if len(readers) != 1 or shift.output in self._outputs or readers[0][0].op_type != "Add":
            return None
        node, place = readers[0]
        stored = self._stored(node.input[1 - place])
        # A sum of more axes than the result has would put the shift on other channels, or repeat it.
        fits = (
            stored is not None and len(stored.dims) <= shift.rank and stored.dims[-1:] in ((), (1,), shift.values.shape)
        )
        # The node may be one of the same name inside of a body; only nodes of the main graph have a known maker.
        return (node, 1 - place) if fits and self._makers.get(node.output[0]) is node else None

    def _increase(self, node: NodeProto, place: int, values: Array, shift: Shift) -> None:
        name = node.input[place]
        stored = self._stored(name)
        assert stored is not None
        wide = stored.array().astype(np.float64) + values
        own = stored.name == name and stored.is_initializer and name not in self._outputs and self._readers[name] == 1
        listed = any(v.name == name for v in self._model.graph.input)
        if own and not (listed and wide.shape != stored.dims):
            before = stored.array().dtype
            stored.proto.CopyFrom(tensor_of(stored, (np.rint(wide) if before.kind == "i" else wide).astype(before)))
        else:
            self._give(node, place, wide, shift)

    def _give(self, node: NodeProto, place: int, values: Array, shift: Shift) -> None:
        """A fresh constant as an operand of one node alone."""
        self._forget(node.input[place])
        name = self._fresh.take(f"{shift.output}_bias")
        add_initializer(self._model, stored_tensor(name, values, shift.dtype))
        node.input[place] = name

    def _forget(self, name: str) -> None:
        """Drop an initializer that nothing reads any more."""
        if not name:
            return
        self._readers[name] -= 1
        listed = any(v.name == name for v in self._model.graph.input)
        if self._readers[name] or name in self._outputs or listed:
            return
        for k, tensor in enumerate(self._model.graph.initializer):
            if tensor.name == name:
                del self._model.graph.initializer[k]
                return

    def _insert(self, node: NodeProto, shift: Shift) -> None:
        """An Add behind the node; the sum takes over the name of the result, which others know."""
        inner = self._fresh.take(f"{shift.output}_uncompensated")
        node.output[0] = inner
        name = self._fresh.take(f"{shift.output}_bias")
        add_initializer(self._model, stored_tensor(name, _shaped(shift), shift.dtype))
        label = f"{node.name}_compensation" if node.name else ""
        insert_node(self._model, node, new_node("Add", [inner, name], [shift.output], label))


def _shaped(shift: Shift) -> Array:
    """The values in the shape that a sum with the result takes."""
    return shift.values.reshape(-1, *(1 for _ in range(shift.rank - 2))) if shift.channel == 1 else shift.values

"""Which removals change how sums round: nodes run one by one, with the removed channels silenced and without them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune import surgery
from onnx_attnprune.axes import Axis, BoolArray, leaves
from onnx_attnprune.errors import ModelError
from onnx_attnprune.graph import ModelProto, Node, part_of
from onnx_attnprune.grouping import Analysis, Slot, alive_of
from onnx_attnprune.ops import Effect, Tensor
from onnx_attnprune.runtime import Optimisation, Session

Feeds = Mapping[str, NDArray[Any]]
FLOATS: Mapping[int, Any] = MappingProxyType({1: np.float32, 10: np.float16, 11: np.float64})  # by TensorProto's types
SEED = 0


def rounding_groups(analysis: Analysis, removed: Mapping[int, Sequence[int]]) -> frozenset[int]:
    """The ids of groups of which `removed` (indices by group id) takes channels in such a way that sums round anew.

    Without the other groups' channels every node of the main graph gives, on random numbers, the same as with these
    channels silenced, to the last bit, with ONNX Runtime's optimiser on and off. Kernels add channels up in blocks:
    leaving out terms that are zero changes nothing as long as the others stay in their blocks, which is for the runtime
    to say.
    """
    held: set[int] = set()
    tested: set[tuple[int, frozenset[int]]] = set()
    while True:
        left = {group: gone for group, gone in removed.items() if group not in held}
        models = _Models.of(analysis, left)
        found: set[int] = set()
        for node in _mixing(models):
            key = node.node.index, node.touched
            if key not in tested:
                tested.add(key)
                if not models.same_bits(node):
                    found |= {models.owner[var] for var in node.summed or node.touched}
        if not found:
            return frozenset(held)
        held |= found


@dataclass(frozen=True, slots=True)
class _Mixing:
    """A node that mixes channels of which some are removed.

    touched: the variables that lose channels among its operands' axes; summed: those that its outputs lack. data: the
    operands that depend on the model's inputs.
    """

    node: Node
    outputs: Mapping[str, Tensor]
    data: Mapping[str, Tensor]
    touched: frozenset[int]
    summed: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Models:
    """The masked and the pruned model of one removal. owner: the group of each variable that loses channels."""

    analysis: Analysis
    alive: Mapping[int, BoolArray]
    owner: Mapping[int, int]
    masked: ModelProto
    pruned: ModelProto

    @staticmethod
    def of(analysis: Analysis, removed: Mapping[int, Sequence[int]]) -> _Models:
        alive = alive_of(analysis.groups, removed)
        owner = {g.var.id: g.id for g in analysis.groups if g.var.id in alive}
        return _Models(analysis, alive, owner, surgery.mask(analysis, alive), surgery.prune(analysis, alive))

    def on(self, axes: tuple[Axis, ...] | None) -> set[int]:
        """The variables on some axes that lose channels."""
        return {leaf.id for axis in axes or () for leaf in leaves(self.analysis.space.find(axis))} & self.owner.keys()

    def same_bits(self, mixing: _Mixing) -> bool:
        """Whether the node gives the same in both models; not where it can't be run by itself."""
        rng = np.random.default_rng(SEED)
        whole = {name: self._silenced(rng, tensor) for name, tensor in mixing.data.items()}
        cut = {name: self._cut(whole[name], tensor) for name, tensor in mixing.data.items()}
        names = list(mixing.outputs)
        try:
            for optimisation in (Optimisation.NONE, Optimisation.ALL):
                reference = _run(self.masked, whole, names, optimisation)
                got = _run(self.pruned, cut, names, optimisation)
                for name, tensor in mixing.outputs.items():
                    if not np.array_equal(self._cut(reference[name], tensor), got[name], equal_nan=True):
                        return False
        except (
            ModelError
        ):  # of some operators random numbers are no operands: then nothing shows that bits are the same
            return False
        return True

    def _silenced(self, rng: np.random.Generator, tensor: Tensor) -> NDArray[Any]:
        """Random numbers for an operand of the masked model, zero where it is."""
        axes = tensor.axes or ()
        array = rng.standard_normal([axis.size for axis in axes]).astype(FLOATS[tensor.dtype])
        for k, axis in enumerate(axes):
            if tensor.silent:
                np.moveaxis(array, k, 0)[~self.analysis.space.mask(axis, self.alive)] = 0
        return array

    def _cut(self, array: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
        for k, axis in enumerate(tensor.axes or ()):
            array = array.compress(self.analysis.space.mask(axis, self.alive), k)
        return array


def _run(model: ModelProto, feeds: Feeds, names: Sequence[str], optimisation: Optimisation) -> Feeds:
    part = part_of(model, {name: (array.dtype, array.shape) for name, array in feeds.items()}, names)
    return Session(part, optimisation=optimisation).run(feeds, names)


def _mixing(models: _Models) -> Iterator[_Mixing]:
    """The nodes of the main graph that mix channels of which some are removed, in order."""
    slots: dict[int, list[Slot]] = {}
    for slot in models.analysis.slots:
        slots.setdefault(slot.node.index, []).append(slot)
    main = {name for proto in models.analysis.graph.model.graph.node for name in proto.output}
    for node, effect in models.analysis.effects:
        if main.issuperset(node.outputs) and not node.subgraphs:
            mixing = _mixing_of(models, node, effect, slots.get(node.index, ()))
            if mixing is not None:
                yield mixing


def _mixing_of(models: _Models, node: Node, effect: Effect, slots: Sequence[Slot]) -> _Mixing | None:
    """The node with what it mixes; None where it mixes nothing, or reads other things than numbers."""
    known = models.analysis.tensors
    operands = {name: known[name] for name in node.inputs if name in known}
    touched: set[int] = set()
    for axes in (*(t.axes for t in operands.values()), *(s.axes for s in slots)):
        touched |= models.on(axes)
    summed = touched.difference(*(models.on(t.axes) for t in effect.outputs))
    data = {name: tensor for name, tensor in operands.items() if not tensor.slots}
    outputs = {name: t for name, t in zip(node.outputs, effect.outputs, strict=False) if name}
    if not touched or not (summed or effect.macs) or any(t.dtype not in FLOATS for t in data.values()):
        return None
    return _Mixing(node, outputs, data, frozenset(touched), frozenset(summed))

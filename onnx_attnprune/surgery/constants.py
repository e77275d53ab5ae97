"""Cuts constants in a copy of a model, or silences them; knows no operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import Axis, BoolArray
from onnx_attnprune.graph import (
    Constant,
    FreshNames,
    Graph,
    ModelProto,
    NodeProto,
    add_initializer,
    bodies_of,
    empty_like,
    fill_tensor,
    names_read,
    nodes_of,
    set_constant,
    tensor_of,
)
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.surgery.means import rescale
from onnx_attnprune.surgery.names import first_output
from onnx_attnprune.surgery.sizes import restate

Removed = Mapping[int, tuple[int, ...]]  # axis -> removed indices


@dataclass(frozen=True, slots=True)
class Use:
    """What one reader of a constant loses: operand `place` of the node whose first output is `consumer`."""

    tensor: str
    consumer: str
    place: int
    removed: Removed


@dataclass(frozen=True, slots=True)
class Cuts:
    """All that a plan removes from the constants of the original file.

    whole: tensors that lose the same slices for every reader. uses: readers of tensors that are cut differently.
    """

    whole: Mapping[str, Removed]
    uses: tuple[Use, ...]


def cuts_of(analysis: Analysis, alive: Mapping[int, BoolArray]) -> Cuts:
    """The slices that go from each constant when only the channels `alive` are left."""
    found: dict[str, list[Use]] = {}
    gone: dict[Axis, tuple[int, ...]] = {}
    for slot in analysis.slots:
        removed = {}
        for k, tree in enumerate(map(analysis.space.find, slot.axes)):
            if tree not in gone:  # many slots lie on the same channels
                gone[tree] = analysis.space.removed(tree, alive)
            if gone[tree]:
                removed[k] = gone[tree]
        if removed:
            found.setdefault(slot.tensor, []).append(Use(slot.tensor, slot.consumer, slot.place, removed))
    whole: dict[str, Removed] = {}
    uses: list[Use] = []
    outputs = {o.name for o in analysis.graph.outputs}
    for name, cut in found.items():
        readers = len(analysis.graph.readers[name]) + (name in outputs)
        if len(cut) == readers and all(u.removed == cut[0].removed for u in cut):
            whole[name] = cut[0].removed
        else:
            uses.extend(cut)
    return Cuts(whole, tuple(uses))


def named_cuts(analysis: Analysis, cuts: Cuts) -> Mapping[str, Removed]:
    """What goes from whole tensors of the original file: for a weight that it computes, from what that rests on."""
    found: dict[str, Removed] = {}
    for name, removed in cuts.whole.items():
        fold = analysis.graph.folds.get(name)
        if fold is None:
            found[name] = removed
        elif fold.axis in removed:
            found[fold.source] = {fold.source_axis: removed[fold.axis]}
    return found


def sliced(array: NDArray[Any], removed: Removed) -> NDArray[Any]:
    """The array without the removed slices."""
    for axis, indices in removed.items():
        stays = np.ones(array.shape[axis], bool)
        stays[list(indices)] = False
        array = array.compress(stays, axis)
    return array


def silenced(array: NDArray[Any], removed: Removed, zero: int = 0) -> NDArray[Any]:
    """The array with `zero` in the removed slices, its shape unchanged."""
    array = array.copy()
    for axis, indices in removed.items():
        np.moveaxis(array, axis, 0)[list(indices)] = zero
    return array


def prune(analysis: Analysis, alive: Mapping[int, BoolArray]) -> ModelProto:
    """A new model in which only the channels `alive` are left; the analysed model is untouched."""
    fresh = analysis.graph.fresh_names()
    model = _edited(analysis, alive, lambda constant, removed: sliced(constant.array(), removed), fresh)
    restate(model, analysis, alive, fresh)
    rescale(model, analysis, alive, fresh)
    return model


def mask(analysis: Analysis, alive: Mapping[int, BoolArray]) -> ModelProto:
    """The original model with zeros where a plan removes slices: what the pruned one must compute.

    A zero point is written where that is what stands for zero. Of a weight that the file computes (see `Graph.folds`)
    only what its sources can silence is.
    """

    def edit(constant: Constant, removed: Removed) -> NDArray[Any]:
        fold = analysis.graph.folds.get(constant.name)
        if fold is not None:
            removed = {axis: gone for axis, gone in removed.items() if axis == fold.axis}
        return silenced(constant.array(), removed, analysis.rests.get(constant.name, 0))

    return _edited(analysis, alive, edit, analysis.graph.fresh_names())


# ---------------------------------------------------------------- constants
Edit = Callable[[Constant, Removed], NDArray[Any]]


def _edited(analysis: Analysis, alive: Mapping[int, BoolArray], edit: Edit, fresh: FreshNames) -> ModelProto:
    graph, cuts = analysis.graph, cuts_of(analysis, alive)
    model = empty_like(graph.model)
    for proto in graph.model.graph.node:
        copy = model.graph.node.add()
        if proto.op_type == "Constant" and proto.output and proto.output[0] in cuts.whole:
            constant = graph.constants[proto.output[0]]
            set_constant(copy, proto, tensor_of(constant, edit(constant, cuts.whole[proto.output[0]])))
        else:
            copy.CopyFrom(proto)
    _edit_bodies(model, graph, cuts, edit)
    consumers = {first_output(n.output): n for n in nodes_of(model.graph)}
    copies: dict[tuple[str, str], str] = {}
    for use in cuts.uses:
        key = (use.tensor, repr(sorted(use.removed.items())))
        if key not in copies:
            copies[key] = name = fresh.take(f"{use.tensor}_cut{len(copies)}")
            constant = graph.constants[use.tensor]
            add_initializer(model, tensor_of(constant, edit(constant, use.removed), name))
        consumers[use.consumer].input[use.place] = copies[key]
    unread = {use.tensor for use in cuts.uses}
    if unread:
        unread -= {name for n in model.graph.node for name in names_read(n)} | {o.name for o in graph.outputs}
    for tensor in graph.model.graph.initializer:
        removed = cuts.whole.get(tensor.name)
        if removed is not None:
            constant = graph.constants[tensor.name]
            fill_tensor(model.graph.initializer.add(), constant, edit(constant, removed))
        elif tensor.name not in unread:
            model.graph.initializer.add().CopyFrom(tensor)
    return model


def _edit_bodies(model: ModelProto, graph: Graph, cuts: Cuts, edit: Edit) -> None:
    """The same for constants that stand in the bodies of control flow."""
    for body in list(bodies_of(model.graph))[1:]:
        for tensor in body.initializer:
            if tensor.name in cuts.whole:
                constant = graph.constants[tensor.name]
                tensor.CopyFrom(tensor_of(constant, edit(constant, cuts.whole[tensor.name])))
        for node in body.node:
            if node.op_type == "Constant" and node.output[0] in cuts.whole:
                constant = graph.constants[node.output[0]]
                del node.attribute[:]
                set_constant(node, NodeProto(), tensor_of(constant, edit(constant, cuts.whole[node.output[0]])))

"""Applies removals to a copy of a model: slices constants, restates sizes. Knows no operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import Axis, BoolArray
from onnx_attnprune.graph import (
    Constant,
    Graph,
    ModelProto,
    Node,
    NodeProto,
    add_initializer,
    bodies_of,
    empty_like,
    fill_tensor,
    integers_tensor,
    names_read,
    nodes_of,
    set_attribute,
    set_constant,
    tensor_of,
    where_node,
)
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.ops import Effect
from onnx_attnprune.ops.values import Term, after, now, numbers

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
    model = _edited(analysis, alive, lambda constant, removed: sliced(constant.array(), removed))
    _restate(model, analysis, alive)
    return model


def mask(analysis: Analysis, alive: Mapping[int, BoolArray]) -> ModelProto:
    """The original model with zeros where a plan removes slices: what the pruned one must compute.

    A zero point is written where that is what stands for zero.
    """
    rests = analysis.rests
    return _edited(
        analysis, alive, lambda constant, removed: silenced(constant.array(), removed, rests.get(constant.name, 0))
    )


# ---------------------------------------------------------------- constants
Edit = Callable[[Constant, Removed], NDArray[Any]]


def _edited(analysis: Analysis, alive: Mapping[int, BoolArray], edit: Edit) -> ModelProto:
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
            copies[key] = name = _fresh(f"{use.tensor}_cut{len(copies)}", graph)
            constant = graph.constants[use.tensor]
            add_initializer(model, tensor_of(constant, edit(constant, use.removed), name))
        _consumer(consumers, use).input[use.place] = copies[key]
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


def first_output(names: Iterable[str]) -> str:
    """The output that names a node: the first one that is not left out; "" for a node without any."""
    for name in names:  # asked for every node, several times: a generator costs twice as much
        if name:
            return name
    return ""


def _consumer(consumers: Mapping[str, NodeProto], use: Use) -> NodeProto:
    return consumers[use.consumer]


def _fresh(name: str, graph: Graph) -> str:
    taken = graph.names
    while name in taken:
        name += "_"
    taken.add(name)
    return name


# ---------------------------------------------------------------- sizes
def _restate(model: ModelProto, analysis: Analysis, alive: Mapping[int, BoolArray]) -> None:
    """Bring every integer that states a size up to date, and forget stale shapes of inner tensors."""
    edited = {first_output(n.output): n for n in nodes_of(model.graph)}
    for node, effect in analysis.effects:
        proto = edited[first_output(node.outputs)]
        for name, axes in effect.attrs.items():
            _restate_attribute(proto, node, name, axes, analysis, alive)
        for name, (axis, number) in effect.fixed.items():
            if analysis.space.size(axis, alive) != axis.size:
                set_attribute(proto, name, number)
        for place, stated in effect.inputs.items():
            values = _restated_input(node, effect, place, stated, analysis, alive)
            if values is not None:
                late = [v is None for v in values]
                computed = proto.input[place] if place < len(proto.input) else ""
                _put(model, proto, place, [v or 0 for v in values], effect.drop, analysis.graph)
                if any(late):
                    _put_computed(model, proto, place, late, computed, analysis.graph)
        for place, axis in effect.omit.items():
            if analysis.space.size(axis, alive) != axis.size:
                proto.input[place] = ""
        for place, (axis, indices) in effect.picks.items():
            survivors = analysis.space.mask(axis, alive)
            if not survivors.all():
                places = np.cumsum(survivors) - 1
                _put(model, proto, place, [int(places[i]) for i in indices if survivors[i]], (), analysis.graph)
    for node, place in analysis.frozen:
        value = analysis.tensors[node.inputs[place]].value
        assert value is not None
        if any(after(e, analysis.space, alive) != now(e) for e in value.reshape(-1)):
            array = numbers(value)
            dtype = analysis.tensors[node.inputs[place]].dtype
            _put(model, edited[first_output(node.outputs)], place, array, (), analysis.graph, dtype)
    _restate_signatures(model, analysis, alive)


def _restate_attribute(
    proto: NodeProto, node: Node, name: str, axes: Any, analysis: Analysis, alive: Mapping[int, BoolArray]
) -> None:
    if not isinstance(axes, tuple):
        size = analysis.space.size(axes, alive)
        if size != axes.size:
            set_attribute(proto, name, size)
        return
    old = node.attr(name)
    new = [
        (old[k] if old is not None else 0) if a is None else analysis.space.size(a, alive) for k, a in enumerate(axes)
    ]
    shrunk = _is_cut(analysis, node, alive)
    stated = list(old) if old is not None else [a.size for a in axes]
    if stated != new and any(
        a is not None and (analysis.space.size(a, alive) != a.size or (shrunk and stated[k] < 0))
        for k, a in enumerate(axes)
    ):
        set_attribute(proto, name, new)


def _restated_input(
    node: Node, effect: Effect, place: int, axes: Sequence[Any], analysis: Analysis, alive: Mapping[int, BoolArray]
) -> list[int | None] | None:
    """The elements of an integer input after the cut, None for one that only the run can tell; None where all of it is
    right as it is."""
    space = analysis.space
    sizes = [None if a is None else space.size(a, alive) for a in axes]
    if place >= len(node.inputs) or not node.inputs[place]:
        changed = any(a is not None and s != a.size for a, s in zip(axes, sizes, strict=True))
        return [s for s in sizes if s is not None] if changed else None
    value = _value(analysis, node.inputs[place])
    if value is None:
        return None
    elements = list(value.reshape(-1))
    wrong = [s is not None and after(e, space, alive) != s for e, s in zip(elements, sizes, strict=True)]
    # An element that stated its size before the cut only by chance (past the end) is not touched.
    shrunk = _is_cut(analysis, node, alive)
    # One that states no size, but that the graph computes from sizes, must stay the number that it was.
    moved = [s is None and _is_known(e) and _drifts(e, space, alive) for e, s in zip(elements, sizes, strict=True)]
    if not any(moved) and not any(
        w and a is not None and (space.size(a, alive) != a.size or _drifts(e, space, alive) or (shrunk and now(e) < 0))
        for w, a, e in zip(wrong, axes, elements, strict=True)
    ):
        return None
    out: list[int | None] = []
    stands = effect.stands.get(place, (None,) * len(sizes))
    for element, size, stand in zip(elements, sizes, stands, strict=True):
        late = isinstance(element, Term) and element.dynamic
        out.append(stand if late else int(now(element)) if size is None else size)
    return out


def _is_known(element: Any) -> bool:
    return not (isinstance(element, Term) and element.dynamic)


def _is_cut(analysis: Analysis, node: Node, alive: Mapping[int, BoolArray]) -> bool:
    # A place that is counted from behind moves with channels that are removed after it.
    first = analysis.tensors.get(node.inputs[0])
    return first is None or any(analysis.space.size(a, alive) != a.size for a in first.axes or ())


def _drifts(element: Any, space: Any, alive: Mapping[int, BoolArray]) -> bool:
    return bool(after(element, space, alive) != now(element))


def _value(analysis: Analysis, name: str) -> NDArray[Any] | None:
    known = analysis.tensors.get(name)
    if known is not None:
        return known.value
    constant: Constant | None = analysis.graph.constants.get(name)
    return None if constant is None else constant.array().astype(object)


def _put(
    model: ModelProto, proto: NodeProto, place: int, values: Iterable[int] | NDArray[Any], drop: Sequence[str],
    graph: Graph, dtype: int = 7,
) -> None:  # fmt: skip  # two lines
    """Give a node a fresh constant as an input of its own."""
    name = _fresh(f"{next(o for o in proto.output if o)}_size{place}", graph)
    add_initializer(model, integers_tensor(name, values, dtype))
    while len(proto.input) <= place:
        proto.input.append("")
    proto.input[place] = name
    for k in reversed(range(len(proto.attribute))):
        if proto.attribute[k].name in drop:
            del proto.attribute[k]


def _put_computed(
    model: ModelProto, proto: NodeProto, place: int, late: Sequence[bool], computed: str, graph: Graph
) -> None:
    """Take the elements `late` of an input from what the graph computes, the others from the fresh constant."""
    fixed = proto.input[place]
    which, chosen = _fresh(f"{fixed}_late", graph), _fresh(f"{fixed}_chosen", graph)
    add_initializer(model, integers_tensor(which, list(late), dtype=9))
    body, at = next(
        (body, k)
        for body in bodies_of(model.graph)
        for k, n in enumerate(body.node)
        if n.output[:1] == proto.output[:1]
    )
    body.node.insert(at, where_node(which, computed, fixed, chosen))
    body.node[at + 1].input[place] = chosen


def _restate_signatures(model: ModelProto, analysis: Analysis, alive: Mapping[int, BoolArray]) -> None:
    cut = {t.name: tuple(t.dims) for t in model.graph.initializer}
    for value in model.graph.input:
        if value.name in cut:  # an initializer that is listed as an input too
            for dim, size in zip(value.type.tensor_type.shape.dim, cut[value.name], strict=False):
                dim.dim_value = size
    shrunk = {s.tensor for s in analysis.slots if any(analysis.space.size(a, alive) != a.size for a in s.axes)}

    def is_whole(name: str) -> bool:  # known to keep its shape
        known = analysis.tensors.get(name)
        if known is None:
            return name in analysis.graph.constants and name not in shrunk
        return known.axes is not None and all(analysis.space.size(a, alive) == a.size for a in known.axes)

    for value in analysis.graph.model.graph.value_info:
        if is_whole(value.name):
            model.graph.value_info.add().CopyFrom(value)
    for body in list(bodies_of(model.graph))[1:]:
        stay = [v for v in body.value_info if is_whole(v.name)]
        del body.value_info[:]
        body.value_info.extend(stay)
        for value in (*body.input, *body.output):
            if value.type.HasField("tensor_type") and not is_whole(value.name):
                value.type.tensor_type.ClearField("shape")

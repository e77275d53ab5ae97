"""Restates every integer that states a size, and forgets stale shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import (
    Constant,
    FreshNames,
    ModelProto,
    Node,
    NodeProto,
    ValueInfoProto,
    add_initializer,
    bodies_of,
    integers_tensor,
    nodes_of,
    set_attribute,
    where_node,
)
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.ops import Effect
from onnx_attnprune.ops.values import Term, after, now, numbers
from onnx_attnprune.surgery.names import first_output


def restate(model: ModelProto, analysis: Analysis, alive: Mapping[int, BoolArray], fresh: FreshNames) -> None:
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
                _put(model, proto, place, [v or 0 for v in values], effect.drop, fresh)
                if any(late):
                    _put_computed(model, proto, place, late, computed, fresh)
        for place, axis in effect.omit.items():
            if analysis.space.size(axis, alive) != axis.size:
                proto.input[place] = ""
        for place, (axis, indices) in effect.picks.items():
            survivors = analysis.space.mask(axis, alive)
            if not survivors.all():
                places = np.cumsum(survivors) - 1
                _put(model, proto, place, [int(places[i]) for i in indices if survivors[i]], (), fresh)
    for node, place in analysis.frozen:
        value = analysis.tensors[node.inputs[place]].value
        assert value is not None
        if any(after(e, analysis.space, alive) != now(e) for e in value.reshape(-1)):
            array = numbers(value)
            dtype = analysis.tensors[node.inputs[place]].dtype
            _put(model, edited[first_output(node.outputs)], place, array, (), fresh, dtype)
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
    fresh: FreshNames, dtype: int = 7,
) -> None:  # fmt: skip  # two lines
    """Give a node a fresh constant as an input of its own."""
    name = fresh.take(f"{next(o for o in proto.output if o)}_size{place}")
    add_initializer(model, integers_tensor(name, values, dtype))
    while len(proto.input) <= place:
        proto.input.append("")
    proto.input[place] = name
    for k in reversed(range(len(proto.attribute))):
        if proto.attribute[k].name in drop:
            del proto.attribute[k]


def _put_computed(
    model: ModelProto, proto: NodeProto, place: int, late: Sequence[bool], computed: str, fresh: FreshNames
) -> None:
    """Take the elements `late` of an input from what the graph computes, the others from the fresh constant."""
    fixed = proto.input[place]
    which, chosen = fresh.take(f"{fixed}_late"), fresh.take(f"{fixed}_chosen")
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
                _restate_signature(value, analysis, alive)


def _restate_signature(value: ValueInfoProto, analysis: Analysis, alive: Mapping[int, BoolArray]) -> None:
    """State the shape of what a body takes or gives anew: ONNX Runtime runs no Scan whose body leaves it open."""
    known = analysis.tensors.get(value.name)
    shape = value.type.tensor_type.shape
    if known is None or known.axes is None or len(known.axes) != len(shape.dim):
        value.type.tensor_type.ClearField("shape")
        return
    for dim, axis in zip(shape.dim, known.axes, strict=True):
        if dim.dim_value == axis.size:
            dim.dim_value = analysis.space.size(axis, alive)
        else:
            dim.ClearField("dim_value")

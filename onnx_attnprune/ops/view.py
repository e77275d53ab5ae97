"""A node as its rule sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import ONE, Axis, Reason, Space
from onnx_attnprune.errors import AxisError
from onnx_attnprune.graph import Constant, Node
from onnx_attnprune.ops.effect import POSITION, RELAID, Tensor
from onnx_attnprune.ops.pattern import solve
from onnx_attnprune.ops.signs import is_nonnegative
from onnx_attnprune.ops.values import FLOATS, Term, Values, as_values, numbers, size_of


class Operands(Protocol):
    """Where a view gets its operands from (the analysis that is running)."""

    space: Space

    def tensor(self, node: Node, place: int) -> Tensor | None: ...

    def constant(self, name: str) -> Constant | None: ...

    def maker(self, name: str) -> Node | None: ...

    def value(self, name: str) -> Values | None: ...

    def hint(self, name: str) -> tuple[int | str | None, ...] | None: ...

    def named(self, name: str) -> Tensor | None: ...

    def role(self, slots: Sequence[int], axes: Sequence[Axis], roles: Sequence[str]) -> None: ...

    def rest(self, name: str, number: int) -> bool: ...


class View:
    """A node as its rule sees it: operands as axes, attributes, known values; and the verbs to state relations."""

    def __init__(self, node: Node, opset: int, operands: Operands) -> None:
        self.node, self.opset, self._operands = node, opset, operands
        self.space = operands.space
        self._seen: dict[int, Tensor] = {}

    # ---------------------------------------------------------------- operands
    def has(self, place: int) -> bool:
        """True where the operand is there (optional ones may be left out)."""
        return place < len(self.node.inputs) and self.node.inputs[place] != ""

    def tensor(self, place: int) -> Tensor:
        """An operand that must be there."""
        found = self._seen.get(place)
        if found is None:
            found = self._operands.tensor(self.node, place) if self.has(place) else None
            if found is None:
                raise AxisError(f"operand {place} is missing")
            self._seen[place] = found
        return found

    def axes(self, place: int) -> tuple[Axis, ...]:
        """The axes of an operand. Raises AxisError where not even the rank is known."""
        axes = self.tensor(place).axes
        if axes is None:
            raise AxisError(f"the shape of {self.node.inputs[place]!r} is not known")
        return axes

    def named(self, name: str) -> Tensor:
        """A tensor by name: what a body of this node hands out."""
        found = self._operands.named(name)
        if found is None or found.axes is None:
            raise AxisError(f"the shape of {name!r} is not known")
        return found

    def found(self, name: str) -> Tensor | None:
        """As `named`, but None, or a tensor without axes, where the shape is not known."""
        return self._operands.named(name)

    def value(self, place: int) -> Values | None:
        """The elements of an operand, where they are known numbers or sizes."""
        return self._operands.value(self.node.inputs[place]) if self.has(place) else None

    def integers(self, place: int) -> NDArray[Any] | None:
        """The elements of an operand as they are before any cut; None where they are not known."""
        value = self.value(place)
        return None if value is None else numbers(value)

    def constant(self, place: int) -> NDArray[Any] | None:
        """The stored values of an operand that is a constant of the file, as it is or of another float type.

        A converter to float16 puts a Cast behind every constant that an operator wants in float32.
        """
        name = self.node.inputs[place] if self.has(place) else ""
        while (found := self._operands.constant(name)) is None:
            maker = self._operands.maker(name)
            if maker is None or maker.domain or not _repeats(maker):
                return None
            name = maker.inputs[0]
        return found.array()

    def is_weight(self, place: int) -> bool:
        """True where the operand is computed from constants alone."""
        return self.has(place) and bool(self.tensor(place).slots)

    def is_filled_with_zeros(self, place: int) -> bool:
        """True where the operand is zeros that the graph makes from a shape, and only lays out anew since."""
        maker = self._operands.maker(self.node.inputs[place]) if self.has(place) else None
        while maker is not None and maker.op in RELAID and not maker.domain:
            if maker.op == "Expand" and (fill := self._operands.constant(maker.inputs[0])) is not None:
                return fill.count == 1 and not fill.array().any()
            maker = self._operands.maker(maker.inputs[0])
        return maker is not None and maker.op == "ConstantOfShape" and filler(maker) == 0

    def is_square(self, place: int) -> bool:
        """True where the operand is a tensor times itself, or to the power of two."""
        maker = self._operands.maker(self.node.inputs[place]) if self.has(place) else None
        if maker is None or maker.domain:
            return False
        if maker.op == "Pow" and (exponent := self._operands.constant(maker.inputs[1])) is not None:
            return bool((exponent.array() == 2).all())
        return maker.op == "Mul" and maker.inputs[0] == maker.inputs[1]

    def is_nonnegative(self, place: int) -> bool:
        """True where the operand can hold no number below zero."""
        return is_nonnegative(self.node.inputs[place], self._operands.maker, self._operands.constant)

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute of the node, or the default."""
        return self.node.attr(name, default)

    def integer(self, name: str) -> int:
        """An integer attribute that has no default. Raises AxisError where the node lacks it."""
        value = self.attr(name)
        if not isinstance(value, int):
            raise AxisError(f"the attribute {name} is missing or no integer")
        return value

    def axis_attr(self, name: str, rank: int, default: int) -> int:
        """An attribute that names an axis, counted from the front."""
        axis = int(self.attr(name, default))
        if not -rank <= axis < max(rank, 1):
            raise AxisError(f"{name}={axis} is no axis of a tensor of rank {rank}")
        return axis % max(rank, 1)

    def listed(self, name: str, place: int, since: int) -> tuple[int, ...] | None:
        """Integers that are an attribute before opset `since` and an input from then on; None where left out.

        Raises AxisError where they are computed at run time.
        """
        if self.opset < since or not self.has(place):
            value = self.attr(name)
            return None if value is None else tuple(value)
        found = self.integers(place)
        if found is None:
            raise AxisError(f"{self.node.inputs[place]!r} is computed at run time")
        return tuple(int(i) for i in found.reshape(-1))

    # ---------------------------------------------------------------- relations
    def reason(self, why: str) -> Reason:
        """A reason that names this node."""
        return Reason(why, self.node.name, self.node.op)

    def keep(self, axes: Axis | Sequence[Axis], why: str) -> None:
        """These axes must survive whole."""
        reason = self.reason(why)
        for axis in axes if isinstance(axes, (tuple, list)) else (axes,):
            self.space.keep(axis, reason)

    def keep_operand(self, place: int, why: str) -> None:
        """Keep all of an operand whose numbers steer the node (a shape, scales); nothing where its rank is unknown."""
        self.keep(self.tensor(place).axes or (), why)

    def tie(self, one: Axis, other: Axis) -> None:
        """Two axes are the same."""
        self.space.tie(one, other)

    def role(self, place: int, *roles: str) -> None:
        """What the axes of a weight are to the channels on them ("" for none): producer, consumer, scale, bias."""
        tensor = self.tensor(place)
        if tensor.slots and tensor.axes is not None:
            self._operands.role(tensor.slots, tensor.axes, roles)

    def rest(self, place: int, number: int) -> bool:
        """Let a removed slice of a constant be silenced by this number; False where that can't be."""
        return self.has(place) and self._operands.rest(self.node.inputs[place], number)

    def unify(self, pattern: str, **known: int) -> tuple[dict[str, Axis], tuple[Axis, ...]]:
        """Tie the operands by an einops-like pattern; the axis of each name, and the axes of the result.

        ``n (g i) ..., (g o) i ... -> n (g o)``: one list of axes an operand, optional operands that are missing are
        passed over; `...` stands for axes that the pattern says nothing of. Raises AxisError, with the pattern and the
        shapes, where they contradict.
        """
        operands = [self.axes(k) if self.has(k) else None for k in range(pattern.count(",") + 1)]
        return solve(self.space, pattern, operands, known)

    def broadcast(self, *places: int) -> tuple[Axis, ...]:
        """Tie operands that are broadcast together, as numpy does; the axes of the result."""
        return broadcast(self.space, [self.axes(p) for p in places])

    def spans(self, place: int, axes: Sequence[Axis]) -> bool:
        """True where the operand has every axis of the result that may lose channels, rather than being repeated."""
        mine = self.axes(place)
        missing = [a for a in axes[: len(axes) - len(mine)] if a.size != 1]
        repeated = [a for a, b in zip(axes[len(axes) - len(mine) :], mine, strict=True) if b == ONE and a != ONE]
        return all(self.space.is_kept(a) for a in (*missing, *repeated))

    # ---------------------------------------------------------------- results
    def positions(self, size: int, like: Sequence[Axis] = ()) -> Axis:
        """A fresh axis that is never cut; of a size known only at run time where that of `like` is."""
        return self.space.var(size, POSITION, dynamic=any(self.space.is_dynamic(a) for a in like))

    def sized(self, element: Any) -> Axis:
        """An axis of the size that an element of a shape states."""
        if isinstance(element, Term):
            if element.axis is not None:
                return element.axis
            return self.space.var(int(element.value), dynamic=element.dynamic)
        return self.space.var(int(element))

    def sizes(self, axes: Sequence[Axis]) -> Values:
        """The sizes of axes, as a one-dimensional tensor's elements."""
        out = np.empty(len(axes), object)
        for k, axis in enumerate(axes):
            out[k] = size_of(self.space, axis)
        return as_values(out)

    def out(self, axes: Sequence[Axis], *, dtype: int | None = None, silent: bool = False) -> Tensor:
        """A result; of the first operand's type unless another is given."""
        if dtype is None:
            dtype = self.tensor(0).dtype if self.has(0) else 0
        return Tensor(tuple(axes), dtype, None, silent)

    def like(self, place: int = 0) -> Tensor:
        """A result with the axes, type and silence of an operand."""
        t = self.tensor(place)
        return Tensor(self.axes(place), t.dtype, None, t.silent)

    def hint(self, output: int) -> tuple[int | str | None, ...] | None:
        """The shape that the file itself gives for an output."""
        return self._operands.hint(self.node.outputs[output])


def _repeats(node: Node) -> bool:
    return node.op == "Identity" or (node.op == "Cast" and node.attr("to") in FLOATS)


def broadcast(space: Space, operands: Sequence[Sequence[Axis]]) -> tuple[Axis, ...]:
    """Tie axes that numpy's broadcasting lays over each other; the axes of the result."""
    rank = max(map(len, operands), default=0)
    out: list[Axis] = []
    for k in range(rank):
        column = [axes[k - rank + len(axes)] for axes in operands if k - rank + len(axes) >= 0]
        wide = [a for a in column if a.size != 1 or space.is_dynamic(a)]
        for other in wide[1:]:
            space.tie(wide[0], other)
        out.append(wide[0] if wide else ONE)
    return tuple(out)


def filler(node: Node) -> float:
    """The number that a ConstantOfShape node fills its result with."""
    value = node.attr("value")
    return 0.0 if value is None else float(Constant("", (1,), value.data_type, value, False).array().reshape(-1)[0])

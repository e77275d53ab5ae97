"""What is known of a tensor while the rules run, and what a rule says of a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnx_attnprune.axes import Axis, Reason
from onnx_attnprune.ops.values import Values

POSITION = Reason("a position, not a channel")
# What only lays numbers out anew, in another order or several times over.
RELAID = {
    "Cast", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze",
}  # fmt: skip  # a list of names


@dataclass(frozen=True, slots=True)
class Tensor:
    """What is known of a tensor while the rules run.

    axes: None where not even the rank is known. value: the elements, where they are sizes or small integers.
    silent: a channel removed on any axis is exactly zero in the masked model. rest: the zero point by which one stands
    for zero, where its number is another one (see `quantized`). slots: the uses of constants that it is computed from,
    and from nothing else (empty for a tensor that depends on the input).
    """

    axes: tuple[Axis, ...] | None
    dtype: int = 0
    value: Values | None = None
    silent: bool = False
    slots: tuple[int, ...] = ()
    rest: str | None = None


@dataclass(frozen=True, slots=True)
class Linear:
    """A node that mixes channels by a weight: places of its operands, and the axes of the weight.

    into: axes of the weight over which the input's channels are summed; out: the axis of the product's channels.
    zeros: of whole numbers the places of the zero points that are taken off data and weight first; a bias is then added
    to that product as it is. inner: the product is not the node's result, which is made of it (gates, attention).
    """

    data: int
    weight: int
    bias: int | None
    out: int
    into: int
    zeros: tuple[int, int] | None = None
    inner: bool = False


@dataclass(frozen=True, slots=True)
class Effect:
    """What a rule says of a node.

    outputs: one tensor per output. attrs: integer attributes that equal the size of an axis (a tuple for a list, None
    for an element that stays). inputs: for an integer input, the axis whose size each element states (None: not a size
    of anything that may change); `drop` names attributes that such an input replaces. picks: inputs that hold indices
    into an axis. omit: inputs that may as well be left out, and are once the axis has lost channels. macs: products of
    axes that add up to the node's multiply-accumulates. fixed: attributes whose default rests on the size of an axis,
    and the value of that default, which is written once the axis has lost channels. averaged: axes that the first
    output is a mean over and that hold zeros for removed channels; it stays a mean over all of them, the removed ones
    included. spared: axes whose channels can go but had better not, and why; they go only where a user names them.
    """

    outputs: tuple[Tensor, ...]
    attrs: Mapping[str, Axis | tuple[Axis | None, ...]] = field(default_factory=dict)
    inputs: Mapping[int, tuple[Axis | None, ...]] = field(default_factory=dict)
    stands: Mapping[int, tuple[int | None, ...]] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    picks: Mapping[int, tuple[Axis, tuple[int, ...]]] = field(default_factory=dict)
    omit: Mapping[int, Axis] = field(default_factory=dict)
    fixed: Mapping[str, tuple[Axis, float]] = field(default_factory=dict)
    macs: tuple[tuple[Axis, ...], ...] = ()
    linear: Linear | None = None
    averaged: tuple[Axis, ...] = ()
    spared: tuple[tuple[Axis, str], ...] = ()

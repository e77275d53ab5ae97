"""Quantised operators: a removed channel stands for zero where its number is the zero point.

`Tensor.silent` is about the number 0 itself; `Tensor.rest` tells the zero point instead: its value where it is a
constant with one number for all channels, ``=name`` where it is computed, and ``@axis`` behind it where each channel of
that axis has a scale of its own (a removed one's scale is silenced too, so there its number says nothing).
"""

from __future__ import annotations

from dataclasses import replace

from onnx_attnprune.axes import ONE, Axis, product
from onnx_attnprune.errors import AxisError
from onnx_attnprune.ops.conv import conv
from onnx_attnprune.ops.heads import MICROSOFT
from onnx_attnprune.ops.linear import matmul
from onnx_attnprune.ops.recast import Recast
from onnx_attnprune.ops.registry import Effect, Linear, Tensor, View, rule

UINT8, INT32 = 2, 6
NOUGHT = "0"


def zero_of(n: View, place: int) -> str | None:
    """What stands for zero by a zero point; None where it is not one number for all channels."""
    if not n.has(place):
        return NOUGHT
    stored = n.constant(place)
    if stored is None:
        return computed(str(n.node.inputs[place]))
    numbers = {int(number) for number in stored.reshape(-1).tolist()}
    return str(numbers.pop()) if len(numbers) == 1 else None


def computed(name: str) -> str:
    """What stands for zero by a zero point that is known only at run time."""
    return f"={name}"


def rests(n: View, place: int, zero: str | None) -> bool:
    """True where a removed channel of an operand holds the number that stands for zero."""
    found = n.tensor(place)
    return zero is not None and (found.rest == zero or (zero == NOUGHT and found.silent))


def stored_at_rest(n: View, place: int, zero: str | None) -> bool:
    """The same of a weight, whose removed slices are silenced by that number."""
    if rests(n, place, zero):
        return True
    return zero is not None and not zero.startswith("=") and n.rest(place, int(zero))


def quantised(tensor: Tensor, zero: str | None, silent: bool, dtype: int | None = None) -> Tensor:
    """A result that is stored by a zero point; `silent`: a removed channel stands for zero."""
    kind = tensor.dtype if dtype is None else dtype
    return replace(tensor, dtype=kind, silent=silent and zero == NOUGHT, rest=zero if silent else None)


def is_vector(n: View, place: int) -> bool:
    """True for a scale or zero point with a number for each channel."""
    return n.has(place) and any(axis != ONE for axis in n.axes(place))


def dtype_of(n: View, place: int, default: int) -> int:
    """The type of a zero point, which is that of the numbers it belongs to."""
    return n.tensor(place).dtype if n.has(place) else default


def tie_vector(n: View, axis: Axis, *places: int) -> None:
    """Scales and zero points that are one number, or one for each channel of an axis. Raises AxisError for others."""
    for place, role in zip(places, ("scale", "zero point"), strict=False):
        if is_vector(n, place):
            axes = [a for a in n.axes(place) if a != ONE]
            if len(axes) > 1:
                raise AxisError(f"operand {place} has more than one axis")
            n.tie(axes[0], axis)
            n.role(place, *[role] * len(n.axes(place)))


# ---------------------------------------------------------------- between floats and integers
def _granularity(n: View, x: tuple[Axis, ...]) -> str:
    """Tie scale and zero point to their axis; ``@axis`` where each channel has its own, ``@blocks``, or nothing."""
    block = int(n.attr("block_size", 0) or 0)
    if block and len(n.axes(1)) == len(x):
        at = n.axis_attr("axis", len(x), 1)
        for place, role in ((1, "scale"), (2, "zero point")):
            if n.has(place):
                for k, (one, other) in enumerate(zip(n.axes(place), x, strict=True)):
                    if k != at:
                        n.tie(one, other)
                n.role(place, *[role] * len(x))
        _tie_blocks(n, x[at], at, block)
        return "@blocks"
    if not (is_vector(n, 1) or is_vector(n, 2)):
        return ""
    at = n.axis_attr("axis", len(x), 1)
    tie_vector(n, x[at], 1, 2)
    return f"@{at}"


def _tie_blocks(n: View, axis: Axis, at: int, block: int) -> None:
    for place in (1, 2):
        if n.has(place):
            blocks = n.axes(place)[at]
            if blocks.size * block == axis.size:
                within = n.space.var(block, n.reason("the channels of one block share a scale"))
                n.tie(axis, product((blocks, within)))
            else:
                n.keep([axis, blocks], "a last block that is not full")


@rule("QuantizeLinear")
def quantize(n: View) -> Effect:
    """... and a scale and a zero point for all, for each channel of an axis or for each block of one -> ..."""
    x = n.axes(0)
    grain = _granularity(n, x)
    if grain:
        n.rest(1, 1)  # a scale of zero would divide by zero
    zero = zero_of(n, 2)
    dtype = dtype_of(n, 2, int(n.attr("output_dtype", 0) or UINT8))
    silent = n.tensor(0).silent and grain != "@blocks"
    out = n.out(x, dtype=dtype)
    if grain:
        return Effect((replace(out, rest=f"{zero}{grain}" if silent and zero is not None else None),))
    return Effect((quantised(out, zero, silent),))


@rule("DequantizeLinear")
def dequantize(n: View) -> Effect:
    """... and a scale and a zero point for all, for each channel of an axis or for each block of one -> ..."""
    x = n.axes(0)
    grain, zero = _granularity(n, x), zero_of(n, 2)
    silent = stored_at_rest(n, 0, zero)
    if grain == "@blocks":
        silent = n.tensor(1).silent
    elif grain:
        # On the axis of the scales a removed channel has a scale of zero, whatever its number.
        at = int(grain[1:])
        others = all(n.space.is_kept(axis) for k, axis in enumerate(x) if k != at)
        same = zero is not None and n.tensor(0).rest == f"{zero}{grain}"
        silent = (silent and uniform(n, 2, zero)) or (is_silenced(n, 1) and (silent or same or others))
    dtype = int(n.attr("output_dtype", 0) or n.tensor(1).dtype)
    return Effect((n.out(x, dtype=dtype, silent=silent),))


rule("QuantizeLinear", domain=MICROSOFT)(quantize)
rule("DequantizeLinear", domain=MICROSOFT)(dequantize)


@rule("DynamicQuantizeLinear")
def dynamic_quantize(n: View) -> Effect:
    """... -> ..., and the scale and the zero point, which rest on the range of all (zero included)"""
    x, silent = n.axes(0), range_is_free(n, 0)
    scale, zero = n.out(()), n.out((), dtype=UINT8)
    name = n.node.outputs[2] if len(n.node.outputs) > 2 else ""
    return Effect((replace(n.out(x, dtype=UINT8), rest=computed(name) if silent and name else None), scale, zero))


def range_is_free(n: View, place: int) -> bool:
    """True where a removed channel is zero, so that the range of an operand does without; else all of it is kept."""
    if n.tensor(place).silent:
        return True
    n.keep(n.axes(place), "quantised by the range of all channels")
    return all(n.space.is_kept(axis) for axis in n.axes(place))


# ---------------------------------------------------------------- products
def uniform(n: View, zero_point: int, zero: str | None, scale: int | None = None) -> bool:
    """True where a channel at rest gives zero although its own zero point is silenced, or where it has none."""
    return not is_vector(n, zero_point) or zero == NOUGHT or (scale is not None and is_silenced(n, scale))


def is_silenced(n: View, scale: int) -> bool:
    """True where a removed channel has a scale of its own, which is zero."""
    return is_vector(n, scale) and n.tensor(scale).silent


@rule("MatMulInteger")
def matmul_integer(n: View) -> Effect:
    """... m k, ... k n, m, n -> ... m n, of integers less their zero points"""
    return integer_product(n, rests(n, 0, zero_of(n, 2)), stored_at_rest(n, 1, zero_of(n, 3)), zeros=(2, 3))


def integer_product(n: View, left: bool, right: bool, zeros: tuple[int, int]) -> Effect:
    """The matrix product of operands less their zero points; `left`, `right`: whether they are at rest; silent as 0."""
    zero = [zero_of(n, place) for place in zeros]
    effect = matmul(Recast(n, (0, 1), silent={0: left, 1: right}))
    a, b = n.axes(0), n.axes(1)
    if len(a) > 1:
        tie_vector(n, a[-2], zeros[0], zeros[0])
    tie_vector(n, b[-1], zeros[1], zeros[1])
    (out,) = effect.outputs
    silent = out.silent and uniform(n, zeros[0], zero[0]) and uniform(n, zeros[1], zero[1])
    linear = effect.linear and replace(effect.linear, zeros=zeros)
    return replace(effect, outputs=(replace(out, dtype=INT32, silent=silent),), linear=linear)


@rule("ConvInteger")
def conv_integer(n: View) -> Effect:
    """a convolution of integers less their zero points, of which the weight may have one for each output channel"""
    zero = [zero_of(n, place) for place in (2, 3)]
    at_rest = {0: rests(n, 0, zero[0]), 1: stored_at_rest(n, 1, zero[1])}
    effect = conv(Recast(n, (0, 1), silent=at_rest))
    tie_vector(n, n.axes(1)[0], 3, 3)
    (out,) = effect.outputs
    silent = out.silent and uniform(n, 3, zero[1])
    linear = Linear(0, 1, None, out=0, into=1, zeros=(2, 3))
    return replace(effect, outputs=(replace(out, dtype=INT32, silent=silent),), linear=linear)


@rule("QLinearConv")
def qlinear_conv(n: View) -> Effect:
    """a convolution of quantised numbers, whose weight may have a scale for each output channel"""
    x_zero, w_zero, y_zero = (zero_of(n, place) for place in (2, 5, 7))
    at_rest = {0: rests(n, 0, x_zero), 1: stored_at_rest(n, 3, w_zero)}
    effect = conv(Recast(n, (0, 3, 8), silent=at_rest))
    tie_vector(n, n.axes(3)[0], 4, 5)
    (out,) = effect.outputs
    silent = is_silenced(n, 4) or (out.silent and uniform(n, 5, w_zero))
    linear = Linear(0, 3, 8, out=0, into=1, zeros=(2, 5))
    return replace(effect, outputs=(quantised(out, y_zero, silent, n.tensor(7).dtype),), linear=linear)


@rule("QLinearMatMul")
def qlinear_matmul(n: View) -> Effect:
    """... m k, ... k n -> ... m n of quantised numbers, with a scale for each row or column, or for all"""
    a_zero, b_zero, y_zero = (zero_of(n, place) for place in (2, 5, 7))
    at_rest = {0: rests(n, 0, a_zero), 1: stored_at_rest(n, 3, b_zero)}
    effect = matmul(Recast(n, (0, 3), silent=at_rest))
    a, b = n.axes(0), n.axes(3)
    if len(a) > 1:
        tie_vector(n, a[-2], 1, 2)
    tie_vector(n, b[-1], 4, 5)
    (out,) = effect.outputs
    silent = out.silent and uniform(n, 2, a_zero, 1) and uniform(n, 5, b_zero, 4)
    linear = effect.linear and Linear(0, 3, None, out=1, into=0, zeros=(2, 5))
    return replace(effect, outputs=(quantised(out, y_zero, silent, n.tensor(7).dtype),), linear=linear)

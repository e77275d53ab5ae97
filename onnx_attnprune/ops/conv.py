"""Convolutions and pooling: channels by pattern, spatial axes as positions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnx_attnprune.axes import Axis
from onnx_attnprune.errors import AxisError
from onnx_attnprune.ops.registry import Effect, Linear, Tensor, View, rule


@rule("Conv")
def conv(n: View) -> Effect:
    """n (g i) ..., (g o) i ..., (g o) -> n (g o) ..."""
    v, out = n.unify("n (g i) ..., (g o) i ..., (g o) -> n (g o) ...", g=_groups(n))
    kernel = n.axes(1)[2:]
    n.keep(n.axes(0)[2:], "space of a convolution")
    n.keep(kernel, "the kernel of a convolution")
    n.role(1, "producer", "consumer")
    if n.has(2):
        n.role(2, "bias")
    _contract(n, v["i"])
    axes = (*out, *_window(n, [a.size for a in kernel]))
    linear = Linear(0, 1, 2, out=0, into=1)
    return Effect(_named(n, axes, _weighed(n)), {"group": v["g"]}, macs=((*axes, v["i"], *kernel),), linear=linear)


@rule("ConvTranspose")
def conv_transpose(n: View) -> Effect:
    """n (g i) ..., (g i) o ..., (g o) -> n (g o) ..."""
    v, out = n.unify("n (g i) ..., (g i) o ..., (g o) -> n (g o) ...", g=_groups(n))
    space, kernel = n.axes(0)[2:], n.axes(1)[2:]
    n.keep(space, "space of a convolution")
    n.keep(kernel, "the kernel of a convolution")
    n.role(1, "consumer", "producer")
    if n.has(2):
        n.role(2, "bias")
    _contract(n, v["i"])
    axes = (*out, *_spread(n, [a.size for a in kernel]))
    macs = ((*n.axes(0), v["o"], *kernel),)
    linear = Linear(0, 1, 2, out=1, into=0)
    return Effect(_named(n, axes, _weighed(n)), {"group": v["g"]}, macs=macs, linear=linear)


@rule("MaxPool", "AveragePool", "LpPool")
def pool(n: View) -> Effect:
    """n c ... -> n c ...: a window over space, each channel by itself."""
    x = n.axes(0)
    n.keep(x[2:], "space of a pooling window")
    if len(n.node.outputs) > 1 and n.node.outputs[1]:
        n.keep(x[:2], "the places of the largest are counted over all channels")
    kernel = n.attr("kernel_shape")
    if kernel is None:
        raise AxisError("the attribute kernel_shape is missing")
    axes = (*x[:2], *_window(n, list(kernel)))
    return Effect(_named(n, axes, n.tensor(0).silent))


@rule("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(n: View) -> Effect:
    """n c ... -> n c 1 1: all of space into one number, each channel by itself."""
    x = n.axes(0)
    n.keep(x[2:], "space of a pooling window")
    return Effect(_named(n, (*x[:2], *(n.positions(1) for _ in x[2:])), n.tensor(0).silent))


def _weighed(n: View) -> bool:
    # A removed output channel is zero where its weights (and bias) are.
    return n.tensor(1).silent and (not n.has(2) or n.tensor(2).silent)


def _contract(n: View, channels: Axis) -> None:
    if not (n.tensor(0).silent or n.tensor(1).silent) and not n.space.is_kept(channels):
        n.keep(channels, "summed over, where a removed channel would not be zero")


def _named(n: View, axes: Sequence[Axis], silent: bool) -> tuple[Tensor, ...]:
    # A pooling's second output (the indices of the maxima) has the same axes.
    return tuple(n.out(axes, silent=silent and k == 0, dtype=None if k == 0 else 7) for k in range(len(n.node.outputs)))


def _groups(n: View) -> int:
    count = int(n.attr("group", 1))
    if count < 1:
        raise AxisError(f"it has {count} groups")
    return count


def _window(n: View, kernel: list[int]) -> list[Axis]:
    """The spatial axes that a sliding window leaves."""
    space = n.axes(0)[2:]
    rank = len(space)
    if len(kernel) != rank:
        raise AxisError(f"a kernel of rank {len(kernel)} over {rank} spatial axes")
    strides, dilations = _ints(n, "strides", rank, 1), _ints(n, "dilations", rank, 1)
    pads, auto = _ints(n, "pads", 2 * rank, 0), n.attr("auto_pad", "NOTSET")
    ceil = n.attr("ceil_mode", 0) and n.node.op != "Conv"
    out = []
    for k, axis in enumerate(space):
        extent = (kernel[k] - 1) * dilations[k] + 1
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            size = -(-axis.size // strides[k])
        else:
            padded = axis.size + (pads[k] + pads[k + rank] if auto != "VALID" else 0)
            size = (math.ceil if ceil else math.floor)((padded - extent) / strides[k]) + 1
            if ceil and auto != "VALID" and (size - 1) * strides[k] >= axis.size + pads[k]:
                size -= 1  # the last window would start in the padding
        if size < 1 and n.space.is_dynamic(axis):
            size = axis.size  # a stand-in for a size that only the run will tell need not fit
        elif size < 1:
            raise AxisError(f"a window of {extent} does not fit {axis.size} positions")
        out.append(n.positions(size, (axis,)))
    return out


def _spread(n: View, kernel: list[int]) -> list[Axis]:
    """The spatial axes that a transposed convolution makes."""
    space = n.axes(0)[2:]
    rank = len(space)
    shape = n.attr("output_shape")
    if shape is not None:
        return [n.positions(int(s)) for s in shape[-rank:]]
    strides, dilations = _ints(n, "strides", rank, 1), _ints(n, "dilations", rank, 1)
    pads, extra = _ints(n, "pads", 2 * rank, 0), _ints(n, "output_padding", rank, 0)
    auto = n.attr("auto_pad", "NOTSET")
    out = []
    for k, axis in enumerate(space):
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            size = axis.size * strides[k]
        else:
            cut = pads[k] + pads[k + rank] if auto != "VALID" else 0
            size = (axis.size - 1) * strides[k] + extra[k] + (kernel[k] - 1) * dilations[k] + 1 - cut
        out.append(n.positions(size, (axis,)))
    return out


def _ints(n: View, name: str, count: int, default: int) -> Sequence[int]:
    found: Sequence[int] = n.attr(name) or (default,) * count
    return found

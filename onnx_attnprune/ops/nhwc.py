"""Operators of ONNX Runtime's own domain with channels last, as its optimisers write them for devices that like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onnx_attnprune.axes import ONE
from onnx_attnprune.ops.conv import conv, pool
from onnx_attnprune.ops.heads import MICROSOFT
from onnx_attnprune.ops.quantized import qlinear_conv
from onnx_attnprune.ops.recast import Recast
from onnx_attnprune.ops.registry import Effect, Tensor, View, rule

SPACE = "normalised over"


def channels_first(rank: int) -> tuple[int, ...]:
    """The order of axes that brings the last one behind the batch."""
    return (0, rank - 1, *range(1, rank - 1))


def channels_last(effect: Effect, rank: int) -> Effect:
    """An effect whose first result has its channels last."""
    first, *more = effect.outputs
    assert first.axes is not None
    order: Sequence[int] = (0, *range(2, rank), 1)
    return replace(effect, outputs=(replace(first, axes=tuple(first.axes[k] for k in order)), *more), linear=None)


@rule("NhwcConv", domain=MICROSOFT)
def nhwc_conv(n: View) -> Effect:
    """n ... (g i), (g o) ... i, (g o) -> n ... (g o)"""
    rank = len(n.axes(0))
    turned = {0: channels_first(rank), 1: channels_first(rank)}
    return channels_last(conv(Recast(n, (0, 1, 2), turned=turned)), rank)


@rule("QLinearConv", domain=MICROSOFT)
def nhwc_qlinear_conv(n: View) -> Effect:
    """ONNX's QLinearConv, with channels last where an attribute says so; the weight has them where ONNX has"""
    if not n.attr("channels_last", 0):
        return qlinear_conv(n)
    rank = len(n.axes(0))
    return channels_last(qlinear_conv(Recast(n, range(9), turned={0: channels_first(rank)})), rank)


@rule("NhwcMaxPool", domain=MICROSOFT)
def nhwc_max_pool(n: View) -> Effect:
    """n ... c -> n ... c: a window over space, each channel by itself; what stands for zero stays"""
    rank = len(n.axes(0))
    effect = channels_last(pool(Recast(n, (0,), turned={0: channels_first(rank)})), rank)
    (out,) = effect.outputs
    return replace(effect, outputs=(replace(out, rest=n.tensor(0).rest),))


@rule("GroupNorm", domain=MICROSOFT)
def group_norm(n: View) -> Effect:
    """n ... (g c), (g c), (g c) -> n ... (g c), or with channels behind the batch; whole groups may go"""
    return _normalised(n, n.tensor(0))


@rule("SkipGroupNorm", domain=MICROSOFT)
def skip_group_norm(n: View) -> Effect:
    """the same of a sum of two tensors and a bias, which is a result, too"""
    x, skip = n.axes(0), n.axes(3)
    at = _channel_axis(n)
    tied = ((0, 0), (1, at)) if len(skip) == 2 else tuple((k, k) for k in range(len(x)) if skip[k] != ONE)
    for one, other in tied:
        n.tie(skip[one], x[other])
    silent = n.tensor(0).silent and n.tensor(3).silent
    if n.has(4):
        n.tie(n.axes(4)[0], x[at])
        n.role(4, "bias")
        silent = silent and n.tensor(4).silent
    total = n.out(x, silent=silent and all(n.space.is_kept(a) for k, a in enumerate(x) if k != at))
    effect = _normalised(n, total)
    return replace(effect, outputs=(*effect.outputs, total)[: len(n.node.outputs)])


def _channel_axis(n: View) -> int:
    return len(n.axes(0)) - 1 if n.attr("channels_last", 1) else 1


def _normalised(n: View, x: Tensor) -> Effect:
    assert x.axes is not None
    at = _channel_axis(n)
    order = channels_first(len(x.axes)) if at > 1 else range(len(x.axes))
    v, _ = Recast(n, (0, 1, 2), turned={0: order}).unify("n (g c) ..., (g c), (g c)", g=n.integer("groups"))
    n.keep(v["c"], "normalised over within a group")
    n.keep([a for k, a in enumerate(x.axes) if k not in (0, at)], SPACE)
    n.role(1, "scale")
    n.role(2, "bias")
    silent = n.tensor(1).silent and n.tensor(2).silent  # both activations pass zero
    return Effect((n.out(x.axes, silent=silent),), {"groups": v["g"]})

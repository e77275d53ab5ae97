"""Normalisations: per channel they let channels go, over channels they keep them."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_attnprune.axes import Axis
from onnx_attnprune.ops.registry import Effect, Tensor, View, rule


@rule("BatchNormalization")
def batch_norm(n: View) -> Effect:
    """n c ..., c, c, c, c -> n c ..."""
    v, _ = n.unify("n c ..., c, c, c, c -> n c")
    for place, role in ((1, "scale"), (2, "bias"), (3, "mean"), (4, "variance")):
        n.role(place, role)
    if n.attr("training_mode", 0):
        n.keep((n.axes(0)[0], *n.axes(0)[2:]), "normalised over")
    stat = Tensor((v["c"],), n.tensor(3).dtype)
    return Effect((n.out(n.axes(0), silent=_scaled(n)), *[stat] * (len(n.node.outputs) - 1)))


@rule("InstanceNormalization")
def instance_norm(n: View) -> Effect:
    """n c ..., c, c -> n c ..."""
    n.unify("n c ..., c, c -> n c")
    n.role(1, "scale")
    n.role(2, "bias")
    n.keep(n.axes(0)[2:], "normalised over")
    return Effect((n.out(n.axes(0), silent=_scaled(n)),))


@rule("GroupNormalization")
def group_norm(n: View) -> Effect:
    """n (g c) ..., (g c), (g c) -> n (g c) ...; whole groups may go (before opset 21: scales are per group)"""
    per = "(g c)" if n.opset >= 21 else "g"
    v, _ = n.unify(f"n (g c) ..., {per}, {per} -> n (g c)", g=n.integer("num_groups"))
    n.keep(v["c"], "normalised over within a group")
    n.keep(n.axes(0)[2:], "normalised over")
    n.role(1, "scale")
    n.role(2, "bias")
    return Effect((n.out(n.axes(0), silent=_scaled(n)),), {"num_groups": v["g"]})


@rule("LayerNormalization", "RMSNormalization")
def layer_norm(n: View) -> Effect:
    """normalised over the axes from `axis` on, which are kept"""
    x = n.axes(0)
    axis = n.axis_attr("axis", len(x), -1)
    for place in range(1, len(n.node.inputs)):
        if n.has(place):
            for one, other in zip(reversed(n.axes(place)), reversed(x), strict=False):
                if one.size != 1:
                    n.tie(one, other)
    n.keep(x[axis:], "normalised over")
    stat = n.out((*x[:axis], *(n.positions(1) for _ in x[axis:])))
    silent = n.tensor(0).silent and (not n.has(2) or all(n.space.is_kept(a) for a in x[:axis]))
    return Effect((n.out(x, silent=silent), *[stat] * (len(n.node.outputs) - 1)))


@rule("LRN")
def lrn(n: View) -> Effect:
    """n c ... -> n c ...; each channel divided by its neighbours' energy, so channels are kept"""
    n.keep(n.axes(0)[1:2], "normalised over neighbouring channels")
    return Effect((n.like(),))


@rule("LpNormalization")
def lp_norm(n: View) -> Effect:
    """divided by the norm over `axis`, to which silent channels add nothing: that width goes where a user names it"""
    x = n.axes(0)
    over = x[n.axis_attr("axis", len(x), -1)]
    if not n.tensor(0).silent:
        n.keep(over, "normalised over")
    # Of all zeros it makes zeros, not numbers that are not finite.
    return Effect((n.like(),), spared=((over, "a norm runs over it"),))


@rule("MeanVarianceNormalization")
def mean_variance_norm(n: View) -> Effect:
    """normalised over `axes`; all is kept, because a silenced channel has no variance to divide by"""
    effect = _over(n, n.attr("axes", (0, 2, 3)))
    n.keep(n.axes(0), "divided by a variance, which a silenced channel has none of")
    return effect


@rule("Softmax", "LogSoftmax", "Hardmax")
def softmax(n: View) -> Effect:
    """normalised over `axis`, which is kept (before opset 13: over it and all that follow)"""
    x = n.axes(0)
    axis = n.axis_attr("axis", len(x), -1 if n.opset >= 13 else 1)
    return _over(n, [axis] if n.opset >= 13 else range(axis, len(x)))


def _over(n: View, axes: Sequence[int]) -> Effect:
    x: tuple[Axis, ...] = n.axes(0)
    n.keep([x[k] for k in axes], "normalised over")
    return Effect((n.out(x),))


def _scaled(n: View) -> bool:
    # Zero scale and zero shift make a channel zero, whatever it was.
    return n.tensor(1).silent and n.tensor(2).silent

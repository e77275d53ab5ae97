"""Operators of ONNX Runtime's own domain that its optimiser and its exporters put in the place of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onnx_attnprune.axes import Axis, product
from onnx_attnprune.errors import AxisError
from onnx_attnprune.ops.conv import conv
from onnx_attnprune.ops.heads import MICROSOFT, PLACE
from onnx_attnprune.ops.linear import gemm, matmul
from onnx_attnprune.ops.norm import layer_norm
from onnx_attnprune.ops.recast import Recast
from onnx_attnprune.ops.registry import Effect, Linear, Tensor, View, rule

THROUGH_ZERO = {"", "Relu", "Tanh", "LeakyRelu", "Elu", "Selu", "Softsign", "ThresholdedRelu", "HardSwish", "Gelu"}

rule("SimplifiedLayerNormalization")(layer_norm)


# ---------------------------------------------------------------- products
@rule("FusedMatMul", "TransposeMatMul", domain=MICROSOFT)
def fused_matmul(n: View) -> Effect:
    """... m k, ... k n -> ... m n, each operand first transposed by its attributes"""
    turned = {}
    for place, side in ((0, "A"), (1, "B")):
        order = list(range(len(n.axes(place))))
        if n.attr(f"transBatch{side}", 0):
            order = [*order[1:-1], order[0], order[-1]]
        if n.attr(f"trans{side}", 0) and len(order) > 1:
            order = [*order[:-2], order[-1], order[-2]]
        turned[place] = order
    effect = matmul(Recast(n, (0, 1), turned=turned))
    if effect.linear is None or turned[1] == [0, 1]:
        return effect
    return replace(effect, linear=Linear(0, 1, None, out=0, into=1))


@rule("FusedConv", domain=MICROSOFT)
def fused_conv(n: View) -> Effect:
    """a convolution, plus a tensor of the result's shape, through an activation"""
    effect = conv(n)
    (out,) = effect.outputs
    silent = out.silent and _passes_zero(n)
    if n.has(3):
        for one, other in zip(out.axes or (), n.axes(3), strict=True):
            n.tie(one, other)
        silent = silent and n.tensor(3).silent
    return replace(effect, outputs=(replace(out, silent=silent),))


@rule("FusedGemm", domain=MICROSOFT)
def fused_gemm(n: View) -> Effect:
    """a Gemm through an activation"""
    effect = gemm(n)
    (out,) = effect.outputs
    return replace(effect, outputs=(replace(out, silent=out.silent and _passes_zero(n)),))


def _passes_zero(n: View) -> bool:
    name, params = n.attr("activation", ""), n.attr("activation_params", ())
    if name == "Clip":
        return len(params) == 2 and bool(params[0] <= 0 <= params[1])
    return name in THROUGH_ZERO


@rule("GemmFastGelu", domain=MICROSOFT)
def gemm_fast_gelu(n: View) -> Effect:
    """... k, k n, n -> ... n: a product by a weight, a bias, an activation that passes zero"""
    effect = matmul(Recast(n, (0, 1)))
    (out,) = effect.outputs
    assert out.axes is not None
    silent = out.silent
    if n.has(2):
        n.tie(n.axes(2)[0], out.axes[-1])
        n.role(2, "bias")
        silent = silent and n.tensor(2).silent and n.spans(2, out.axes)
    return replace(effect, outputs=(replace(out, silent=silent),), linear=None)


@rule("MatMulBnb4", domain=MICROSOFT)
def matmul_bnb4(n: View) -> Effect:
    """... k, (n blocks bytes), (n blocks) -> ... n; of k, whole blocks may go: k = (blocks size)"""
    x, width = n.axes(0), n.integer("block_size")
    columns, length = n.integer("N"), n.integer("K")
    if not n.attr("transB", 1) or length % width or x[-1].size != length:
        n.keep([x[-1], *n.axes(1), *n.axes(2)], "blocks that lie across columns")
        out = (*x[:-1], n.space.var(columns, n.reason("blocks that lie across columns")))
        return Effect((n.out(out),), macs=((*out, x[-1]),))
    v, _ = n.unify("..., (n blocks bytes), (n blocks)", n=columns, blocks=length // width)
    within = n.space.var(width, n.reason("the channels of one block share a scale"))
    n.tie(x[-1], product((v["blocks"], within)))
    n.keep(v["bytes"], "several channels share a byte")
    n.role(1, "producer")
    n.role(2, "scale")
    if not (n.tensor(0).silent or n.tensor(2).silent):
        n.keep(x[-1], "summed over, where a removed channel would not be zero")
    out = (*x[:-1], v["n"])
    silent = n.tensor(2).silent and all(n.space.is_kept(a) for a in x[:-1])
    return Effect((n.out(out, silent=silent),), {"N": v["n"], "K": x[-1]}, macs=((*out, x[-1]),))


@rule("MatMulNBits", domain=MICROSOFT)
def matmul_n_bits(n: View) -> Effect:
    """... k, n blocks bytes, (n blocks), (n packed), , n -> ... n; of k, whole blocks may go: k = (blocks size)

    A removed column or block has scales of zero, so it adds nothing, whatever its packed numbers say.
    """
    x, (columns, blocks, packed) = n.axes(0), n.axes(1)
    width = n.integer("block_size")
    n.keep(packed, "several channels share a byte")
    if x[-1].size == blocks.size * width:
        within = n.space.var(width, n.reason("the channels of one block share a scale"))
        n.tie(x[-1], product((blocks, within)))
    else:
        n.keep([x[-1], blocks], "a last block that is not full")
    _tie_flat(n, 2, columns, blocks)
    if n.has(3):
        if n.tensor(3).dtype == n.tensor(2).dtype:
            _tie_flat(n, 3, columns, blocks)
        else:
            row = n.space.var(_count(n, 3) // columns.size, n.reason("several zero points share a byte"))
            n.keep(blocks, "several zero points share a byte")
            _tie_flat(n, 3, columns, row)
    if n.has(4):
        n.keep([x[-1], blocks, *n.axes(4)], "blocks in an order of their own")
    if n.has(5):
        n.tie(n.axes(5)[0], columns)
        n.role(5, "bias")
    n.role(1, "producer", "consumer")
    n.role(2, *["scale"] * len(n.axes(2)))
    silent = n.tensor(2).silent and (not n.has(5) or n.tensor(5).silent)
    if not (n.tensor(0).silent or n.tensor(2).silent):
        n.keep(x[-1], "summed over, where a removed channel would not be zero")
    out = (*x[:-1], columns)
    rows_silent = all(n.space.is_kept(a) for a in x[:-1])
    return Effect((n.out(out, silent=silent and rows_silent),), {"N": columns, "K": x[-1]}, macs=((*out, x[-1]),))


def _tie_flat(n: View, place: int, columns: Axis, row: Axis) -> None:
    """An operand with one number for each block of each column, in one axis or in two."""
    axes = n.axes(place)
    if len(axes) == 2:
        n.tie(axes[0], columns)
        n.tie(axes[1], row)
    else:
        n.tie(product(axes), product((columns, row)))


def _count(n: View, place: int) -> int:
    return product(n.axes(place)).size


# ---------------------------------------------------------------- activations
@rule("Gelu", "QuickGelu", "ScaledSiLU", domain=MICROSOFT)
def gelu(n: View) -> Effect:
    """... -> ...; zero at zero"""
    return Effect((n.like(),))


@rule("BiasGelu", "FastGelu", domain=MICROSOFT)
def bias_gelu(n: View) -> Effect:
    """... c, c -> ... c; zero at zero"""
    x, silent = n.axes(0), n.tensor(0).silent
    if n.has(1):
        n.tie(n.axes(1)[0], x[-1])
        n.role(1, "bias")
        silent = silent and n.tensor(1).silent and n.spans(1, x)
    return Effect((n.out(x, silent=silent),))


@rule("BiasSplitGelu", domain=MICROSOFT)
def bias_split_gelu(n: View) -> Effect:
    """... (two c), (two c) -> ... c: one half times the activation of the other; zero at zero"""
    v, _ = n.unify("... (two c), (two c)", two=2)
    n.keep(v["two"], "two halves")
    n.role(1, "bias")
    x = n.axes(0)
    silent = n.tensor(0).silent and n.tensor(1).silent and n.spans(1, x)
    return Effect((n.out((*x[:-1], v["c"]), silent=silent),))


@rule("BiasAdd", domain=MICROSOFT)
def bias_add(n: View) -> Effect:
    """... c, c, ... c -> ... c: a sum of three"""
    out = n.broadcast(0, 1, 2)
    n.role(1, "bias")
    return Effect((n.out(out, silent=all(n.tensor(k).silent and n.spans(k, out) for k in (0, 1, 2))),))


# ---------------------------------------------------------------- normalisations
@rule("BiasSoftmax", domain=MICROSOFT)
def bias_softmax(n: View) -> Effect:
    """a sum of two, normalised over `axis` and all that follow, which are kept"""
    x = n.axes(0)
    n.keep(x[n.axis_attr("axis", len(x), 1) :], "normalised over")
    n.broadcast(0, 1)
    n.role(1, *["bias"] * len(n.axes(1)))
    return Effect((n.out(x),))


@rule("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_layer_norm(n: View) -> Effect:
    """... c, ... c, c, c, c -> ... c: a sum of two tensors, normalised over its last axis, which is kept"""
    out = n.broadcast(0, 1)
    vectors = (2, 3, 4) if n.node.op == "SkipLayerNormalization" else (2, 3)
    for place in vectors:
        if n.has(place):
            n.tie(n.axes(place)[0], out[-1])
    n.keep(out[-1], "normalised over")
    shift, bias = (vectors[1] if len(vectors) == 3 else None), vectors[-1]
    rows = all(n.space.is_kept(a) for a in out[:-1])
    added = _all_silent(n, out) and (rows or not n.has(bias))
    silent = added and (rows or shift is None or not n.has(shift))
    stat = n.out((*out[:-1], n.positions(1)), dtype=1)
    results = (n.out(out, silent=silent), stat, stat, n.out(out, silent=added))
    return Effect(results[: len(n.node.outputs)])


def _all_silent(n: View, out: Sequence[Axis]) -> bool:
    return all(n.tensor(place).silent and n.spans(place, out) for place in (0, 1))


@rule("EmbedLayerNormalization", domain=MICROSOFT)
def embed_layer_norm(n: View) -> Effect:
    """b s, b s, v c, p c, t c, c, c -> b s c: a sum of looked-up rows, normalised over its last axis, which is kept"""
    tables = [place for place in (2, 3, 4) if n.has(place)]
    width = n.axes(2)[1]
    for place in tables:
        rows, columns = n.axes(place)
        n.keep(rows, "rows that are looked up by number")
        n.tie(columns, width)
        n.role(place, "", "producer")
    for place in (5, 6):
        if n.has(place):
            n.tie(n.axes(place)[0], width)
    n.keep(width, "normalised over")
    for place in (0, 1, 7, 8):
        if n.has(place):
            n.keep(n.axes(place), PLACE)
    if len(n.axes(0)) != 2:
        raise AxisError("token numbers that are not of rank 2")
    out = n.out((*n.axes(0), width), dtype=n.tensor(2).dtype)
    results = (out, Tensor((n.axes(0)[0],), n.tensor(0).dtype), out)
    return Effect(results[: len(n.node.outputs)])

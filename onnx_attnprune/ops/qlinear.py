"""Quantised operators of ONNX Runtime's own domain; what stands for zero is told as in `quantized`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onnx_attnprune.axes import Axis, concat
from onnx_attnprune.ops.attention import fused_attention
from onnx_attnprune.ops.contrib import embed_layer_norm
from onnx_attnprune.ops.conv import global_pool, pool
from onnx_attnprune.ops.heads import MICROSOFT
from onnx_attnprune.ops.linear import gemm, matmul
from onnx_attnprune.ops.nhwc import channels_first, channels_last
from onnx_attnprune.ops.quantized import (
    INT32,
    NOUGHT,
    integer_product,
    is_silenced,
    quantised,
    range_is_free,
    rests,
    stored_at_rest,
    tie_vector,
    uniform,
    zero_of,
)
from onnx_attnprune.ops.recast import Recast
from onnx_attnprune.ops.recurrent import recurrent
from onnx_attnprune.ops.registry import Effect, View, rule

FLOAT = 1


def _at_zero(n: View, place: int) -> bool:
    """True where a removed channel of the operand, whose scale and zero point follow it, stands for zero."""
    return rests(n, place, zero_of(n, place + 2))


def _result(n: View, axes: Sequence[Axis], silent: bool, zero_point: int, like: int = 0) -> Effect:
    out = replace(n.out(axes), dtype=n.tensor(like).dtype)
    return Effect((quantised(out, zero_of(n, zero_point), silent),))


@rule("QLinearAdd", "QLinearMul", domain=MICROSOFT)
def qlinear_binary(n: View) -> Effect:
    """two quantised operands broadcast together; a sum is at zero where both are, a product where either is"""
    out = n.broadcast(0, 3)
    each = [_at_zero(n, place) and n.spans(place, out) for place in (0, 3)]
    for place in (0, 3):
        if n.is_weight(place):
            n.role(place, *["bias" if n.node.op == "QLinearAdd" else "scale"] * len(n.axes(place)))
    return _result(n, out, all(each) if n.node.op == "QLinearAdd" else any(each), 7)


@rule("QLinearLeakyRelu", "QLinearSigmoid", domain=MICROSOFT)
def qlinear_unary(n: View) -> Effect:
    """... -> ...; a sigmoid is not zero at zero"""
    return _result(n, n.axes(0), n.node.op != "QLinearSigmoid" and _at_zero(n, 0), 4)


@rule("QLinearSoftmax", domain=MICROSOFT)
def qlinear_softmax(n: View) -> Effect:
    """normalised over `axis`, which is kept (before opset 13: over it and all that follow)"""
    x = n.axes(0)
    axis = n.axis_attr("axis", len(x), -1)
    n.keep(x[axis:] if int(n.attr("opset", 13)) < 13 else x[axis], "normalised over")
    return _result(n, x, False, 4)


@rule("QLinearAveragePool", "QLinearGlobalAveragePool", domain=MICROSOFT)
def qlinear_pool(n: View) -> Effect:
    """n c ... -> n c ..., or channels last: a mean over space, each channel by itself"""
    rank, last = len(n.axes(0)), bool(n.attr("channels_last", 0))
    seen = Recast(n, (0,), turned={0: channels_first(rank)}) if last else n
    effect = pool(seen) if n.node.op == "QLinearAveragePool" else global_pool(seen)
    (out,) = (channels_last(effect, rank) if last else effect).outputs
    return _result(n, out.axes or (), _at_zero(n, 0), 4)


@rule("QLinearWhere", domain=MICROSOFT)
def qlinear_where(n: View) -> Effect:
    """a condition and two quantised operands broadcast together; at zero where both are"""
    out = n.broadcast(0, 1, 4)
    return _result(n, out, all(_at_zero(n, place) and n.spans(place, out) for place in (1, 4)), 8, like=1)


@rule("QLinearConcat", domain=MICROSOFT)
def qlinear_concat(n: View) -> Effect:
    """one axis is the concatenation of the operands', each with its scale and zero point; the others are the same"""
    places = range(2, len(n.node.inputs), 3)
    parts = [n.axes(place) for place in places]
    at = n.axis_attr("axis", len(parts[0]), 1)
    for other in parts[1:]:
        for k, (one, two) in enumerate(zip(parts[0], other, strict=True)):
            if k != at:
                n.tie(one, two)
    axes = (*parts[0][:at], concat(p[at] for p in parts), *parts[0][at + 1 :])
    return _result(n, axes, all(_at_zero(n, place) for place in places), 1, like=2)


@rule("QGemm", domain=MICROSOFT)
def qgemm(n: View) -> Effect:
    """a Gemm of quantised numbers; its result is quantised too where it has a scale, else of floats"""
    zero = [zero_of(n, place) for place in (2, 5)]
    effect = gemm(Recast(n, (0, 3, 6), silent={0: rests(n, 0, zero[0]), 1: rests(n, 3, zero[1])}))
    tie_vector(n, n.axes(3)[0 if n.attr("transB", 0) else 1], 4, 5)
    (out,) = effect.outputs
    # The bias is in units of both scales, so that a scale of zero silences it as well.
    silent = is_silenced(n, 4) or (out.silent and uniform(n, 5, zero[1]))
    linear = effect.linear and replace(effect.linear, weight=3, bias=6, zeros=(2, 5))
    if n.has(7):
        return replace(effect, outputs=(quantised(out, zero_of(n, 8), silent, n.tensor(8).dtype),), linear=linear)
    return replace(effect, outputs=(replace(out, dtype=FLOAT, silent=silent),), linear=linear)


@rule("MatMulInteger16", domain=MICROSOFT)
def matmul_integer16(n: View) -> Effect:
    """... m k, ... k n -> ... m n, of integers of 16 bits"""
    effect = matmul(n)
    (out,) = effect.outputs
    return replace(effect, outputs=(replace(out, dtype=INT32),), linear=None)


@rule("MatMulIntegerToFloat", domain=MICROSOFT)
def matmul_integer_to_float(n: View) -> Effect:
    """... m k, ... k n -> ... m n of integers less their zero points, scaled, plus a bias"""
    effect = integer_product(n, rests(n, 0, zero_of(n, 4)), rests(n, 1, zero_of(n, 5)), zeros=(4, 5))
    return _to_float(n, effect, scale=3, bias=6)


@rule("DynamicQuantizeMatMul", domain=MICROSOFT)
def dynamic_quantize_matmul(n: View) -> Effect:
    """... m k quantised by its range, ... k n -> ... m n, scaled, plus a bias"""
    nowhere = len(n.node.inputs)  # the zero point of the first operand is found at run time
    effect = integer_product(n, range_is_free(n, 0), rests(n, 1, zero_of(n, 3)), zeros=(nowhere, 3))
    return _to_float(n, effect, scale=2, bias=4)


def _to_float(n: View, effect: Effect, scale: int, bias: int) -> Effect:
    """The float result of an integer product: scaled by columns, and shifted."""
    (out,) = effect.outputs
    assert out.axes is not None
    tie_vector(n, out.axes[-1], scale)
    rows = all(n.space.is_kept(axis) for axis in out.axes[:-1])
    silent = out.silent or (rows and is_silenced(n, scale))
    if n.has(bias):
        n.tie(n.axes(bias)[0], out.axes[-1])
        n.role(bias, "bias")
        silent = silent and rows and n.tensor(bias).silent
    return replace(effect, outputs=(replace(out, dtype=FLOAT, silent=silent),))


# ---------------------------------------------------------------- layers of transformers
@rule("QAttention", domain=MICROSOFT)
def qattention(n: View) -> Effect:
    """com.microsoft's Attention of quantised numbers: b q i, i (3 h d), (3 h d), scales for all or for each column"""
    zero, rows = [zero_of(n, place) for place in (6, 7)], n.axes(1)[0]
    quiet = {0: rests(n, 0, zero[0]), 1: stored_at_rest(n, 1, zero[1]) and uniform(n, 7, zero[1], 4)}
    if not (quiet[0] or quiet[1]):
        n.keep(rows, "summed over, where a removed channel would not be zero")
    # A column with a scale of its own is silent whatever it holds; a row is not.
    quiet[1] = quiet[1] or (is_silenced(n, 4) and n.space.is_kept(rows))
    effect = fused_attention(Recast(n, (0, 1, 2, 5, 8), silent=quiet))
    tie_vector(n, n.axes(1)[1], 4, 7)
    attended, *state = effect.outputs
    sizes = effect.attrs["qkv_hidden_sizes"]
    assert isinstance(sizes, tuple)
    assert sizes[0] is not None
    assert sizes[2] is not None
    n.tie(sizes[0], sizes[2])  # there is no attribute for another size of the values
    results = (replace(attended, dtype=FLOAT), *(replace(s, dtype=FLOAT) for s in state))
    return replace(effect, outputs=results, attrs={"num_heads": effect.attrs["num_heads"]}, linear=None)


@rule("QEmbedLayerNormalization", domain=MICROSOFT)
def qembed_layer_norm(n: View) -> Effect:
    """EmbedLayerNormalization of quantised tables: the width that it normalises over is kept"""
    effect = embed_layer_norm(Recast(n, range(8)))
    first, *more = effect.outputs
    return replace(effect, outputs=(replace(first, dtype=FLOAT), *more))


@rule("DynamicQuantizeLSTM", domain=MICROSOFT)
def dynamic_quantize_lstm(n: View) -> Effect:
    """an LSTM of weights d i (4 h) and d h (4 h) as integers, whose input and state are quantised by their range"""
    range_is_free(n, 0)
    # Weights less a zero point of their own: 0 silences them where that is 0, or where each column has a scale (and not
    # each direction only).
    quiet = {
        k: zero_of(n, place + 1) == NOUGHT or (len(n.axes(place)) == 2 and is_silenced(n, place))
        for k, place in ((1, 8), (2, 10))
    }
    effect = recurrent(
        Recast(n, range(8), silent=quiet, turned={1: (0, 2, 1), 2: (0, 2, 1)}),
        gates=4, states=2, through=(1, 2), default=("Sigmoid", "Tanh", "Tanh"),
    )  # fmt: skip  # one call
    for weight, place in ((1, 8), (2, 10)):
        for one in (place, place + 1):
            for axis, other in zip(n.axes(one), (n.axes(weight)[0], n.axes(weight)[2]), strict=False):
                n.tie(axis, other)
            n.role(one, "", "scale")
    if not effect.outputs[0].silent:
        n.keep(effect.attrs["hidden_size"], "quantised by the range of all units")  # type: ignore[arg-type]  # one axis
    return replace(effect, linear=None)

"""Attention of ONNX Runtime's own domain in rarer forms: without padding, step by step, with a gated position bias."""

from __future__ import annotations

from dataclasses import replace

from onnx_attnprune.axes import ONE, Axis, concat, product
from onnx_attnprune.errors import AxisError
from onnx_attnprune.ops.attention import multi_head_attention
from onnx_attnprune.ops.heads import MICROSOFT, PLACE, Heads, add_to_scores, default_scale, fused_heads, settle
from onnx_attnprune.ops.recast import Recast
from onnx_attnprune.ops.registry import Effect, Linear, View, rule

TOKENS = "tokens without padding, as many as the data has"


# ---------------------------------------------------------------- padding
@rule("RemovePadding", domain=MICROSOFT)
def remove_padding(n: View) -> Effect:
    """b s c, b -> t c: the tokens of all sequences in one row, and where they were"""
    batch, length, channels = n.axes(0)
    n.keep([batch, length, *n.axes(1)], PLACE)
    tokens = n.space.var(batch.size * length.size, n.reason(TOKENS), dynamic=True)
    number = n.tensor(1).dtype
    edges = n.space.var(batch.size + 1, n.reason(TOKENS), dynamic=n.space.is_dynamic(batch))
    results = (
        n.out((tokens, channels), silent=n.tensor(0).silent),
        n.out((batch, length), dtype=number),
        n.out((edges,), dtype=number),
        n.out((ONE,), dtype=number),
    )
    return Effect(results[: len(n.node.outputs)])


@rule("RestorePadding", domain=MICROSOFT)
def restore_padding(n: View) -> Effect:
    """t c, b s -> b s c: rows back in their places, zeros elsewhere"""
    tokens, channels = n.axes(0)
    n.keep([tokens, *n.axes(1)], PLACE)
    return Effect((n.out((*n.axes(1), channels), silent=n.tensor(0).silent),))


# ---------------------------------------------------------------- attention over packed tokens
@rule("PackedAttention", domain=MICROSOFT)
def packed_attention(n: View) -> Effect:
    """t i, i ((h d) + (h d) + (h e)), ((h d) + (h d) + (h e)) -> t (h e)"""
    columns, heads, size, value = fused_heads(n, 1)
    tokens, channels = n.axes(0)
    n.tie(channels, n.axes(1)[0])
    n.tie(n.axes(1)[1], columns)
    n.role(1, "consumer", "producer")
    if n.has(2):
        n.tie(n.axes(2)[0], columns)
        n.role(2, "bias")
    silent = n.tensor(1).silent and (not n.has(2) or n.tensor(2).silent)
    if not (n.tensor(0).silent or n.tensor(1).silent):
        n.keep(channels, "summed over, where a removed channel would not be zero")
    a = _packed(n, tokens, heads, size, value, loud=not silent, silent=silent)
    inner, outer = product((heads, size)), product((heads, value))
    attrs: dict[str, Axis | tuple[Axis | None, ...]] = {"num_heads": heads, "qkv_hidden_sizes": (inner, inner, outer)}
    macs = ((tokens, channels, columns), *a.macs)
    linear = Linear(0, 1, 2, out=1, into=0, inner=True) if n.is_weight(1) else None
    result = n.out((tokens, outer), silent=silent)
    return Effect((result,), attrs, macs=macs, fixed=default_scale(n, size), linear=linear)


@rule("PackedMultiHeadAttention", domain=MICROSOFT)
def packed_multi_head_attention(n: View) -> Effect:
    """t (h d), t (h d), t (h e), ((h d) + (h d) + (h e)) -> t (h e); or packed: t h 3 d"""
    count = n.integer("num_heads")
    if len(n.axes(0)) == 4:
        v, _ = n.unify("t h three d")
        n.keep(v["three"], "query, key and value")
        v["e"] = v["d"]
        sources = (0, 0, 0)
    elif n.has(1) and n.has(2):
        v, _ = n.unify("t (h d), t (h d), t (h e)", h=count)
        sources = (0, 1, 2)
    else:
        raise AxisError("a query alone, which is not packed with key and value")
    heads, size, value = v["h"], v["d"], v["e"]
    silent = [n.tensor(place).silent and (not n.has(3) or n.tensor(3).silent) for place in sources]
    if n.has(3):
        n.tie(n.axes(3)[0], concat((product((heads, size)), product((heads, size)), product((heads, value)))))
        n.role(3, "bias")
    a = _packed(n, v["t"], heads, size, value, loud=not (silent[0] or silent[1]), silent=silent[2])
    out = n.out((v["t"], product((heads, value))), silent=silent[2])
    return Effect((out,), {"num_heads": heads}, macs=a.macs, fixed=default_scale(n, size))


def _packed(n: View, tokens: Axis, heads: Axis, size: Axis, value: Axis, *, loud: bool, silent: bool) -> Heads:
    """The heads of a row of tokens; behind place 2 stand (a bias,) offsets, edges, and what is added to the scores."""
    first = 3 if n.node.op == "PackedAttention" else 4
    for place in (first, first + 1):
        n.keep_operand(place, PLACE)
    a = Heads(ONE, heads, ONE, size, value, tokens, tokens, loud, silent)
    add_to_scores(n, first + 2, a)
    settle(n, a)
    return a


# ---------------------------------------------------------------- one step of a decoder
@rule("DecoderMaskedMultiHeadAttention", domain=MICROSOFT)
def decoder_attention(n: View) -> Effect:
    """as MultiHeadAttention, over one query and the keys of the past, which a shared buffer may hold"""
    effect = multi_head_attention(Recast(n, (0, 1, 2, 10, 3, 4, 5, 6, 7, 9)))
    attended, *states = effect.outputs
    if n.has(8):
        n.keep_operand(8, PLACE)
    assert attended.axes is not None
    for tensor in states[:2]:
        n.keep((tensor.axes or ())[-1:], "the head size of the kernel's own cache")
    if n.attr("past_present_share_buffer", 0) and n.has(5):
        states[:2] = [replace(state, axes=n.axes(place)) for state, place in zip(states[:2], (5, 6), strict=False)]
    return replace(effect, outputs=(attended, *states))


# ---------------------------------------------------------------- position bias
@rule("RelativePositionBias", domain=MICROSOFT)
def relative_position_bias(n: View) -> Effect:
    """buckets h, query length, key length -> 1 h q k"""
    buckets, heads = n.axes(0)
    n.keep(buckets, "rows that are looked up by number")
    n.role(0, "", "producer")
    lengths = []
    for place in (1, 2):
        value = n.value(place)
        known = None if value is None else n.sized(value.reshape(-1)[0])
        late: Axis = n.space.var(97, n.reason(PLACE), dynamic=True) if known is None else known
        n.keep(late, PLACE)
        lengths.append(late)
    return Effect((n.out((ONE, heads, *lengths), silent=n.tensor(0).silent),))


@rule("GatedRelativePositionBias", domain=MICROSOFT)
def gated_position_bias(n: View) -> Effect:
    """b s (h d), (h d), 1 h s s, d (2 u), (2 u), 1 h 1 1 -> b h s s: a bias for each head, gated by its query"""
    if n.has(6):
        raise AxisError("tokens without padding")
    v, _ = n.unify("b s (h d), (h d), one h s s, d u, u, one h one one", h=n.integer("num_heads"))
    n.keep([v["b"], v["s"]], PLACE)
    n.keep(v["u"], "gates, of which each half is summed")
    n.role(1, "bias")
    n.role(3, "consumer", "")
    if not ((n.tensor(0).silent and n.tensor(1).silent) or n.tensor(3).silent):
        n.keep(v["d"], "summed over, where a removed channel would not be zero")
    out = n.out((v["b"], v["h"], v["s"], v["s"]), silent=n.tensor(2).silent)
    return Effect((out,), {"num_heads": v["h"]})

"""Attention in one node: heads and head dims are two variables, ``(h d)``; where query heads share a key, ``(h r d)``.

A removed head is silent where its values are. A removed head dim adds nothing to the scores where the query's or the
key's channel is zero; the default scale, which is one over the root of the head size, is written down as it was.
"""

from __future__ import annotations

from onnx_attnprune.axes import ONE, Axis, concat, product
from onnx_attnprune.errors import AxisError
from onnx_attnprune.ops.heads import (
    MICROSOFT,
    PLACE,
    Heads,
    add_to_scores,
    default_scale,
    fused_heads,
    keep_all,
    quiet,
    settle,
)
from onnx_attnprune.ops.registry import Effect, Linear, Tensor, View, rule


# ---------------------------------------------------------------- ai.onnx
@rule("Attention")
def attention(n: View) -> Effect:
    """b q (h r d), b k (h d), b k (h e) -> b q (h r e); or b (h r) q d, b h k d, b h k e -> b (h r) q e"""
    flat = len(n.axes(0)) == 3
    a = _attention_heads(n, flat)
    add_to_scores(n, 3, a)
    keep_all(n, 6)
    settle(n, a)
    out = a.out if flat else (a.batch, a.all_heads, a.query, a.value_size)
    states = [n.out((a.batch, a.heads, a.key, size)) for size in (a.size, a.value_size)]
    results = (n.out(out, silent=quiet(n, a)), *states, n.out(a.scores))
    attrs = {"q_num_heads": a.all_heads, "kv_num_heads": a.heads} if flat else {}
    return Effect(results[: len(n.node.outputs)], attrs, macs=a.macs, fixed=default_scale(n, a.size))


def _attention_heads(n: View, flat: bool) -> Heads:
    if flat:
        count, queries = n.integer("kv_num_heads"), n.integer("q_num_heads")
    else:
        count, queries = n.axes(1)[1].size, n.axes(0)[1].size
    if queries % count:
        raise AxisError(f"{queries} query heads can't share {count} key heads")
    past = "b h p d, b h p e"
    pattern = "b q (h r d), b k (h d), b k (h e)" if flat else "b (h r) q d, b h k d, b h k e"
    v, _ = n.unify(f"{pattern}, ..., {past}", h=count, r=queries // count)
    n.keep(v["k"], PLACE)
    key = concat((v["p"], v["k"])) if n.has(4) else v["k"]
    silent = [n.tensor(k).silent and (not n.has(k + 3) or n.tensor(k + 3).silent) for k in (1, 2)]
    loud = not (n.tensor(0).silent or silent[0])
    return Heads(v["b"], v["h"], v["r"], v["d"], v["e"], v["q"], key, loud, silent[1])


@rule("RotaryEmbedding")
def rotary(n: View) -> Effect:
    """b s (h d) or b h s d, with s r and s r, where d holds r twice: in halves, or in pairs where interleaved"""
    return _rotary(n, caches=(1, 2), positions=3)


@rule("RotaryEmbedding", domain=MICROSOFT)
def rotary_microsoft(n: View) -> Effect:
    """the same, with the positions before the tables"""
    return _rotary(n, caches=(2, 3), positions=1)


def _rotary(n: View, caches: tuple[int, int], positions: int) -> Effect:
    x, half = n.axes(0), n.axes(caches[0])[-1]
    n.keep(x[0], "a sample, of which there are as many as rows of positions")
    n.tie(half, n.axes(caches[1])[-1])
    count, part = int(n.attr("num_heads", 0)), int(n.attr("rotary_embedding_dim", 0))
    if len(x) == 4:
        size = x[3]
        n.keep(x[2], PLACE)
    else:
        # Without a number of heads (com.microsoft only), the tables say how large a head is.
        width = x[2].size // count if count else 2 * half.size
        v, _ = n.unify("b s (h d)", d=width) if x[2].size % width == 0 else n.unify("b s d")
        size = v["d"]
        n.keep(v["s"], PLACE)
    rotated, _ = n.space.split(size, part or size.size)
    two = n.space.var(2, n.reason("the two halves of a rotation"))
    n.tie(rotated, product((half, two) if n.attr("interleaved", 0) else (two, half)))
    for place in caches:
        n.role(place, *[""] * (len(n.axes(place)) - 1), "scale")
        n.keep(n.axes(place)[:-1], PLACE)
    keep_all(n, positions)
    attrs: dict[str, Axis | tuple[Axis | None, ...]] = {}
    if count:
        attrs["num_heads"] = x[1] if len(x) == 4 else v["h"]
    if part:
        attrs["rotary_embedding_dim"] = rotated
    return Effect((n.like(),), attrs)


# ---------------------------------------------------------------- com.microsoft
@rule("Attention", domain=MICROSOFT)
def fused_attention(n: View) -> Effect:
    """b q i, i ((h d) + (h d) + (h e)), ((h d) + (h d) + (h e)) -> b q (h e)"""
    columns, heads, size, value = fused_heads(n, 1)
    v, _ = n.unify("b q i, i x, x")
    n.tie(v["x"], columns)
    inner, outer = product((heads, size)), product((heads, value))
    n.role(1, "consumer", "producer")
    if n.has(2):
        n.role(2, "bias")
    if n.attr("do_rotary", 0):
        n.keep([size, value], "rotated by tables of the kernel's own")
    silent = n.tensor(1).silent and (not n.has(2) or n.tensor(2).silent)
    if not (n.tensor(0).silent or n.tensor(1).silent):
        n.keep(v["i"], "summed over, where a removed channel would not be zero")
    keys, present = _state(n, v["b"], v["q"], heads, size, value)
    a = Heads(v["b"], heads, ONE, size, value, v["q"], keys, not silent, silent)
    add_to_scores(n, 5, a)
    keep_all(n, 3, 6)
    settle(n, a)
    results = (n.out(a.out, silent=quiet(n, a)), present)[: len(n.node.outputs)]
    attrs: dict[str, Axis | tuple[Axis | None, ...]] = {
        "num_heads": heads,
        "qkv_hidden_sizes": (inner, inner, outer),
    }
    macs = ((v["b"], v["q"], v["i"], n.axes(1)[1]), *a.macs)
    linear = Linear(0, 1, 2, out=1, into=0, inner=True) if n.is_weight(1) else None
    return Effect(results, attrs, macs=macs, fixed=default_scale(n, size), linear=linear)


def _state(n: View, batch: Axis, query: Axis, heads: Axis, size: Axis, value: Axis) -> tuple[Axis, Tensor]:
    """All keys' positions, and the present state, of keys and values in one tensor (so of one head size)."""
    keys = query
    if n.has(4):
        v, _ = n.unify("..., ..., ..., ..., two b h p d")
        n.keep([v["two"], v["p"]], PLACE)
        for one, other in ((v["b"], batch), (v["h"], heads), (v["d"], size)):
            n.tie(one, other)
        n.keep(query, PLACE)
        keys = concat((v["p"], query))
    if n.has(4) or len(n.node.outputs) > 1:
        n.tie(size, value)
    return keys, n.out((n.positions(2), batch, heads, keys, size))


@rule("MultiHeadAttention", domain=MICROSOFT)
def multi_head_attention(n: View) -> Effect:
    """b q (h d), b k (h d), b k (h e), ((h d) + (h d) + (h e)) -> b q (h e); or packed: b q h 3 d, b k h 2 d"""
    count = n.integer("num_heads")
    heads, size, value, key = _operand_axes(n, count)
    batch, query = n.axes(0)[:2]
    silent = [n.tensor(k if n.has(k) else 1 if n.has(1) and k else 0).silent for k in (0, 1, 2)]
    if n.has(3):
        n.tie(n.axes(3)[0], concat((product((heads, size)), product((heads, size)), product((heads, value)))))
        n.role(3, "bias")
        silent = [s and n.tensor(3).silent for s in silent]
    n.keep(key, PLACE)
    if len(n.axes(1 if n.has(1) else 0)) == 4 or n.has(6) or len(n.node.outputs) > 1:
        n.tie(size, value)  # the kernel holds the states of both in one shape
    for place, width in ((6, size), (7, value)):
        if n.has(place):
            _past(n, place, batch, heads, width)
            silent[place - 5] = silent[place - 5] and n.tensor(place).silent
    if n.has(6):
        key = concat((n.axes(6)[2], key))
    a = Heads(batch, heads, ONE, size, value, query, key, not (silent[0] or silent[1]), silent[2])
    add_to_scores(n, 5, a)
    keep_all(n, 4, 8, 9)
    settle(n, a)
    states = [n.out((batch, heads, key, width)) for width in (size, value)]
    results = (n.out(a.out, silent=quiet(n, a)), *states, n.out(a.scores))
    return Effect(results[: len(n.node.outputs)], {"num_heads": heads}, macs=a.macs, fixed=default_scale(n, size))


def _past(n: View, place: int, batch: Axis, heads: Axis, size: Axis) -> None:
    b, h, past, d = n.axes(place)
    for one, other in ((b, batch), (h, heads), (d, size)):
        n.tie(one, other)
    n.keep(past, PLACE)


def _operand_axes(n: View, count: int) -> tuple[Axis, Axis, Axis, Axis]:
    """Heads, head size of query and key, of value, and the keys' positions, however the operands are packed."""
    if len(n.axes(0)) == 5:
        v, _ = n.unify("b q h three d")
        n.keep(v["three"], "query, key and value")
        return v["h"], v["d"], v["d"], v["q"]
    if n.has(1) and len(n.axes(1)) == 5:
        v, _ = n.unify("b q (h d), b k h two d", h=count)
        n.keep(v["two"], "key and value")
        return v["h"], v["d"], v["d"], v["k"]
    if not (n.has(1) and n.has(2)):
        raise AxisError("a query alone, which is not packed with key and value")
    apart = "b h k d, b h k e" if len(n.axes(1)) == 4 else "b k (h d), b k (h e)"
    v, _ = n.unify(f"b q (h d), {apart}", h=count)
    return v["h"], v["d"], v["e"], v["k"]


@rule("GroupQueryAttention", domain=MICROSOFT)
def group_query_attention(n: View) -> Effect:
    """b q (h r d), b q (h d), b q (h d), past b h p d -> b q (h r d); or packed: b q ((h r d) + (h d) + (h d))"""
    count, queries = n.integer("kv_num_heads"), n.integer("num_heads")
    if queries % count:
        raise AxisError(f"{queries} query heads can't share {count} key heads")
    packed = not n.has(1)
    width = n.axes(0)[2].size // (queries + 2 * count if packed else queries)
    heads, repeat, size = n.space.var(count), n.space.var(queries // count), n.space.var(width)
    inner, outer = product((heads, size)), product((heads, repeat, size))
    n.tie(n.axes(0)[2], concat((outer, inner, inner)) if packed else outer)
    batch, query = n.axes(0)[:2]
    for place in (1, 2):
        if n.has(place):
            for one, other in zip(n.axes(place), (batch, query, inner), strict=True):
                n.tie(one, other)
    n.keep(size, "the head size of the kernel's own rotation and cache")
    past = n.axes(3)[2].size if n.has(3) else 0
    total = n.integers(6)
    present = past + query.size if total is None else max(past, int(total.reshape(-1)[0]))
    key: Axis = n.space.var(present, n.reason("positions with those of the past"), dynamic=True)
    silent = n.tensor(0 if packed else 2).silent
    for place in (3, 4):
        if n.has(place):
            _past(n, place, batch, heads, size)
            silent = silent and n.tensor(place).silent
    a = Heads(batch, heads, repeat, size, size, query, key, False, silent)
    add_to_scores(n, 10, a)
    if n.has(11):
        n.tie(n.axes(11)[0], a.all_heads)
    keep_all(n, 5, 6, 7, 8, 9, *range(12, len(n.node.inputs)))
    if n.has(12) or n.has(13):
        n.keep(heads, "a quantised cache")
    settle(n, a)
    state = n.out((batch, heads, key, size))
    results = (n.out(a.out, silent=quiet(n, a)), state, state, n.out(a.scores))
    attrs = {"num_heads": a.all_heads, "kv_num_heads": heads}
    return Effect(results[: len(n.node.outputs)], attrs, macs=a.macs)

"""Attention in one node, of ONNX and of ONNX Runtime: heads, head dims, shared keys, states, masks and rotations."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_attnprune import surgery
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import analyze
from tests.ops.build import microsoft
from tests.oracle import assert_exact, assert_kept, parse, told

# x [2, 7, 11]; 3 heads (or 3 key heads that 2 query heads share), of 4 for query and key and 5 for the value.
X, Y = "float[2, 7, 11] x", "float[A, B, C] y"
SHAPES = {"x": (2, 7, 11)}
APART = "q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv)"
WEIGHTS = "float[11, 12] wq, float[11, 12] wk, float[11, 15] wv, float[15, 6] wo"
GROUPED = "float[11, 24] wq, float[11, 12] wk, float[11, 15] wv, float[30, 6] wo"
END = "y = MatMul (t, wo)"


def assert_sizes(model: onnx.ModelProto, *free: int, shapes: dict[str, tuple[int, ...]] | None = None) -> None:
    """The groups have these sizes, and random cuts of them are exact."""
    found = assert_exact(model, shapes=SHAPES if shapes is None else shapes, seeds=(0, 1, 2, 3))
    assert sorted(g.size for g in found.groups) == sorted(free), told(found)


# ---------------------------------------------------------------- ai.onnx
@pytest.mark.parametrize("opset", [23, 24])
@pytest.mark.parametrize("attrs", ["", ", is_causal = 1", ", scale = 0.3", ", softcap = 2.0"])
def test_heads_and_head_dims_are_three_variables(opset: int, attrs: str) -> None:
    body = f"{APART} t = Attention <q_num_heads = 3, kv_num_heads = 3{attrs}> (q, k, v) {END}"
    assert_sizes(parse(f"g ({X}) => ({Y}) <{WEIGHTS}> {{ {body} }}", opset), 3, 4, 5)


def test_query_heads_that_share_a_key() -> None:
    body = f"{APART} t = Attention <q_num_heads = 6, kv_num_heads = 3> (q, k, v) {END}"
    assert_sizes(parse(f"g ({X}) => ({Y}) <{GROUPED}> {{ {body} }}", 23), 3, 2, 4, 5)


def test_multi_query() -> None:
    weights = "float[11, 24] wq, float[11, 4] wk, float[11, 5] wv, float[30, 6] wo"
    body = f"{APART} t = Attention <q_num_heads = 6, kv_num_heads = 1> (q, k, v) {END}"
    assert_sizes(parse(f"g ({X}) => ({Y}) <{weights}> {{ {body} }}", 23), 6, 4, 5)


def test_four_axes() -> None:
    body = f"""{APART} q1 = Reshape (q, sq) q2 = Transpose <perm = [0, 2, 1, 3]> (q1)
    k1 = Reshape (k, sk) k2 = Transpose <perm = [0, 2, 1, 3]> (k1)
    v1 = Reshape (v, sv) v2 = Transpose <perm = [0, 2, 1, 3]> (v1)
    a = Attention (q2, k2, v2) b = Transpose <perm = [0, 2, 1, 3]> (a) t = Reshape (b, st) {END}"""
    shapes = (
        "int64[4] sq = {0, 0, 6, 4}, int64[4] sk = {0, 0, 3, 4}, int64[4] sv = {0, 0, 3, 5}, int64[3] st = {0, 0, 30}"
    )
    assert_sizes(parse(f"g ({X}) => ({Y}) <{GROUPED}, {shapes}> {{ {body} }}", 23), 3, 2, 4, 5)


def test_a_mask_per_head_goes_with_its_head() -> None:
    body = f"{APART} t = Attention <q_num_heads = 3, kv_num_heads = 3> (q, k, v, m) {END}"
    assert_sizes(parse(f"g ({X}) => ({Y}) <{WEIGHTS}, float[3, 7, 7] m> {{ {body} }}", 23), 3, 4, 5)


def test_a_mask_for_all_heads() -> None:
    body = f"{APART} t = Attention <q_num_heads = 3, kv_num_heads = 3> (q, k, v, m) {END}"
    assert_sizes(parse(f"g ({X}) => ({Y}) <{WEIGHTS}, float[7, 7] m> {{ {body} }}", 23), 3, 4, 5)


def test_a_boolean_mask_per_head_keeps_the_heads() -> None:
    body = f"c = Cast <to = 9> (m) {APART} t = Attention <q_num_heads = 3, kv_num_heads = 3> (q, k, v, c) {END}"
    assert_sizes(parse(f"g ({X}) => ({Y}) <{WEIGHTS}, float[3, 7, 7] m> {{ {body} }}", 23), 4, 5)


def test_states_that_come_from_outside_are_kept() -> None:
    states = "float[2, 3, 8, 4] pk, float[2, 3, 8, 5] pv"
    body = f"{APART} t, nk, nv = Attention <q_num_heads = 6, kv_num_heads = 3> (q, k, v, , pk, pv) {END}"
    given = {**SHAPES, "pk": (2, 3, 8, 4), "pv": (2, 3, 8, 5)}
    model = parse(f"g ({X}, {states}) => ({Y}, float[A, B, C, D] nk) <{GROUPED}> {{ {body} }}", 23)
    assert_sizes(model, 2, shapes=given)  # two query heads a key head may still go


def test_stored_states_are_cut_with_their_heads() -> None:
    weights = f"{WEIGHTS}, float[2, 3, 8, 4] pk, float[2, 3, 8, 5] pv"
    body = f"{APART} t, nk, nv = Attention <q_num_heads = 3, kv_num_heads = 3> (q, k, v, , pk, pv) {END}"
    assert_sizes(parse(f"g ({X}) => ({Y}) <{weights}> {{ {body} }}", 23), 3, 4, 5)


def test_loud_query_and_key_keep_the_head_dims() -> None:
    body = f"""{APART} q1 = Exp (q) k1 = Exp (k)
    t = Attention <q_num_heads = 3, kv_num_heads = 3> (q1, k1, v) {END}"""
    model = parse(f"g ({X}) => ({Y}) <{WEIGHTS}> {{ {body} }}", 23)
    assert_sizes(model, 3, 5)
    # The axis holds heads, which are free, and head dims, which are not: it is not kept as a whole, but has a reason.
    analysis = analyze(Graph(model), SHAPES)
    (slot,) = (s for s in analysis.slots if s.tensor == "wq")
    assert any("summed over" in r.why and r.op == "Attention" for r in analysis.space.reasons(slot.axes[1]))


def test_a_shared_value_is_heard_in_a_removed_query_head() -> None:
    # 2 query heads a key head: with one of them removed the node still averages the values, so a sum would be off.
    body = f"{APART} t = Attention <q_num_heads = 6, kv_num_heads = 3> (q, k, v) y = ReduceSum (t, last)"
    model = parse(f"g ({X}) => ({Y}) <{GROUPED}, int64[1] last = {{-1}}> {{ {body} }}", 23)
    assert_sizes(model, 4)
    body = f"{APART} t = Attention <q_num_heads = 3, kv_num_heads = 3> (q, k, v) y = ReduceSum (t, last)"
    model = parse(f"g ({X}) => ({Y}) <{WEIGHTS}, int64[1] last = {{-1}}> {{ {body} }}", 23)
    assert_sizes(model, 3, 4, 5)


def test_macs() -> None:
    body = f"{APART} t = Attention <q_num_heads = 6, kv_num_heads = 3> (q, k, v) {END}"
    analysis = analyze(Graph(parse(f"g ({X}) => ({Y}) <{GROUPED}> {{ {body} }}", 23)), SHAPES)
    assert analysis.macs({}) == 2 * 7 * (11 * (24 + 12 + 15) + 30 * 6) + 2 * 6 * 7 * 7 * (4 + 5)


# ---------------------------------------------------------------- rotations: of 3 heads of 10, or of 6 of 10 dims
ROTATED = "float[11, 30] wq, float[11, 30] wk, float[11, 15] wv, float[15, 6] wo"
ANGLES = "int64[2, 7] at = {3, 1, 4, 1, 5, 2, 6, 5, 3, 5, 0, 7, 2, 3}"


def rotation(domain: str, attrs: str, half: int) -> str:
    op = f"{domain}RotaryEmbedding <num_heads = 3{attrs}>"
    tables = "(q, at, c, s) (k, at, c, s)" if domain else "(q, c, s, at) (k, c, s, at)"
    one, other = tables.split(") ")
    weights = f"{ROTATED}, float[9, {half}] c, float[9, {half}] s, {ANGLES}"
    attend = "Attention <q_num_heads = 3, kv_num_heads = 3> (q1, k1, v)"
    if domain:
        attend = "com.microsoft.MultiHeadAttention <num_heads = 3> (q1, k1, v)"
    return f"g ({X}) => ({Y}) <{weights}> {{ {APART} q1 = {op} {one}) k1 = {op} {other} t = {attend} {END} }}"


@pytest.mark.parametrize(("attrs", "half", "free"), [("", 5, [3, 5, 5]), (", interleaved = 1", 5, [3, 5, 5]),
                                                     (", rotary_embedding_dim = 6", 3, [3, 3, 4, 5])])  # fmt: skip
def test_rotation(attrs: str, half: int, free: list[int]) -> None:
    # Both dims of a pair go together, with their angle; what isn't rotated is a variable of its own.
    assert_sizes(parse(rotation("", attrs, half), 23), *free)


@pytest.mark.parametrize(("attrs", "half", "free"), [("", 5, [3, 5, 5]), (", interleaved = 1", 5, [3, 5, 5])])
def test_rotation_of_onnx_runtime(attrs: str, half: int, free: list[int]) -> None:
    assert_sizes(microsoft(rotation("com.microsoft.", attrs, half)), *free)


def test_rotation_without_a_number_of_heads() -> None:
    text = rotation("com.microsoft.", "", 5).replace("RotaryEmbedding <num_heads = 3>", "RotaryEmbedding")
    assert_sizes(microsoft(text), 3, 5, 5)


def test_rotation_of_four_axes_by_computed_angles() -> None:
    weights = "float[11, 30] wq, float[30, 6] wo, int64[4] sq = {0, 0, 3, 10}, int64[3] st = {0, 0, 30}, float[5] f"
    body = """q = MatMul (x, wq) q1 = Reshape (q, sq) q2 = Transpose <perm = [0, 2, 1, 3]> (q1)
    p = Mul (pos, f) c = Cos (p) s = Sin (p) r = RotaryEmbedding (q2, c, s)
    b = Transpose <perm = [0, 2, 1, 3]> (r) t = Reshape (b, st) y = MatMul (t, wo)"""
    model = parse(f"g ({X}, float[2, 7, 1] pos) => ({Y}) <{weights}> {{ {body} }}", 23)
    assert_sizes(model, 3, 5, shapes={**SHAPES, "pos": (2, 7, 1)})


# ---------------------------------------------------------------- com.microsoft
FUSED = "float[11, 39] w, float[39] b, float[15, 6] wo"


@pytest.mark.parametrize("attrs", ["", ", unidirectional = 1", ", scale = 0.2"])
def test_fused_attention_with_a_value_of_its_own_size(attrs: str) -> None:
    body = f"t = com.microsoft.Attention <num_heads = 3, qkv_hidden_sizes = [12, 12, 15]{attrs}> (x, w, b) {END}"
    assert_sizes(microsoft(f"g ({X}) => ({Y}) <{FUSED}> {{ {body} }}"), 3, 4, 5)


def test_fused_attention_of_equal_sizes_states_them_once_they_differ() -> None:
    weights = "float[11, 13] w0, float[13, 36] w, float[36] b, float[12, 6] wo"
    body = f"h = MatMul (x, w0) t = com.microsoft.Attention <num_heads = 3> (h, w, b) {END}"
    assert_sizes(microsoft(f"g ({X}) => ({Y}) <{weights}> {{ {body} }}"), 13, 3, 4, 4)


def test_fused_attention_with_masks() -> None:
    weights = f"{FUSED}, float[1, 3, 7, 7] m, int32[2] lengths = {{7, 4}}"
    op = "com.microsoft.Attention <num_heads = 3, qkv_hidden_sizes = [12, 12, 15]>"
    body = f"t = {op} (x, w, b, lengths, , m) {END}"
    assert_sizes(microsoft(f"g ({X}) => ({Y}) <{weights}> {{ {body} }}"), 3, 4, 5)


def test_fused_attention_with_its_state_as_an_output() -> None:
    weights = "float[11, 36] w, float[36] b, float[12, 6] wo"
    body = f"t, now = com.microsoft.Attention <num_heads = 3, unidirectional = 1> (x, w, b, , past) {END}"
    text = f"g ({X}, float[2, 2, 3, 8, 4] past) => ({Y}, float[A, B, C, D, E] now) <{weights}> {{ {body} }}"
    analysis = analyze(Graph(microsoft(text)), {**SHAPES, "past": (2, 2, 3, 8, 4)})
    assert not analysis.groups
    assert_kept(analysis, "w", 1, "", "graph input")


def test_a_stored_state_ties_the_head_sizes() -> None:
    weights = "float[11, 36] w, float[36] b, float[12, 6] wo, float[2, 2, 3, 8, 4] past"
    body = f"t, now = com.microsoft.Attention <num_heads = 3, unidirectional = 1> (x, w, b, , past) {END}"
    assert_sizes(microsoft(f"g ({X}) => ({Y}) <{weights}> {{ {body} }}"), 3, 4)


def test_multi_head_attention() -> None:
    body = f"{APART} t = com.microsoft.MultiHeadAttention <num_heads = 3> (q, k, v, b, , m) {END}"
    assert_sizes(microsoft(f"g ({X}) => ({Y}) <{WEIGHTS}, float[39] b, float[1, 3, 7, 7] m> {{ {body} }}"), 3, 4, 5)


def test_multi_head_attention_with_stored_states() -> None:
    weights = f"{WEIGHTS.replace('15', '12')}, float[2, 3, 8, 4] pk, float[2, 3, 8, 4] pv"
    body = f"{APART} t, nk, nv = com.microsoft.MultiHeadAttention <num_heads = 3> (q, k, v, , , , pk, pv) {END}"
    assert_sizes(microsoft(f"g ({X}) => ({Y}) <{weights}> {{ {body} }}"), 3, 4)


def test_cross_attention_over_a_stored_cache() -> None:
    weights = "float[11, 12] wq, float[2, 3, 8, 4] k, float[2, 3, 8, 4] v, float[12, 6] wo"
    body = f"q = MatMul (x, wq) t = com.microsoft.MultiHeadAttention <num_heads = 3> (q, k, v) {END}"
    assert_sizes(microsoft(f"g ({X}) => ({Y}) <{weights}> {{ {body} }}"), 3, 4)


# One new position a row, and 8 of the past; heads of 16, which is what the kernel's rotation takes.
GQA = "com.microsoft.GroupQueryAttention <num_heads = 6, kv_num_heads = 3"
ONE, ONE_SHAPE = "float[2, 1, 11] x", {"x": (2, 1, 11)}
CACHE = "float[2, 3, 9, 16] pk, float[2, 3, 9, 16] pv"
LENGTHS = "int32[2] seen = {8, 8}, int32[1] total = {9}, float[9, 8] c, float[9, 8] s"
SHARED = "float[11, 96] wq, float[11, 48] wk, float[11, 48] wv, float[96, 6] wo"


@pytest.mark.parametrize(("attrs", "more"), [("", ""), (", do_rotary = 1", ", c, s"), ("", ", , , , , sink")])
def test_group_query_attention_keeps_the_head_size(attrs: str, more: str) -> None:
    body = f"{APART} t, nk, nv = {GQA}{attrs}> (q, k, v, pk, pv, seen, total{more}) {END}"
    text = f"g ({ONE}) => ({Y}) <{SHARED}, {CACHE}, {LENGTHS}, float[6] sink> {{ {body} }}"
    assert_sizes(microsoft(text), 3, 2, shapes=ONE_SHAPE)


def test_group_query_attention_with_its_cache_outside() -> None:
    body = f"{APART} t, nk, nv = {GQA}, do_rotary = 1> (q, k, v, pk, pv, seen, total, c, s) {END}"
    text = f"g ({ONE}, {CACHE}) => ({Y}, float[A, B, C, D] nk) <{SHARED}, {LENGTHS}> {{ {body} }}"
    assert_sizes(microsoft(text), 2, shapes={**ONE_SHAPE, "pk": (2, 3, 9, 16), "pv": (2, 3, 9, 16)})


def test_packed_group_query_attention() -> None:
    weights = f"float[11, 192] w, float[96, 6] wo, {CACHE}, {LENGTHS}"
    body = f"q = MatMul (x, w) t, nk, nv = {GQA}> (q, , , pk, pv, seen, total) {END}"
    assert_sizes(microsoft(f"g ({ONE}) => ({Y}) <{weights}> {{ {body} }}"), 3, 2, shapes=ONE_SHAPE)


def test_heads_that_don_t_fit_are_refused() -> None:
    body = f"t = com.microsoft.Attention <num_heads = 5> (x, w, b) {END}"
    analysis = analyze(Graph(microsoft(f"g ({X}) => ({Y}) <{FUSED}> {{ {body} }}")), SHAPES)
    assert not analysis.groups


def test_the_default_scale_is_written_only_where_the_head_size_changed() -> None:
    body = f"{APART} t = Attention <q_num_heads = 3, kv_num_heads = 3> (q, k, v) {END}"
    analysis = analyze(Graph(parse(f"g ({X}) => ({Y}) <{WEIGHTS}> {{ {body} }}", 23)), SHAPES)
    for group in analysis.groups:
        alive = {group.var.id: np.arange(group.size) > 0}
        node = next(n for n in surgery.prune(analysis, alive).graph.node if n.op_type == "Attention")
        scale = [a.f for a in node.attribute if a.name == "scale"]
        assert scale == ([0.5] if group.size == 4 else [])

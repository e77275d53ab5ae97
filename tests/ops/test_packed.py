"""Rarer forms of ONNX Runtime's attention; those for other devices run by their definitions in `build`."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import analyze
from tests.ops.build import Written, assert_sizes, microsoft

# x [2, 7, 11]: two sequences of seven tokens, none of them padding; 3 heads of 4, values of 5.
COUNT = {"count": [7, 7]}
INTO = "h = MatMul (x, p) t, offset, edges, longest = com.microsoft.RemovePadding (h, count)"
OUT = "z = com.microsoft.RestorePadding (u, offset) y = MatMul (z, v)"


def packed(body: str, weights: str, x: str = "float[2, 7, 11] x", **values: object) -> ModelProto:
    text = f"g ({x}) => (float[A, B, C] y) <float[11, 9] p, int32[2] count, {weights}> {{ {body} }}"
    return microsoft(text, {**COUNT, **values}, opset=18)


def test_padding_out_and_in_again() -> None:
    model = packed(f"{INTO} s = MatMul (t, w) u = Relu (s) {OUT}", "float[9, 6] w, float[6, 3] v")
    assert_sizes(model, 9, 6, runs=Written)


ATTENTION = "com.microsoft.PackedAttention <num_heads = 3, qkv_hidden_sizes = [12, 12, 15]>"
QKV = "float[9, 39] w, float[39] b"


def test_attention_without_padding() -> None:
    model = packed(f"{INTO} u = {ATTENTION} (t, w, b, offset, edges) {OUT}", f"{QKV}, float[15, 3] v")
    found = assert_sizes(model, 9, 3, 4, 5, runs=Written)
    assert {m.slot.tensor for g in found.groups if g.size == 3 for m in g.members} == {"w", "b", "v"}


def test_what_is_added_to_the_scores_goes_with_its_head() -> None:
    body = f"{INTO} u = {ATTENTION} (t, w, b, offset, edges, added) {OUT}"
    model = packed(body, f"{QKV}, float[1, 3, 14, 14] added, float[15, 3] v")
    found = assert_sizes(model, 9, 3, 4, 5, runs=Written)
    assert ("added", 1) in {(m.slot.tensor, m.axis) for g in found.groups if g.size == 3 for m in g.members}


def test_query_key_and_value_apart_without_padding() -> None:
    body = f"""{INTO} q = MatMul (t, wq) k = MatMul (t, wk) w = MatMul (t, wv)
    u = com.microsoft.PackedMultiHeadAttention <num_heads = 3> (q, k, w, b, offset, edges) {OUT}"""
    model = packed(body, "float[9, 12] wq, float[9, 12] wk, float[9, 15] wv, float[39] b, float[15, 3] v")
    assert_sizes(model, 9, 3, 4, 5, runs=Written)


def test_query_key_and_value_in_one_without_padding() -> None:
    body = f"""{INTO} q = MatMul (t, w) g = Reshape (q, grid)
    u = com.microsoft.PackedMultiHeadAttention <num_heads = 3> (g, , , , offset, edges) {OUT}"""
    model = packed(body, "float[9, 36] w, int64[4] grid = {-1, 3, 3, 4}, float[12, 3] v")
    analysis = analyze(Graph(model), {"x": (2, 7, 11)})  # the definition in `build` has three operands
    assert sorted(g.size for g in analysis.groups) == [3, 4, 9]


def test_loud_keys_keep_their_head_dims() -> None:
    body = f"""{INTO} q = MatMul (t, wq) q1 = Cos (q) k = MatMul (t, wk) k1 = Sigmoid (k) w = MatMul (t, wv)
    u = com.microsoft.PackedMultiHeadAttention <num_heads = 3> (q1, k1, w, b, offset, edges) {OUT}"""
    model = packed(body, "float[9, 12] wq, float[9, 12] wk, float[9, 15] wv, float[39] b, float[15, 3] v")
    assert_sizes(model, 9, 3, 5, runs=Written)


# ---------------------------------------------------------------- one step of a decoder
STEP = """q = MatMul (x, wq) k = MatMul (x, wk) w = MatMul (x, wv)
keys1 = Neg (keys) values1 = Neg (values)
t, pk, pv = com.microsoft.DecoderMaskedMultiHeadAttention <num_heads = 3, past_present_share_buffer = 1>
    (q, k, w, , , keys1, values1, three, , , b)
a = MatMul (t, v) turned = Transpose <perm = [0, 2, 1, 3]> (pv) rows = Reshape (turned, flat) s = MatMul (rows, u)
y = Add (a, s)"""


def test_one_step_of_a_decoder() -> None:
    weights = """float[11, 12] wq, float[11, 12] wk, float[11, 12] wv, float[2, 3, 6, 4] keys, float[2, 3, 6, 4] values,
    int32[1] three = {3}, float[36] b, float[12, 5] v, float[12, 5] u, int64[3] flat = {0, 0, 12}"""
    model = microsoft(f"g (float[2, 1, 11] x) => (float[A, B, C] y) <{weights}> {{ {STEP} }}")
    found = assert_sizes(model, 3)
    assert {"keys", "values", "b", "u"} <= {m.slot.tensor for g in found.groups for m in g.members}


# ---------------------------------------------------------------- position bias
def test_a_position_bias_for_each_head() -> None:
    body = """q = MatMul (x, wq) k = MatMul (x, wk) w = MatMul (x, wv)
    added = com.microsoft.RelativePositionBias <max_distance = 8> (table, seven, seven)
    t = com.microsoft.MultiHeadAttention <num_heads = 3> (q, k, w, , , added) y = MatMul (t, v)"""
    weights = """float[11, 12] wq, float[11, 12] wk, float[11, 15] wv, float[5, 3] table, int64 seven = {7},
    float[15, 6] v"""
    model = microsoft(f"g (float[2, 7, 11] x) => (float[A, B, C] y) <{weights}> {{ {body} }}", opset=18)
    found = assert_sizes(model, 3, 4, 5, runs=Written)
    assert ("table", 1, "producer") in {
        (m.slot.tensor, m.axis, m.role) for g in found.groups if g.size == 3 for m in g.members
    }


GATED = """q = MatMul (x, wq) {q1} k = MatMul (x, wk) w = MatMul (x, wv)
added = com.microsoft.GatedRelativePositionBias <num_heads = 3> (q{one}, shift, bias, gate, gb, eco)
t = com.microsoft.MultiHeadAttention <num_heads = 3> (q{one}, k, w, , , added) y = MatMul (t, v)"""


@pytest.mark.parametrize(("before", "free"), [("", (3, 4, 5)), ("q1 = Cos (q)", (3, 4, 5))])
def test_a_gated_position_bias(before: str, free: tuple[int, ...]) -> None:
    weights = """float[11, 12] wq, float[11, 12] wk, float[11, 15] wv, float[12] shift, float[1, 3, 7, 7] bias,
    float[4, 8] gate, float[8] gb, float[1, 3, 1, 1] eco, float[15, 6] v"""
    body = GATED.replace("{q1}", before).replace("{one}", "1" if before else "")
    model = microsoft(f"g (float[2, 7, 11] x) => (float[A, B, C] y) <{weights}> {{ {body} }}", opset=18)
    found = assert_sizes(model, *free, runs=Written)
    assert {m.slot.tensor for g in found.groups if g.size == 4 for m in g.members} == {"wq", "wk", "shift", "gate"}


def test_lengths_known_at_run_time() -> None:
    """The lengths come from the data: the bias is followed all the same."""
    body = """s = Shape <start = 1, end = 2> (x) l = Squeeze (s)
    added = com.microsoft.RelativePositionBias (table, l, l) r = Transpose <perm = [0, 2, 3, 1]> (added)
    y = MatMul (r, v)"""
    text = f"g (float[2, S, 11] x) => (float[A, B, C, D] y) <float[5, 3] table, float[3, 6] v> {{ {body} }}"
    analysis = analyze(Graph(microsoft(text, opset=18)), {"x": (2, 7, 11)})
    assert {g.name: g.size for g in analysis.groups} == {"table": 3}
    assert np.all([m.axis in (0, 1) for m in analysis.groups[0].members])


def test_gates_of_a_position_bias_stay_whole() -> None:
    """Their weight is a product of two, which gives its columns a role of their own; each half of them is summed."""
    weights = """float[11, 12] wq, float[11, 12] wk, float[11, 15] wv, float[12] shift, float[1, 3, 7, 7] bias,
    float[4, 2] g1, float[2, 8] g2, float[8] gb, float[1, 3, 1, 1] eco, float[15, 6] v"""
    body = "gate = MatMul (g1, g2) " + GATED.replace("{q1}", "").replace("{one}", "")
    model = microsoft(f"g (float[2, 7, 11] x) => (float[A, B, C] y) <{weights}> {{ {body} }}", opset=18)
    assert_sizes(model, 2, 3, 4, 5, runs=Written)

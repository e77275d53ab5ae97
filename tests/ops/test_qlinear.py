"""Quantised layers of transformers, choices and products of 16 bits in ONNX Runtime's own operators.

The others of `qlinear` stand in test_quantized.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import analyze
from tests.ops.build import assert_sizes, microsoft
from tests.oracle import assert_kept

Values = dict[str, Any]


def rows(body: str, weights: str, values: Values) -> onnx.ModelProto:
    return microsoft(f"g (float[2, 6, 3] x) => (float[A, B, C] y) <{weights}> {{ {body} }}", values)


# ---------------------------------------------------------------- attention: 2 heads of 4 over 7 channels
QATTENTION = "float[3, 7] p, float sx, uint8 zx, int8[7, 24] w, float[24] b, float[8, 5] v"


def qattention(count: int, more: str = "", inputs: str = "h = MatMul (x, p)", past: str = "") -> onnx.ModelProto:
    rng, size = np.random.default_rng(5), f"[{count}]" if count > 1 else ""
    weights = f"{QATTENTION}, float{size} sw, int8{size} zw{', ' + past if past else ''}"
    values = {
        "sx": 1 / 32, "zx": 120, "w": rng.integers(-60, 61, (7, 24)), "sw": rng.uniform(0.004, 0.02, count), "zw": 0
    }  # fmt: skip  # two lines
    operands, state = f"(q, w, b, sx, sw, , zx, zw{', past' if past else ''})", ", present" if past else ""
    body = (
        f"{inputs} q = QuantizeLinear (h, sx, zx) t{state} = com.microsoft.QAttention <num_heads = 2{more}> {operands}"
    )
    return rows(f"{body} y = MatMul (t, v)", weights, values | {"sw": values["sw"] if count > 1 else 0.01})


@pytest.mark.parametrize("count", [1, 24])
@pytest.mark.parametrize("more", ["", ", unidirectional = 1"])
def test_quantised_attention(count: int, more: str) -> None:
    found = assert_sizes(qattention(count, more), 2, 4, 7)
    on_heads = {m.slot.tensor for g in found.groups if g.size == 2 for m in g.members}
    assert on_heads == {"w", "b", "v"} | ({"sw", "zw"} if count > 1 else set())


def test_quantised_attention_with_a_past() -> None:
    found = assert_sizes(qattention(1, past="float[2, 2, 2, 5, 4] past"), 2, 4, 7)
    assert "past" in {m.slot.tensor for g in found.groups if g.size == 4 for m in g.members}


def test_a_zero_point_for_each_column_is_heard_on_the_rows() -> None:
    """A removed row of the weight would have to hold another number in each column."""
    model = qattention(24, inputs="o = MatMul (x, p) h = Cos (o)")
    for tensor in model.graph.initializer:
        if tensor.name == "zw":
            array = np.arange(24, dtype=np.int8) - 10
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, "zw"))
    found = assert_sizes(model, 2, 4)
    assert_kept(found, "p", 1, "QAttention", "summed over")


# ---------------------------------------------------------------- embedding
def test_a_quantised_embedding_keeps_its_width() -> None:
    weights = """uint8[13, 5] words, uint8[8, 5] places, uint8[2, 5] kinds, uint8[5] g, uint8[5] b, float s, uint8 z,
    float[5, 4] w, float[4, 2] v"""
    body = """t, m = com.microsoft.QEmbedLayerNormalization
        (ids, kind, words, places, kinds, g, b, , s, s, s, s, s, z, z, z, z, z)
    h = MatMul (t, w) y = MatMul (h, v)"""
    text = f"g (int32[2, 6] ids, int32[2, 6] kind) => (float[A, B, C] y) <{weights}> {{ {body} }}"
    rng = np.random.default_rng(7)
    tables = {name: rng.integers(0, 256, shape) for name, shape in
              {"words": (13, 5), "places": (8, 5), "kinds": (2, 5), "g": 5, "b": 5}.items()}  # fmt: skip  # one table
    values = tables | {"s": 0.02, "z": 110}
    analysis = analyze(Graph(microsoft(text, values)), {"ids": (2, 6), "kind": (2, 6)})
    assert {g.name: g.size for g in analysis.groups} == {"w": 4}
    assert_kept(analysis, "words", 1, "QEmbedLayerNormalization", "normalised over")
    # Feed it numbers that are in the tables.
    fed = text.replace("int32[2, 6] ids, int32[2, 6] kind", "float[2, 6, 2] more").replace("y = MatMul", "o = MatMul")
    fed = fed.replace("o = MatMul (h, v)", "o = MatMul (h, v) y = Add (o, more)")
    fed = fed.replace("<uint8[13", "<int32[2, 6] ids, int32[2, 6] kind, uint8[13")
    assert_sizes(
        microsoft(fed, values | {"ids": np.arange(12).reshape(2, 6), "kind": np.arange(12).reshape(2, 6) % 2}), 4
    )


# ---------------------------------------------------------------- choices
@pytest.mark.parametrize(("one", "zero", "exact"), [
    ("a = MatMul (x, p)", 131, True), ("o = MatMul (x, p) a = Cos (o)", 131, False), ("a = MatMul (x, p)", 90, False),
])  # fmt: skip  # rows
def test_a_choice_between_quantised_tensors(one: str, zero: int, exact: bool) -> None:
    """At zero where both are, by the zero points that they are stored by."""
    weights = """float[3, 5] p, float[3, 5] r, float[5, 2] v, int64[1] last = {-1}, float nought, float xs, uint8 xz,
    float ys, uint8 yz, float zs, uint8 zz, uint8 read"""
    values = {"nought": 0.0, "xs": 0.03125, "xz": 131, "ys": 0.0625, "yz": 70, "zs": 0.0625, "zz": 40, "read": zero}
    body = f"""{one} b = MatMul (x, r) q = QuantizeLinear (a, xs, xz) k = QuantizeLinear (b, ys, yz)
    m = ReduceMax <axes = [-1]> (x) c = Greater (m, nought)
    t = com.microsoft.QLinearWhere (c, q, xs, read, k, ys, yz, zs, zz) d = DequantizeLinear (t, zs, zz)"""
    assert_sizes(rows(f"{body} y = MatMul (d, v)", weights, values), 5)
    assert_sizes(rows(f"{body} y = ReduceSum (d, last)", weights, values), *([5] if exact else []))


# ---------------------------------------------------------------- products
def test_a_product_of_16_bits() -> None:
    weights = "float[3, 4] p, int16[4, 5] w, float[5, 2] v, float many"
    values = {"w": np.random.default_rng(2).integers(-99, 99, (4, 5)), "many": 64.0}
    body = """o = MatMul (x, p) s = Mul (o, many) h = Cast <to = 5> (s) t = com.microsoft.MatMulInteger16 (h, w)
    d = Cast <to = 1> (t) y = MatMul (d, v)"""
    assert_sizes(rows(body, weights, values), 4, 5)

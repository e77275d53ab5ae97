"""ONNX Runtime's operators with channels last; those for other devices run by their definitions in `build`."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import analyze
from tests.ops.build import Written, assert_sizes, microsoft
from tests.oracle import assert_kept

# x [2, 9, 7, 3], through a MatMul to 4 channels.
X, Y = "float[2, 9, 7, 3] x", "float[A, B, C, D] y"


def last(body: str, weights: str) -> ModelProto:
    return microsoft(f"g ({X}) => ({Y}) <float[3, 4] p, {weights}> {{ h = MatMul (x, p) {body} }}", opset=18)


CONV = "pads = [1, 1, 1, 1], strides = [2, 1]"


def test_a_convolution_with_channels_last() -> None:
    body = f"t = com.microsoft.NhwcConv <{CONV}, kernel_shape = [3, 3]> (h, w, b) y = MatMul (t, v)"
    found = assert_sizes(last(body, "float[5, 3, 3, 4] w, float[5] b, float[5, 2] v"), 4, 5, runs=Written)
    roles = {m.axis: m.role for g in found.groups for m in g.members if m.slot.tensor == "w"}
    assert roles == {0: "producer", 3: "consumer"}


def test_a_convolution_in_groups_with_channels_last() -> None:
    body = f"t = com.microsoft.NhwcConv <{CONV}, group = 4, kernel_shape = [3, 3]> (h, w, b) y = MatMul (t, v)"
    assert_sizes(last(body, "float[12, 3, 3, 1] w, float[12] b, float[12, 2] v"), 4, 3, runs=Written)


def test_groups_of_a_normalisation_go_whole() -> None:
    body = (
        "o = MatMul (h, w) t = com.microsoft.GroupNorm <groups = 3, activation = 1> (o, gamma, beta) y = MatMul (t, v)"
    )
    found = assert_sizes(last(body, "float[4, 6] w, float[6] gamma, float[6] beta, float[6, 2] v"), 4, 3, runs=Written)
    assert {m.slot.tensor: m.role for g in found.groups if g.size == 3 for m in g.members} == {
        "w": "producer", "gamma": "scale", "beta": "bias", "v": "consumer"
    }  # fmt: skip  # two lines


def normalised_sum(skip: str, made: str) -> ModelProto:
    body = f"""o = MatMul (h, w) {made}
    t, z = com.microsoft.SkipGroupNorm <groups = 3> (o, gamma, beta, k, b) s = Add (t, z) y = MatMul (s, v)"""
    return last(body, f"{skip}, float[4, 6] w, float[6] gamma, float[6] beta, float[6] b, float[6, 2] v")


@pytest.mark.parametrize(
    ("skip", "made"), [("float[4, 6] q", "k = MatMul (h, q)"), ("float[2, 1, 1, 6] q", "k = Tanh (q)")]
)
def test_a_normalised_sum(skip: str, made: str) -> None:
    found = assert_sizes(normalised_sum(skip, made), 4, 3, runs=Written)
    assert {"w", "q", "b", "gamma", "v"} <= {m.slot.tensor for g in found.groups if g.size == 3 for m in g.members}


def test_a_normalised_sum_with_one_row_a_sample() -> None:
    """Of two axes, which no operator of ONNX broadcasts so: only looked at."""
    analysis = analyze(Graph(normalised_sum("float[2, 6] q", "k = Tanh (q)")), {"x": (2, 9, 7, 3)})
    assert {("q", 1), ("w", 1)} <= {(m.slot.tensor, m.axis) for g in analysis.groups if g.size == 3 for m in g.members}


def test_a_normalisation_with_channels_behind_the_batch() -> None:
    """Not what `build` defines, so only looked at."""
    body = """turned = Transpose <perm = [0, 3, 1, 2]> (h)
    t = com.microsoft.GroupNorm <groups = 2, channels_last = 0> (turned, gamma, beta)
    back = Transpose <perm = [0, 2, 3, 1]> (t) y = MatMul (back, v)"""
    analysis = analyze(Graph(last(body, "float[4] gamma, float[4] beta, float[4, 2] v")), {"x": (2, 9, 7, 3)})
    assert [g.size for g in analysis.groups] == [2]


QUANTISED = """q = QuantizeLinear (h, sx, zx)
t = com.microsoft.QLinearConv <channels_last = {last}, pads = [1, 1, 1, 1], kernel_shape = [3, 3]>
    (q, sx, zx, w, sw, zw, sy, zy, b)"""
PACKED = """int8[5, 4, 3, 3] w, float sx = {0.0625}, uint8 zx = {128}, float[5] sw, int8[5] zw, float sy = {0.125},
uint8 zy = {100}, int32[5] b, float[5, 2] v"""


def quantised(after: str, is_last: int = 1) -> ModelProto:
    rng = np.random.default_rng(4)
    values = {
        "w": rng.integers(-60, 61, (5, 4, 3, 3)), "sw": 2.0 ** rng.integers(-7, -4, 5), "zw": 0,
        "b": rng.integers(-40, 41, 5),
    }  # fmt: skip  # a table
    weights, body = f"float[3, 4] p, {PACKED}", f"h = MatMul (x, p) {QUANTISED.replace('{last}', str(is_last))} {after}"
    return microsoft(f"g ({X}) => ({Y}) <{weights}> {{ {body} }}", values)


def test_a_quantised_convolution_with_channels_last() -> None:
    assert_sizes(quantised("d = DequantizeLinear (t, sy, zy) y = MatMul (d, v)"), 4, 5)


@pytest.mark.parametrize("pool", [
    "u = com.microsoft.NhwcMaxPool <kernel_shape = [3, 3], strides = [2, 2]> (t)",
    "u = com.microsoft.QLinearAveragePool <channels_last = 1, kernel_shape = [3, 3]> (t, sy, zy, sy, zy)",
    "u = com.microsoft.QLinearGlobalAveragePool <channels_last = 1> (t, sy, zy, sy, zy)",
])  # fmt: skip  # rows
def test_quantised_pooling_with_channels_last(pool: str) -> None:
    # The sum over channels is exact only where a removed one is known to stand for zero behind the pooling.
    after = f"""{pool} d = DequantizeLinear (u, sy, zy) r = ReduceSum <keepdims = 1> (d, last) s = Mul (d, r)
    y = MatMul (s, v)"""
    model = quantised(after)
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1]), "last"))
    assert_sizes(model, 4, 5)


def test_what_a_normalisation_over_space_keeps() -> None:
    body = "t = com.microsoft.GroupNorm <groups = 1> (h, gamma, beta) y = MatMul (t, v)"
    analysis = analyze(Graph(last(body, "float[4] gamma, float[4] beta, float[4, 2] v")), {"x": (2, 9, 7, 3)})
    assert not analysis.groups
    assert_kept(analysis, "p", 1, "GroupNorm", "within a group")

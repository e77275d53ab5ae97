"""Residual streams: which channel groups are one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import analyze, residual_streams
from tests.golden import nets
from tests.oracle import net, parse
from tests.small import run

MODELS = Path(__file__).parents[1] / "models"
MICROSOFT = ', "com.microsoft" : 1'


def streams(model: ModelProto) -> set[str]:
    analysis = analyze(Graph(model))
    return {g.name for g in analysis.groups if g.id in residual_streams(analysis)}


def test_of_a_residual_network_all_but_what_is_inside_of_blocks() -> None:
    analysis = analyze(Graph(nets.resnet()))
    found = residual_streams(analysis)
    added = {g.name: sum(m.role == "producer" for m in g.members) for g in analysis.groups}
    assert {g.name for g in analysis.groups if g.id in found} == {name for name, count in added.items() if count > 1}
    assert 0 < len(found) < len(analysis.groups)


@pytest.mark.parametrize("network", [nets.densenet, nets.unet, nets.shufflenet], ids=lambda n: str(n.__name__))
def test_networks_that_join_side_by_side_have_none(network: object) -> None:
    assert callable(network)
    assert streams(network()) == set()


TO_T = "float[5,5,1,1] k"  # a layer from h's channels to as many
CASES = {
    "a plain chain": ("q = Relu (h) t = Conv (q, k)", TO_T, set()),
    "a block": ("q = Conv (h, k) t = Add (h, q)", TO_T, {"w"}),
    "the difference": ("q = Conv (h, k) t = Sub (h, q)", TO_T, {"w"}),
    "a sum of three": ("q = Conv (h, k) o = Relu (h) t = Sum (h, o, q)", TO_T, {"w"}),
    "two branches": ("q = Conv (p, k) t = Add (h, q)", "float[5,4,1,1] k", {"w"}),
    "a weight behind a cast": ("m = Cast <to = 1> (k) q = Conv (h, m) t = Add (h, q)", "double[5,5,1,1] k", {"w"}),
    "a bias": ("q = Conv (h, k) t = Add (q, c)", TO_T + ", float[1,5,1,1] c", set()),
    "a bias behind a cast": ("m = Cast <to = 1> (c) t = Add (h, m)", "double[1,5,1,1] c", set()),
    "a result with its own gate": ("q = Sigmoid (h) o = Mul (h, q) t = Add (h, o)", "", set()),
    "a gate of a layer": ("r = Conv (h, k) q = Sigmoid (r) o = Mul (h, q) t = Add (h, o)", TO_T, set()),
    "a product": ("q = Conv (h, k) t = Mul (h, q)", TO_T, set()),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_one(case: str) -> None:
    body, weights, expected = CASES[case]
    assert streams(net(body, weights)) == expected


def test_a_layer_with_both_sides_on_the_stream() -> None:
    """What comes out of a layer comes from its weight, though the channels that it reads are the same group's."""
    text = """g (float[N, 3] x) => (float[N, 2] y) <float[3, 5] a, float[5, 5] b, float[5, 5] c, float[5, 2] d>
    { h = MatMul (x, a) i = MatMul (h, b) j = Add (h, i) k = MatMul (j, c) l = Add (j, k) y = MatMul (l, d) }"""
    assert streams(parse(text)) == {"a"}


def test_the_width_of_an_attention_network() -> None:
    """Heads that a rotary embedding adds up from their own halves are none, nor are the neurons."""

    def turned(name: str, weight: str) -> str:
        return f"""{name}0 = MatMul (x0, {weight}) {name}1 = Mul ({name}0, cos) {name}2 = Mul ({name}0, sin)
        {name} = Add ({name}1, {name}2)"""

    text = f"""g (float[N, 7, 3] x) => (float[N, 7, 2] y)
    <float[3, 6] a, float[6, 4] wq, float[6, 4] wk, float[6, 5] wv, float[5, 6] wo, float[6, 9] up, float[9, 6] down,
    float[7, 1] cos, float[7, 1] sin, float[6, 2] d>
    {{ x0 = MatMul (x, a) {turned("q", "wq")} {turned("k", "wk")} v = MatMul (x0, wv)
      r = Transpose <perm = [0, 2, 1]> (k) s = MatMul (q, r) p = Softmax (s) o = MatMul (p, v) e = MatMul (o, wo)
      x1 = Add (x0, e) f = MatMul (x1, up) g = Relu (f) h = MatMul (g, down) x2 = Add (x1, h) y = MatMul (x2, d) }}"""
    assert {g.name for g in analyze(Graph(parse(text))).groups} == {"a", "wq", "wv", "up"}
    assert streams(parse(text)) == {"a"}


def test_one_weight_in_both_terms_makes_none() -> None:
    text = """g (float[N, 3] x, float[N, 3] z) => (float[N, 2] y) <float[3, 5] a, float[5, 2] d>
    { h = MatMul (x, a) i = MatMul (z, a) j = Add (h, i) y = MatMul (j, d) }"""
    assert streams(parse(text)) == set()


def test_a_loop_adds_to_its_state() -> None:
    body = """body (int64 i, bool go, float[N, 5] s) => (bool on, float[N, 5] r)
    { q = MatMul (s, b) r = Add (s, q) on = Identity (go) }"""
    text = f"""g (float[N, 3] x) => (float[N, 2] y)
    <float[3, 5] a, float[5, 5] b, float[5, 2] d, int64 three = {{3}}, bool yes = {{1}}>
    {{ h = MatMul (x, a) j = Loop (three, yes, h) <body = {body}> y = MatMul (j, d) }}"""
    assert streams(parse(text)) == {"a"}


def test_fused_sums() -> None:
    text = """g (float[N, 3, 9, 7] x) => (float[N, 2, 9, 7] y)
    <float[5, 3, 1, 1] a, float[4, 5, 1, 1] b, float[5, 4, 1, 1] c, float[5] bias, float[2, 5, 1, 1] d>
    { h = Conv (x, a) i = Conv (h, b) j = com.microsoft.FusedConv <activation = "Relu"> (i, c, bias, h)
      y = Conv (j, d) }"""
    assert streams(parse(text, imports=MICROSOFT)) == {"a"}
    text = """g (float[N, 3] x) => (float[N, 2] y) <float[3, 5] a, float[4, 5] c, float[3, 4] b, float[5, 2] d>
    { h = MatMul (x, a) i = MatMul (x, b) j = Gemm (i, c, h) y = MatMul (j, d) }"""
    assert streams(parse(text)) == {"a"}


def test_a_sum_of_whole_numbers() -> None:
    scale = "float one = {1.0}, uint8 zero = {0}"
    text = f"""g (float[N, 3, 9, 7] x) => (float[N, 2, 9, 7] y)
    <float[5, 3, 1, 1] a, float[5, 3, 1, 1] b, float[2, 5, 1, 1] d, {scale}>
    {{ h = Conv (x, a) i = Conv (x, b) p = QuantizeLinear (h, one, zero) q = QuantizeLinear (i, one, zero)
      r = com.microsoft.QLinearAdd (p, one, zero, q, one, zero, one, zero)
      s = DequantizeLinear (r, one, zero) y = Conv (s, d) }}"""
    assert streams(parse(text, imports=MICROSOFT)) == {"a"}


def test_what_a_layer_reads_is_not_added_up() -> None:
    text = """g (float[N, 3] x) => (float[N, 2] y) <float[3, 5] a, float[5, 5] b, float[5] c, float[5, 2] d>
    { h = MatMul (x, a) i = Gemm (h, b, c) j = Mul (h, i) y = MatMul (j, d) }"""
    assert streams(parse(text)) == set()


def test_what_comes_out_of_a_branch_comes_from_what_is_made_there() -> None:
    made = [("Relu (h)", "Tanh (h)", set()), ("MatMul (h, b)", "MatMul (h, c)", {"a"})]
    for one, other, expected in made:
        text = f"""g (float[N, 3] x, bool yes) => (float[N, 2] y) <float[3, 5] a, float[5, 2] d,
        float[5, 5] b, float[5, 5] c>
        {{ h = MatMul (x, a)
          i = If (yes) <then_branch = one () => (float[N, 5] p) {{ p = {one} }},
                        else_branch = two () => (float[N, 5] q) {{ q = {other} }}>
          j = Add (h, i) y = MatMul (j, d) }}"""
        assert streams(parse(text)) == expected, one


def test_blocks_of_a_trained_network_in_odd_counts(tmp_path: Path) -> None:
    """The repair looks at a sum and at what is summed, where ONNX Runtime's blocked convolutions fail to load that."""
    with np.load(MODELS / "fashion_mnist_calibration.npz") as found:
        np.savez(tmp_path / "seen.npz", **{name: found[name][:64] for name in found.files})
    given = ["--ratio", 0.2, "--streams", "keep", "--round-to", 1, "--scope", "layer"]
    done = run(MODELS / "fashion_resnet.onnx", tmp_path / "out.onnx", *given, "--calibrate", tmp_path / "seen.npz")
    assert done.exit_code == 0, done.output

"""Fused operators of ONNX Runtime: products, activations, normalisations, packed weights."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import analyze
from tests.ops.build import Written, assert_sizes, microsoft
from tests.oracle import assert_exact, assert_kept, parse

IMAGE, ROWS = "float[2, 3, 9, 7] x", "float[2, 6, 3] x"
Y3, Y4 = "float[A, B, C] y", "float[A, B, C, D] y"


def rows(body: str, weights: str, y: str = Y3) -> onnx.ModelProto:
    return microsoft(f"g ({ROWS}) => ({y}) <{weights}> {{ {body} }}")


def image(body: str, weights: str) -> onnx.ModelProto:
    return microsoft(f"g ({IMAGE}) => ({Y4}) <{weights}> {{ {body} }}")


# ---------------------------------------------------------------- products
@pytest.mark.parametrize(
    ("attrs", "w", "axis"), [("transB = 1", "float[5, 4] w", 0), ("alpha = 0.3", "float[4, 5] w", 1)]
)
def test_fused_matmul_by_a_weight(attrs: str, w: str, axis: int) -> None:
    body = f"h = MatMul (x, p) t = com.microsoft.FusedMatMul <{attrs}> (h, w) y = MatMul (t, v)"
    found = assert_sizes(rows(body, f"float[3, 4] p, {w}, float[5, 2] v"), 4, 5)
    roles = {m.axis: m.role for g in found.groups for m in g.members if m.slot.tensor == "w"}
    assert roles == {axis: "producer", 1 - axis: "consumer"}


def test_fused_matmul_of_two_activations() -> None:
    # q [2, 6, 4] by the transposed k [2, 6, 4]; then the scores, transposed, by v [2, 6, 5].
    body = """q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv)
    s = com.microsoft.FusedMatMul <transB = 1, alpha = 0.5> (q, k) a = Softmax (s)
    t = com.microsoft.FusedMatMul <transA = 1> (a, v) y = MatMul (t, wo)"""
    assert_sizes(rows(body, "float[3, 4] wq, float[3, 4] wk, float[3, 5] wv, float[5, 7] wo"), 4, 5)


def test_fused_matmul_that_turns_the_batch_axes() -> None:
    # [6, 3 heads, 4] is turned to [3, 6, 4]: heads are the batch of the product.
    weights = "float[3, 12] wq, float[3, 12] wk, int64[3] s = {6, 3, 4}, float[6, 2] wo"
    body = """q = MatMul (x, wq) k = MatMul (x, wk) q1 = Reshape (q, s) k1 = Reshape (k, s)
    t = com.microsoft.FusedMatMul <transBatchA = 1, transBatchB = 1, transB = 1> (q1, k1) y = MatMul (t, wo)"""
    model = microsoft(f"g (float[6, 3] x) => ({Y3}) <{weights}> {{ {body} }}")
    assert_sizes(model, 4)  # the heads are an axis of the output


CONVS = "float[4, 3, 1, 1] p, float[5, 4, 3, 3] w, float[5] b, float[2, 5, 1, 1] v"


@pytest.mark.parametrize("activation", ["Relu", "Tanh", "Sigmoid", "LeakyRelu", "Clip", "HardSigmoid"])
def test_fused_conv(activation: str) -> None:
    params = {"LeakyRelu": "0.1", "Clip": "-0.2, 0.4", "HardSigmoid": "0.3, 0.4"}
    more = f", activation_params = [{params[activation]}]" if activation in params else ""
    op = f'com.microsoft.FusedConv <pads = [1, 1, 1, 1], kernel_shape = [3, 3], activation = "{activation}"{more}>'
    assert_sizes(image(f"h = Conv (x, p) t = {op} (h, w, b) y = Conv (t, v)", CONVS), 4, 5)


def test_fused_conv_that_adds_a_shortcut() -> None:
    op = 'com.microsoft.FusedConv <pads = [1, 1, 1, 1], kernel_shape = [3, 3], activation = "Relu">'
    body = f"h = Conv (x, p) z = Conv (h, u) t = {op} (h, w, b, z) y = Conv (t, v)"
    found = assert_sizes(image(body, f"{CONVS}, float[5, 4, 1, 1] u"), 4, 5)
    assert {m.slot.tensor for g in found.groups if g.size == 5 for m in g.members} == {"u", "w", "b", "v"}


SUMMED = "float[4, 3, 1, 1] p, float[5, 4, 1, 1] w, float[5] b, float[5, 4, 1, 1] u, int64[1] channels = {1}"


@pytest.mark.parametrize(("activation", "z", "exact"), [
    ("Relu", "z = Conv (h, u)", True), ("Sigmoid", "z = Conv (h, u)", False), ("Clip", "z = Conv (h, u)", False),
    ("Relu", "o = Conv (h, u) z = Sigmoid (o)", False),
])  # fmt: skip  # rows
def test_what_a_fused_conv_leaves_of_a_silenced_channel(activation: str, z: str, exact: bool) -> None:
    params = ", activation_params = [0.1, 0.9]" if activation == "Clip" else ""
    op = f'com.microsoft.FusedConv <kernel_shape = [1, 1], activation = "{activation}"{params}>'
    body = f"h = Conv (x, p) {z} t = {op} (h, w, b, z) y = ReduceSum (t, channels)"
    found = assert_sizes(image(body, SUMMED), *([4, 5] if exact else [4]))
    if not exact:
        assert_kept(found, "w", 0, "ReduceSum", "ReduceSum over channels")


GEMMS = "float[3, 4] p, float[5, 4] w, float[5] b, float[5, 2] v, int64[1] last = {-1}"


@pytest.mark.parametrize("activation", ["Relu", "Sigmoid", "Tanh"])
def test_fused_gemm(activation: str) -> None:
    op = f'com.microsoft.FusedGemm <transB = 1, activation = "{activation}">'
    text = f"g (float[6, 3] x) => (float[A, B] y) <{GEMMS}> {{ h = MatMul (x, p) t = {op} (h, w, b) %s }}"
    assert_sizes(microsoft(text % "y = MatMul (t, v)"), 4, 5)
    assert_sizes(microsoft(text % "y = ReduceSum (t, last)"), *([4] if activation == "Sigmoid" else [4, 5]))


# ---------------------------------------------------------------- activations
@pytest.mark.parametrize("op", ["Gelu", "QuickGelu", "FastGelu", "ScaledSiLU"])
def test_activations_pass_zero(op: str) -> None:
    weights = "float[3, 4] p, int64[1] last = {-1}"
    assert_sizes(rows(f"h = MatMul (x, p) t = com.microsoft.{op} (h) y = ReduceSum (t, last)", weights), 4)


@pytest.mark.parametrize("op", ["BiasGelu", "FastGelu"])
def test_activations_with_a_bias(op: str) -> None:
    weights = "float[3, 4] p, float[4] b, int64[1] last = {-1}, float[4, 2] v"
    body = f"h = MatMul (x, p) t = com.microsoft.{op} (h, b)"
    assert_sizes(rows(f"{body} y = ReduceSum (t, last)", weights), 4)
    loud = f"a = MatMul (x, p) h = Sigmoid (a) t = com.microsoft.{op} (h, b)"
    assert_sizes(rows(f"{loud} y = ReduceSum (t, last)", weights))
    assert_sizes(rows(f"{loud} y = MatMul (t, v)", weights), 4)


# ---------------------------------------------------------------- normalisations
@pytest.mark.parametrize(("op", "operands"), [
    ("com.microsoft.SkipLayerNormalization", "(h, k, g, s, b)"),
    ("com.microsoft.SkipSimplifiedLayerNormalization", "(h, k, g, b)"), ("SimplifiedLayerNormalization", "(h, g)"),
])  # fmt: skip  # rows
def test_normalised_channels_are_kept(op: str, operands: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # ONNX Runtime puts SimplifiedLayerNormalization in ONNX's own domain, which onnx's checker does not know.
    monkeypatch.setattr(onnx.checker, "check_model", lambda model, full_check: None)
    weights = "float[3, 4] p, float[4, 5] w, float[5] g, float[5] s, float[5] b, float[5, 2] v"
    other = ", float[3, 5] q" if "k" in operands else ""
    head = f"o = MatMul (x, p) h = MatMul (o, w) {'k = MatMul (x, q)' if other else ''}"
    body, weights = f"{head} t = {op} {operands} y = MatMul (t, v)", weights + other
    found = assert_sizes(rows(body, weights), 4)
    assert_kept(found, "w", 1, op.rpartition(".")[2], "normalised over")


def test_the_sum_of_a_skip_normalisation_is_the_same_channels() -> None:
    weights = "float[3, 4] p, float[4, 5] w, float[3, 5] q, float[5] g, float[5, 2] v, float[5, 2] u"
    body = """o = MatMul (x, p) h = MatMul (o, w) k = MatMul (x, q)
    t, , , z = com.microsoft.SkipLayerNormalization (h, k, g) a = MatMul (t, v) b = MatMul (z, u) y = Add (a, b)"""
    found = assert_sizes(rows(body, weights), 4)
    assert_kept(found, "u", 0, "SkipLayerNormalization", "normalised over")


def test_embedding_with_normalisation_keeps_its_width() -> None:
    weights = "float[13, 5] words, float[8, 5] places, float[2, 5] kinds, float[5] g, float[5] b, float[5, 4] w"
    weights += ", float[4, 2] v"
    body = """t, m = com.microsoft.EmbedLayerNormalization (ids, kind, words, places, kinds, g, b)
    h = MatMul (t, w) y = MatMul (h, v)"""
    text = f"g (int32[2, 6] ids, int32[2, 6] kind) => ({Y3}) <{weights}> {{ {body} }}"
    analysis = analyze(Graph(microsoft(text)), {"ids": (2, 6), "kind": (2, 6)})
    assert [g.size for g in analysis.groups] == [4]
    assert_kept(analysis, "words", 1, "EmbedLayerNormalization", "normalised over")
    assert_kept(analysis, "places", 1, "EmbedLayerNormalization", "normalised over")
    # Feed it numbers that are in the tables.
    constant = text.replace("int32[2, 6] ids, int32[2, 6] kind", "float[2, 6, 2] z").replace("y =", "q =")
    ids = ", ".join(str(k % 13) for k in range(12))
    kind = ", ".join(str(k % 2) for k in range(12))
    constant = constant.replace("<float[13", f"<int32[2, 6] ids = {{{ids}}}, int32[2, 6] kind = {{{kind}}}, float[13")
    assert_sizes(microsoft(constant.replace("q = MatMul (h, v)", "q = MatMul (h, v) y = Add (q, z)")), 4)


# ---------------------------------------------------------------- packed weights
def packed(bits: int, k: int, n: int, zero_points: str = "", bias: str = "", flat: bool = True) -> onnx.ModelProto:
    blocks, rng = -(-k // 16), np.random.default_rng(3)
    weights = [f"float[3, {k}] p", f"uint8[{n}, {blocks}, {16 * bits // 8}] q", f"float[{n}, 2] v"]
    weights.append(f"float[{n * blocks}] scale" if flat else f"float[{n}, {blocks}] scale")
    weights += [w for w in (zero_points, bias) if w]
    op = f"com.microsoft.MatMulNBits <K = {k}, N = {n}, bits = {bits}, block_size = 16>"
    operands = f"(h, q, scale, {'zero' if zero_points else ''}, , {'b' if bias else ''})".replace(", , )", ")")
    text = f"g ({ROWS}) => ({Y3}) <{', '.join(weights)}> {{ h = MatMul (x, p) t = {op} {operands} y = MatMul (t, v) }}"
    values = {
        "q": rng.integers(0, 256, (n, blocks, 16 * bits // 8)),
        "scale": rng.uniform(0.1, 0.3, n * blocks).reshape(-1 if flat else n, *([] if flat else [blocks])),
        "zero": rng.integers(0, 256, n * -(-blocks * bits // 8)) if zero_points.startswith("uint8") else 7.5,
    }
    return microsoft(text, values)


@pytest.mark.parametrize("flat", [True, False])
def test_columns_and_blocks_of_packed_weights(flat: bool) -> None:
    assert_sizes(packed(4, 48, 5, bias="float[5] b", flat=flat), 3, 5)


def test_packed_zero_points_keep_the_blocks() -> None:
    found = assert_sizes(packed(4, 48, 5, "uint8[10] zero"), 5)
    assert_kept(found, "q", 1, "MatMulNBits", "several zero points share a byte")


def test_a_zero_point_for_each_block() -> None:
    assert_sizes(packed(4, 48, 5, "float[15] zero"), 3, 5)


def test_a_last_block_that_is_not_full_keeps_them_all() -> None:
    found = assert_sizes(packed(4, 40, 5), 5)
    assert_kept(found, "p", 1, "MatMulNBits", "not full")


def test_loud_weights_keep_the_input_channels_of_a_convolution() -> None:
    # exp(0) is 1 and so is cos(0): neither side of the sum is zero where a channel is silenced.
    weights = "float[4, 3, 1, 1] p, float[5, 4, 1, 1] w, float[2, 5, 1, 1] v"
    body = "o = Conv (x, p) h = Cos (o) e = Exp (w) t = Conv (h, e) y = Conv (t, v)"
    found = assert_exact(parse(f"g ({IMAGE}) => ({Y4}) <{weights}> {{ {body} }}"), {"w": 5}, shapes={"x": (2, 3, 9, 7)})
    assert_kept(found, "p", 0, "Conv", "summed over")


# ---------------------------------------------------------------- fusions for other devices
DIFFUSION = "float[3, 4] p, float[4, 10] w, float[10] b, float[5, 2] v, int64[1] last = {-1}"


@pytest.mark.parametrize("tail", ["y = MatMul (t, v)", "y = ReduceSum (t, last)"])
def test_halves_of_which_one_gates_the_other(tail: str) -> None:
    body = f"h = MatMul (x, p) o = MatMul (h, w) t = com.microsoft.BiasSplitGelu (o, b) {tail}"
    found = assert_sizes(microsoft(f"g ({ROWS}) => ({Y3}) <{DIFFUSION}> {{ {body} }}", opset=18), 4, 5, runs=Written)
    assert {m.slot.tensor for g in found.groups if g.size == 5 for m in g.members} >= {"w", "b"}


@pytest.mark.parametrize("tail", ["y = MatMul (t, v)", "y = ReduceSum (t, last)"])
@pytest.mark.parametrize("skip", ["k = MatMul (h, q)", "o = MatMul (h, q) k = Cos (o)"])
def test_a_sum_of_three(skip: str, tail: str) -> None:
    body = f"h = MatMul (x, p) {skip} m = MatMul (h, w) t = com.microsoft.BiasAdd (m, b, k) {tail}"
    weights = "float[3, 4] p, float[4, 5] w, float[4, 5] q, float[5] b, float[5, 2] v, int64[1] last = {-1}"
    free = [4] if "Cos" in skip and "Sum" in tail else [4, 5]
    assert_sizes(microsoft(f"g ({ROWS}) => ({Y3}) <{weights}> {{ {body} }}", opset=18), *free, runs=Written)


@pytest.mark.parametrize("tail", ["y = MatMul (t, v)", "y = ReduceSum (t, last)"])
@pytest.mark.parametrize("bias", ["float[5] b", "float[5] c, float[5] b"])
def test_a_product_with_its_activation(bias: str, tail: str) -> None:
    loud = "c" in bias  # a bias that is one where its channel is silenced
    bias_node = "b1 = Cos (b)" if loud else "b1 = Neg (b)"
    body = f"h = MatMul (x, p) {bias_node} t = com.microsoft.GemmFastGelu (h, w, b1) {tail}"
    weights = f"float[3, 4] p, float[4, 5] w, {bias}, float[5, 2] v, int64[1] last = {{-1}}"
    free = [4] if loud and "Sum" in tail else [4, 5]
    assert_sizes(microsoft(f"g ({ROWS}) => ({Y3}) <{weights}> {{ {body} }}", opset=18), *free, runs=Written)


def test_a_normalised_sum_keeps_its_width() -> None:
    body = """h = MatMul (x, p) o = MatMul (h, w)
    t = com.microsoft.BiasSoftmax <axis = 2, is_inner_broadcast = 0> (o, b) y = MatMul (t, v)"""
    weights = "float[3, 4] p, float[4, 5] w, float[1, 6, 5] b, float[5, 2] v"
    found = assert_sizes(microsoft(f"g ({ROWS}) => ({Y3}) <{weights}> {{ {body} }}", opset=18), 4, runs=Written)
    assert_kept(found, "w", 1, "BiasSoftmax", "normalised over")


# ---------------------------------------------------------------- weights in blocks of a table
def blocks(k: int, n: int, more: str = "", after: str = "y = MatMul (t, v)") -> onnx.ModelProto:
    rng, count = np.random.default_rng(6), -(-k * n // 16)
    op = f"com.microsoft.MatMulBnb4 <K = {k}, N = {n}, block_size = 16, quant_type = 1{more}>"
    weights = (
        f"float[3, {k}] p, uint8[{-(-k * n // 2)}] w, float[{count}] most, float[{n}, 2] v, int64[1] last = {{-1}}"
    )
    values = {"w": rng.integers(0, 256, -(-k * n // 2)), "most": rng.uniform(0.1, 0.4, count)}
    return microsoft(f"g ({ROWS}) => ({Y3}) <{weights}> {{ h = MatMul (x, p) t = {op} (h, w, most) {after} }}", values)


def test_columns_and_blocks_of_a_table() -> None:
    found = assert_sizes(blocks(48, 5), 3, 5)
    assert {m.slot.tensor for g in found.groups if g.size == 3 for m in g.members} == {"p", "w", "most"}
    assert_sizes(blocks(48, 5, after="y = ReduceSum (t, last)"), 3, 5)


def test_blocks_that_lie_across_columns() -> None:
    found = assert_sizes(blocks(40, 6))
    assert_kept(found, "p", 1, "MatMulBnb4", "across columns")

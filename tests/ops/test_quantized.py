"""Quantised networks: what stands for zero is a zero point, and scales go with their channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnx_attnprune import surgery
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import analyze
from tests.ops.build import assert_sizes, microsoft
from tests.oracle import assert_kept, told

IMAGE, ROWS = "float[2, 3, 9, 7] x", "float[2, 6, 3] x"
RNG = np.random.default_rng(11)
# Signed weights of 7 bits: with more, kernels for AVX2 without VNNI saturate, and what they give depends on which
# products they add in pairs. (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html: U8S8)
RANGE = {"int8": (-64, 64), "uint8": (0, 256)}
Values = dict[str, Any]


def integers(*shape: int, kind: str = "int8") -> Any:
    return RNG.integers(*RANGE[kind], shape)


def scales(*shape: int) -> Any:
    return RNG.uniform(0.004, 0.012, shape)


def image(body: str, weights: str, values: Values, opset: int = 17) -> onnx.ModelProto:
    return microsoft(f"g ({IMAGE}) => (float[A, B, C, D] y) <{weights}> {{ {body} }}", values, opset)


def rows(body: str, weights: str, values: Values, opset: int = 17) -> onnx.ModelProto:
    return microsoft(f"g ({ROWS}) => (float[A, B, C] y) <{weights}> {{ {body} }}", values, opset)


# ---------------------------------------------------------------- DequantizeLinear of a weight w (4 -> 5)
# Between p (3 -> 4) and v (5 -> 2). "loud": what comes in is not zero where its channel is silenced.
QUIET, LOUD = "h = Conv (x, p)", "o = Conv (x, p) h = Cos (o)"
EACH = [3, 4, 5, 6, 7]  # zero points of the five output channels
STORED = {
    "one scale": ("int8", 1, None), "one scale and a zero of 0": ("int8", 1, 0), "one of 128": ("uint8", 1, 128),
    "a scale each": ("int8", 5, None), "a scale each and 0": ("int8", 5, 0), "and 128 each": ("uint8", 5, 128),
}  # fmt: skip  # pairs


def stored(
    kind: str, count: int, zero: Any, *, inputs: str = QUIET, opset: int = 17, tail: str = "y = Conv (t, v)"
) -> onnx.ModelProto:
    size = f"[{count}]" if count > 1 else ""
    operands = "(w, s)" if zero is None else "(w, s, z)"
    axis = "<axis = 0>" if opset >= 13 else ""
    body = f"{inputs} d = DequantizeLinear {axis} {operands} t = Conv (h, d) {tail}"
    weights = (
        f"float[4, 3, 1, 1] p, float[2, 5, 1, 1] v, {kind}[5, 4, 1, 1] w, float{size} s, int64[1] channels = {{1}}"
    )
    values = {"w": integers(5, 4, 1, 1, kind=kind), "s": scales(count) if count > 1 else 0.01, "z": zero}
    return image(body, weights + ("" if zero is None else f", {kind}{size} z"), values, opset)


@pytest.mark.parametrize("case", STORED.values(), ids=STORED)
@pytest.mark.parametrize("inputs", [QUIET, LOUD])
def test_dequantised_weight(case: tuple[str, int, Any], inputs: str) -> None:
    found = assert_sizes(stored(*case, inputs=inputs), 4, 5)
    roles = {m.slot.tensor: m.role for g in found.groups for m in g.members if g.size == 5}
    vectors = {} if case[1] == 1 else {"s": "scale"} | ({} if case[2] is None else {"z": "zero point"})
    assert roles == {"w": "producer", "v": "consumer"} | vectors


@pytest.mark.parametrize(("opset", "count"), [(10, 1), (13, 5), (19, 5), (21, 5), (23, 5)])
def test_versions_of_dequantize(opset: int, count: int) -> None:
    assert_sizes(stored("int8", count, 0, opset=opset), 4, 5)


def test_zero_points_that_differ_keep_what_only_they_silence() -> None:
    # The numbers of a removed input channel can't be every output channel's zero at once.
    assert_kept(assert_sizes(stored("uint8", 5, EACH, inputs=LOUD), 5), "w", 1, "Conv", "summed over")
    assert_sizes(stored("uint8", 5, EACH), 4, 5)


def test_a_silenced_channel_is_zero_behind_a_dequantised_weight() -> None:
    summed = "y = ReduceSum (t, channels)"
    for case in STORED.values():
        assert_sizes(stored(*case, tail=summed), 4, 5)
    assert_sizes(stored("uint8", 5, EACH, tail=summed), 4)


def test_the_masked_model_holds_the_zero_point() -> None:
    model = stored("uint8", 1, 128)
    analysis = analyze(Graph(model), {"x": (2, 3, 9, 7)})
    group = next(g for g in analysis.groups if g.size == 5)
    masked = surgery.mask(analysis, {group.var.id: np.arange(5) != 2})
    w = next(onnx.numpy_helper.to_array(t) for t in masked.graph.initializer if t.name == "w")
    assert (w[2] == 128).all()
    assert (w[1] != 128).any()


def test_a_zero_of_another_reader_is_not_claimed() -> None:
    # The second reader sees the number itself, for which a removed channel must be 0: the first one keeps.
    weights = "float[4, 3, 1, 1] p, uint8[5, 4, 1, 1] w, float s, uint8 z, float[2, 5, 1, 1] v"
    body = f"""{LOUD} d = DequantizeLinear (w, s, z) t = Conv (h, d) c = Cast <to = 1> (w) u = Conv (h, c)
    r = Add (t, u) y = Conv (r, v)"""
    found = assert_sizes(image(body, weights, {"w": integers(5, 4, 1, 1, kind="uint8"), "s": 0.01, "z": 128}), 5)
    assert_kept(found, "w", 1, "Conv", "summed over")


def test_a_dequantised_bias_and_embedding() -> None:
    weights = "int8[13, 4] e, float s, int8[4, 5] w, float[5] r, int32[5] q, float[5] b, float[5, 2] v"
    body = """d = DequantizeLinear (e, s) i = Cast <to = 7> (x) h = Gather (d, i) c = DequantizeLinear <axis = 1> (w, r)
    m = MatMul (h, c) k = DequantizeLinear <axis = 0> (q, b) t = Add (m, k) y = MatMul (t, v)"""
    values = {"e": integers(13, 4), "s": 0.01, "w": integers(4, 5), "r": scales(5), "q": integers(5), "b": scales(5)}
    text = (
        f"g (int32[2, 6] x) => (float[A, B, C] y) <{weights}> {{ {body.replace('Cast <to = 7> (x)', 'Identity (x)')} }}"
    )
    analysis = analyze(Graph(microsoft(text, values)), {"x": (2, 6)})
    assert sorted(g.size for g in analysis.groups) == [4, 5], told(analysis)


def test_weights_behind_a_transpose() -> None:
    weights = "float[3, 4] p, int8[5, 4] w, float s, float[5, 2] v"
    body = "h = MatMul (x, p) d = DequantizeLinear (w, s) c = Transpose (d) t = MatMul (h, c) y = MatMul (t, v)"
    assert_sizes(rows(body, weights, {"w": integers(5, 4), "s": 0.01}), 4, 5)
    body = "h = MatMul (x, p) c = Transpose (w) d = DequantizeLinear (c, s) t = MatMul (h, d) y = MatMul (t, v)"
    assert_sizes(rows(body, weights, {"w": integers(5, 4), "s": 0.01}), 4, 5)


# ---------------------------------------------------------------- QuantizeLinear, alone and before DequantizeLinear
@pytest.mark.parametrize(("kind", "zero"), [("uint8", 0), ("uint8", 131), ("int8", -7)])
@pytest.mark.parametrize("opset", [13, 21])
def test_quantised_activations(kind: str, zero: int, opset: int) -> None:
    weights = f"float[3, 4] p, float s, {kind} z, int64[1] last = {{-1}}, float[4, 2] v"
    body = "h = MatMul (x, p) q = QuantizeLinear (h, s, z) d = DequantizeLinear (q, s, z)"
    values = {"s": 0.02, "z": zero}
    assert_sizes(rows(f"{body} y = MatMul (d, v)", weights, values, opset), 4)
    assert_sizes(rows(f"{body} y = ReduceSum (d, last)", weights, values, opset), 4)


def test_another_zero_point_on_the_way_back_is_heard() -> None:
    weights = "float[3, 4] p, float s, uint8 z, uint8 o, int64[1] last = {-1}"
    body = "h = MatMul (x, p) q = QuantizeLinear (h, s, z) d = DequantizeLinear (q, s, o) y = ReduceSum (d, last)"
    found = assert_sizes(rows(body, weights, {"s": 0.02, "z": 100, "o": 90}))
    assert_kept(found, "p", 1, "ReduceSum", "ReduceSum over channels")
    body = "h = MatMul (x, p) q = QuantizeLinear (h, s, z) c = Cast <to = 1> (q) y = ReduceSum (c, last)"
    assert_sizes(rows(body, weights, {"s": 0.02, "z": 100, "o": 90}))
    assert_sizes(rows(body, weights, {"s": 0.02, "z": 0, "o": 90}), 4)


@pytest.mark.parametrize("shared", [True, False])
def test_a_weight_that_the_graph_quantises_by_channels(shared: bool) -> None:
    weights = "float[4, 3, 1, 1] p, float[5, 4, 1, 1] w, float[5] s, float[5] r, int8[5] z, float[2, 5, 1, 1] v"
    back = "s" if shared else "r"
    body = f"""{LOUD} q = QuantizeLinear <axis = 0> (w, s, z) d = DequantizeLinear <axis = 0> (q, {back}, z)
    t = Conv (h, d) y = Conv (t, v)"""
    assert_sizes(image(body, weights, {"s": scales(5), "r": scales(5), "z": 0}), 4, 5)


@pytest.mark.parametrize(("blocks", "free"), [(2, [2, 5]), (3, [5])])
def test_blocks_share_a_scale(blocks: int, free: list[int]) -> None:
    # 6 input channels in blocks of 3; or of 2 and a size that is stated wrong for a last block that isn't full.
    size = 3 if blocks == 2 else 2
    rows_of_w = 6 if blocks == 2 else 5
    weights = (
        f"float[3, {rows_of_w}] p, int8[{rows_of_w}, 5] w, float[{blocks}, 5] s, int8[{blocks}, 5] z, float[5, 2] v"
    )
    body = f"""h = MatMul (x, p) d = DequantizeLinear <axis = 0, block_size = {size}> (w, s, z)
    t = MatMul (h, d) y = MatMul (t, v)"""
    assert_sizes(
        rows(body, weights, {"w": integers(rows_of_w, 5), "s": scales(blocks, 5), "z": integers(blocks, 5)}, 21), *free
    )


# ---------------------------------------------------------------- dynamic quantisation
def dynamic(op: str, kind: str, zero: Any, inputs: str = QUIET, tail: str = "") -> onnx.ModelProto:
    vector = np.ndim(zero) > 0
    conv = op == "ConvInteger"
    shape, many = ("[5, 4, 1, 1]", "[5, 1, 1]") if conv else ("[4, 5]", "[5]")
    p, v = ("float[4, 3, 1, 1] p", "float[2, 5, 1, 1] v") if conv else ("float[3, 4] p", "float[5, 2] v")
    head = inputs if conv else inputs.replace("Conv", "MatMul")
    last = tail or ("y = Conv (t, v)" if conv else "y = MatMul (t, v)")
    body = f"""{head} q, a, z = DynamicQuantizeLinear (h) i = {op} (q, w, z, wz) f = Cast <to = 1> (i)
    m = Mul (a, s) t = Mul (f, m) {last}"""
    weights = f"{p}, {v}, {kind}{shape} w, {kind}{'[5]' if vector else ''} wz, float{many} s, int64[1] channels = {{1}}"
    values = {"w": integers(*((5, 4, 1, 1) if conv else (4, 5)), kind=kind), "wz": zero}
    values["s"] = scales(5).reshape((5, 1, 1) if conv else 5)
    return (image if conv else rows)(body, weights, values)


@pytest.mark.parametrize("op", ["MatMulInteger", "ConvInteger"])
@pytest.mark.parametrize(("kind", "zero"), [("int8", 0), ("uint8", 121)])
def test_dynamic_quantisation(op: str, kind: str, zero: int) -> None:
    assert_sizes(dynamic(op, kind, zero), 4, 5)


def test_dynamic_quantisation_with_a_zero_point_for_each_column() -> None:
    assert_sizes(dynamic("MatMulInteger", "uint8", EACH), 4, 5)


@pytest.mark.parametrize("op", ["MatMulInteger", "ConvInteger"])
def test_a_range_over_channels_that_are_not_zero_keeps_them(op: str) -> None:
    assert_kept(
        assert_sizes(dynamic(op, "int8", 0, LOUD), 5),
        "p",
        op == "MatMulInteger",
        "DynamicQuantizeLinear",
        "by the range",
    )


def test_an_integer_product_is_zero_where_its_weight_is_at_rest() -> None:
    # The sum over channels is of the integers themselves.
    for kind, zero, free in (
        ("int8", 0, [4, 5]),
        ("uint8", 121, [4, 5]),
        ("uint8", EACH, [4]),
        ("uint8", [121] * 5, [4]),
    ):
        weights = f"float[3, 4] p, {kind}[4, 5] w, {kind}{'[5]' if free == [4] else ''} wz, int64[1] last = {{-1}}"
        body = """h = MatMul (x, p) q, a, z = DynamicQuantizeLinear (h) i = MatMulInteger (q, w, z, wz)
        f = Cast <to = 1> (i) y = ReduceSum (f, last)"""
        assert_sizes(rows(body, weights, {"w": integers(4, 5, kind=kind), "wz": zero}), *free)


# ---------------------------------------------------------------- QLinearConv and QLinearMatMul
SCALARS = "float xs, uint8 xz, float ys, uint8 yz, float us, uint8 uz"
NUMBERS: Values = {"xs": 0.02, "xz": 120, "ys": 0.05, "yz": 115, "us": 0.04, "uz": 131}


@pytest.mark.parametrize(
    ("kind", "count", "zero"), [("int8", 1, 0), ("uint8", 1, 77), ("int8", 5, 0), ("uint8", 5, 77)]
)
def test_qlinear_conv(kind: str, count: int, zero: int) -> None:
    size = f"[{count}]" if count > 1 else ""
    weights = f"uint8[3] none, {kind}[4, 3, 1, 1] p, float ps, {kind} pz, {kind}[5, 4, 3, 3] w, float{size} ws"
    weights += f", {kind}{size} wz, int32[5] b, {kind}[2, 5, 1, 1] v, {SCALARS}"
    body = """q = QuantizeLinear (x, xs, xz) h = QLinearConv (q, xs, xz, p, ps, pz, ys, yz)
    t = QLinearConv <pads = [1, 1, 1, 1]> (h, ys, yz, w, ws, wz, us, uz, b)
    o = QLinearConv (t, us, uz, v, ps, pz, us, uz) y = DequantizeLinear (o, us, uz)"""
    values = NUMBERS | {
        "p": integers(4, 3, 1, 1, kind=kind), "w": integers(5, 4, 3, 3, kind=kind), "b": integers(5) * 50,
        "v": integers(2, 5, 1, 1, kind=kind), "ps": 0.01, "pz": zero, "wz": zero,
        "ws": scales(count) if count > 1 else 0.01,
    }  # fmt: skip  # one line a tensor
    found = assert_sizes(image(body, weights, values), 4, 5)
    roles = {m.slot.tensor: m.role for g in found.groups if g.size == 5 for m in g.members}
    assert roles["w"] == "producer"
    assert roles["b"] == "bias"
    assert roles["v"] == "consumer"


@pytest.mark.parametrize(
    ("tail", "exact"), [("d = DequantizeLinear (t, us, uz)", True), ("d = Cast <to = 1> (t)", False)]
)
def test_a_removed_channel_of_qlinear_conv_rests_at_its_zero_point(tail: str, exact: bool) -> None:
    weights = f"uint8[5, 3, 1, 1] w, float ws, uint8 wz, {SCALARS}, int64[1] channels = {{1}}"
    body = f"""q = QuantizeLinear (x, xs, xz) t = QLinearConv (q, xs, xz, w, ws, wz, us, uz) {tail}
    y = ReduceSum (d, channels)"""
    assert_sizes(
        image(body, weights, NUMBERS | {"w": integers(5, 3, 1, 1, kind="uint8"), "ws": 0.01, "wz": 77}), *([5] * exact)
    )


@pytest.mark.parametrize(("kind", "count", "zero"), [("int8", 1, 0), ("uint8", 1, 77), ("uint8", 5, 77)])
def test_qlinear_matmul(kind: str, count: int, zero: int) -> None:
    size = f"[{count}]" if count > 1 else ""
    weights = f"{kind}[3, 4] p, float ps, {kind} pz, {kind}[4, 5] w, float{size} ws, {kind}{size} wz"
    weights += f", {kind}[5, 2] v, {SCALARS}"
    body = """q = QuantizeLinear (x, xs, xz) h = QLinearMatMul (q, xs, xz, p, ps, pz, ys, yz)
    t = QLinearMatMul (h, ys, yz, w, ws, wz, us, uz) o = QLinearMatMul (t, us, uz, v, ps, pz, us, uz)
    y = DequantizeLinear (o, us, uz)"""
    values = NUMBERS | {
        "p": integers(3, 4, kind=kind), "w": integers(4, 5, kind=kind), "v": integers(5, 2, kind=kind), "ps": 0.01,
        "pz": zero, "wz": zero, "ws": scales(count) if count > 1 else 0.01,
    }  # fmt: skip  # one line a tensor
    assert_sizes(rows(body, weights, values), 4, 5)


def test_qlinear_matmul_of_two_activations_rests_on_zero_points() -> None:
    weights = f"float[3, 4] wq, float[3, 4] wk, float[6, 2] v, {SCALARS}"
    body = """a = MatMul (x, wq) b = MatMul (x, wk) c = Transpose <perm = [0, 2, 1]> (b)
    q = QuantizeLinear (a, xs, xz) k = QuantizeLinear (c, ys, yz)
    t = QLinearMatMul (q, xs, xz, k, ys, {zero}, us, uz) d = DequantizeLinear (t, us, uz) y = MatMul (d, v)"""
    assert_sizes(rows(body.format(zero="yz"), weights, NUMBERS), 4)
    loud = body.replace("QLinearMatMul (q, xs, xz,", "QLinearMatMul (q, xs, uz,").format(zero="xz")
    assert_kept(assert_sizes(rows(loud, weights, NUMBERS)), "wq", 1, "QLinearMatMul", "summed over")


# ---------------------------------------------------------------- ONNX Runtime's own
TWO = f"float[3, 5] p, float[3, 5] r, float[5, 2] v, int64[1] last = {{-1}}, {SCALARS}"
HEAD = "a = MatMul (x, p) b = MatMul (x, r) q = QuantizeLinear (a, xs, xz) k = QuantizeLinear (b, ys, yz)"


@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_qlinear_binary(op: str) -> None:
    body = f"{HEAD} t = com.microsoft.{op} (q, xs, xz, k, ys, yz, us, uz) d = DequantizeLinear (t, us, uz)"
    assert_sizes(rows(f"{body} y = MatMul (d, v)", TWO, NUMBERS), 5)
    assert_sizes(rows(f"{body} y = ReduceSum (d, last)", TWO, NUMBERS), 5)
    loud = body.replace("b = MatMul (x, r)", "c = MatMul (x, r) b = Cos (c)") + " y = ReduceSum (d, last)"
    assert_sizes(rows(loud, TWO, NUMBERS), *([5] if op == "QLinearMul" else []))


@pytest.mark.parametrize(("op", "exact"), [("QLinearLeakyRelu <alpha = 0.1>", True), ("QLinearSigmoid", False)])
def test_qlinear_unary(op: str, exact: bool) -> None:
    weights = f"float[3, 5] p, int64[1] last = {{-1}}, float[5, 2] v, {SCALARS}"
    body = f"""a = MatMul (x, p) q = QuantizeLinear (a, xs, xz) t = com.microsoft.{op} (q, xs, xz, ys, yz)
    d = DequantizeLinear (t, ys, yz)"""
    numbers = NUMBERS | {"ys": 0.004, "yz": 0}
    assert_sizes(rows(f"{body} y = MatMul (d, v)", weights, numbers), 5)
    assert_sizes(rows(f"{body} y = ReduceSum (d, last)", weights, numbers), *([5] * exact))


def test_qlinear_softmax_keeps_its_axis() -> None:
    weights = f"float[3, 5] p, float[5, 2] v, {SCALARS}"
    body = """a = MatMul (x, p) q = QuantizeLinear (a, xs, xz)
    t = com.microsoft.QLinearSoftmax <axis = -1, opset = 13> (q, xs, xz, ys, yz) d = DequantizeLinear (t, ys, yz)
    y = MatMul (d, v)"""
    assert_kept(assert_sizes(rows(body, weights, NUMBERS)), "p", 1, "QLinearSoftmax", "normalised over")


@pytest.mark.parametrize("op", ["QLinearGlobalAveragePool", "QLinearAveragePool <kernel_shape = [3, 2]>"])
def test_qlinear_pool(op: str) -> None:
    weights = f"float[5, 3, 1, 1] p, int64[1] channels = {{1}}, {SCALARS}"
    body = f"""a = Conv (x, p) q = QuantizeLinear (a, xs, xz) t = com.microsoft.{op} (q, xs, xz, ys, yz)
    d = DequantizeLinear (t, ys, yz) y = ReduceSum (d, channels)"""
    assert_sizes(image(body, weights, NUMBERS), 5)


@pytest.mark.parametrize("tail", ["ReduceSum (d, channels)", "Conv (d, v)"])
def test_qlinear_concat(tail: str) -> None:
    weights = f"float[4, 3, 1, 1] p, float[5, 3, 1, 1] r, int64[1] channels = {{1}}, float[2, 9, 1, 1] v, {SCALARS}"
    body = f"""a = Conv (x, p) b = Conv (x, r) q = QuantizeLinear (a, xs, xz) k = QuantizeLinear (b, ys, yz)
    t = com.microsoft.QLinearConcat <axis = 1> (us, uz, q, xs, xz, k, ys, yz) d = DequantizeLinear (t, us, uz)
    y = {tail}"""
    assert_sizes(image(body, weights, NUMBERS), 4, 5)


@pytest.mark.parametrize(("count", "floats"), [(1, True), (5, False)])
def test_qgemm(count: int, floats: bool) -> None:
    size = f"[{count}]" if count > 1 else ""
    weights = f"float[3, 4] p, uint8[5, 4] w, float{size} ws, uint8{size} wz, int32[5] b, float[5, 2] v, {SCALARS}"
    rest = "b)" if floats else "b, us, uz)"
    back = "d = Identity (t)" if floats else "d = DequantizeLinear (t, us, uz)"
    body = f"""h = MatMul (x, p) q = QuantizeLinear (h, xs, xz)
    t = com.microsoft.QGemm <transB = 1> (q, xs, xz, w, ws, wz, {rest} {back} y = MatMul (d, v)"""
    values = NUMBERS | {"w": integers(5, 4, kind="uint8"), "ws": scales(count) if count > 1 else 0.01, "wz": 0}
    text = f"g (float[6, 3] x) => (float[A, B] y) <{weights}> {{ {body} }}"
    assert_sizes(microsoft(text, values | {"b": integers(5) * 20}), 4, 5)


FUSED = "float[3, 4] p, int8[4, 5] w, float[5] ws, int8[5] wz, float[5] b, float[5, 2] v, int64[1] last = {-1}"


@pytest.mark.parametrize("zero", [0, 9])
def test_dynamic_products_of_onnx_runtime(zero: int) -> None:
    values: Values = {"w": integers(4, 5), "ws": scales(5), "wz": zero}
    body = "h = MatMul (x, p) t = com.microsoft.DynamicQuantizeMatMul (h, w, ws, wz, b) y = MatMul (t, v)"
    assert_sizes(rows(body, FUSED, values), 4, 5)
    assert_sizes(rows(body.replace("h = MatMul (x, p)", "o = MatMul (x, p) h = Cos (o)"), FUSED, values), 5)
    body = """h = MatMul (x, p) q, a, z = DynamicQuantizeLinear (h)
    t = com.microsoft.MatMulIntegerToFloat (q, w, a, ws, z, wz, b) y = MatMul (t, v)"""
    assert_sizes(rows(body, FUSED, values), 4, 5)


@pytest.mark.parametrize(("directions", "vector"), [(1, False), (2, False), (1, True)])
def test_dynamic_quantise_lstm(directions: int, vector: bool) -> None:
    d, size = directions, "20" if vector else None
    scale = f"float[{d}, 20]" if vector else f"float[{d}]"
    zero = f"int8[{d}, 20]" if vector else f"int8[{d}]"
    weights = (
        f"float[3, 7] p, int8[{d}, 7, 20] w, int8[{d}, 5, 20] r, float[{d}, 40] b, {scale} ws, {zero} wz, {scale} rs"
    )
    weights += f", {zero} rz, float[5, 2] v"
    attrs = ', direction = "bidirectional"' if d == 2 else ""
    op = f"com.microsoft.DynamicQuantizeLSTM <hidden_size = 5{attrs}>"
    body = f"h = MatMul (x, p) t = {op} (h, w, r, b, , , , , ws, wz, rs, rz) y = MatMul (t, v)"
    text = f"g ({ROWS}) => (float[A, B, C, D] y) <{weights}> {{ {body} }}"
    shape = (d, 20) if size else (d,)
    values = {
        "w": integers(d, 7, 20),
        "r": integers(d, 5, 20),
        "ws": scales(*shape),
        "rs": scales(*shape),
        "wz": 0,
        "rz": 0,
    }
    assert_sizes(microsoft(text, values), 5, 7)


@pytest.mark.parametrize("directions", [1, 2])
def test_a_zero_point_of_a_recurrent_weight_keeps_the_units(directions: int) -> None:
    d, way = directions, ', direction = "bidirectional"' if directions == 2 else ""
    weights = f"float[3, 7] p, uint8[{d}, 7, 20] w, uint8[{d}, 5, 20] r, float[{d}] ws, uint8[{d}] wz, float[{d}] rs"
    weights += f", uint8[{d}] rz, float[5, 2] v"
    op = f"com.microsoft.DynamicQuantizeLSTM <hidden_size = 5{way}> (h, w, r, , , , , , ws, wz, rs, rz)"
    text = f"g ({ROWS}) => (float[A, B, C, D] y) <{weights}> {{ h = MatMul (x, p) t = {op} y = MatMul (t, v) }}"
    values = {
        "w": integers(d, 7, 20, kind="uint8"),
        "r": integers(d, 5, 20, kind="uint8"),
        "ws": 0.01,
        "rs": 0.01,
        "wz": 120,
        "rz": 131,
    }
    assert_kept(assert_sizes(microsoft(text, values), 7), "r", 1, "DynamicQuantizeLSTM", "summed over by operand 2")


def test_units_that_are_not_silent_are_kept_for_the_range_of_the_state() -> None:
    weights = "float[3, 7] p, int8[1, 7, 20] w, int8[1, 5, 20] r, float[1] ws, int8[1] wz, float[1] rs, int8[1] rz"
    weights += ", float[5, 2] v"
    op = "com.microsoft.DynamicQuantizeLSTM <hidden_size = 5, activations = [%s]> (h, w, r, , , , , , ws, wz, rs, rz)"
    op %= '"Sigmoid", "Sigmoid", "Tanh"'
    text = f"g ({ROWS}) => (float[A, B, C, D] y) <{weights}> {{ h = MatMul (x, p) t = {op} y = MatMul (t, v) }}"
    values = {"w": integers(1, 7, 20), "r": integers(1, 5, 20), "ws": 0.01, "rs": 0.01, "wz": 0, "rz": 0}
    assert_kept(assert_sizes(microsoft(text, values), 7), "r", 1, "DynamicQuantizeLSTM", "by the range of all units")


def test_numbers_that_move_keep_their_zero_point() -> None:
    weights = f"float[3, 4] wq, float[3, 4] wk, float[6, 2] v, {SCALARS}, int64[3] flat = {{0, -1, 4}}"
    body = """a = MatMul (x, wq) b = MatMul (x, wk) q = QuantizeLinear (a, xs, xz) k = QuantizeLinear (b, ys, yz)
    r = Reshape (k, flat) c = Transpose <perm = [0, 2, 1]> (r)
    t = QLinearMatMul (q, xs, yz, c, ys, yz, us, uz) d = DequantizeLinear (t, us, uz) y = MatMul (d, v)"""
    assert_sizes(
        rows(body, weights, NUMBERS), 4
    )  # the query's zero point is a wrong one, so that the key's must be known


def test_a_zero_point_for_each_channel_without_a_scale_for_each_is_heard() -> None:
    # A silenced zero point is 0, and the numbers of the removed channel are not: they give something.
    weights = f"uint8[5, 3, 1, 1] w, float ws, uint8[5] wz, {SCALARS}, int64[1] channels = {{1}}, float[2, 5, 1, 1] v"
    body = """q = QuantizeLinear (x, xs, xz) t = QLinearConv (q, xs, xz, w, ws, wz, us, uz)
    d = DequantizeLinear (t, us, uz)"""
    values = NUMBERS | {"w": integers(5, 3, 1, 1, kind="uint8"), "ws": 0.01, "wz": 77}
    analysis = analyze(Graph(image(f"{body} y = ReduceSum (d, channels)", weights, values)), {"x": (2, 3, 9, 7)})
    assert_kept(analysis, "w", 0, "ReduceSum", "ReduceSum over channels")


def test_a_weight_quantised_by_channels_is_not_read_back_by_one_scale() -> None:
    # The scale of a removed channel may be silenced, and then its number says nothing.
    weights = "float[5, 3, 1, 1] w, float[5] s, int8[5] z, float r, int8 o, int64[1] channels = {1}"
    body = """q = QuantizeLinear <axis = 0> (w, s, z) d = DequantizeLinear (q, r, o) t = Conv (x, d)
    y = ReduceSum (t, channels)"""
    values = {"s": scales(5), "z": 7, "r": 0.01, "o": 7}
    assert_kept(assert_sizes(image(body, weights, values)), "w", 0, "ReduceSum", "ReduceSum over channels")


@pytest.mark.parametrize("op", ["MatMulInteger", "ConvInteger"])
@pytest.mark.parametrize(("zero", "kept"), [(121, False), (EACH, True)])
def test_integers_that_are_not_at_rest_need_a_weight_that_is(op: str, zero: Any, kept: bool) -> None:
    conv, vector = op == "ConvInteger", "[5]" if kept else ""
    shape, p, v = ("[5, 4, 1, 1]", "float[4, 3, 1, 1] p", "float[2, 5, 1, 1] v")
    if not conv:
        shape, p, v = "[4, 5]", "float[3, 4] p", "float[5, 2] v"
    weights = f"{p}, uint8{shape} w, uint8{vector} wz, {v}, {SCALARS}"
    body = f"""{LOUD} q = QuantizeLinear (h, xs, xz) i = {op} (q, w, xz, wz) t = Cast <to = 1> (i) y = Conv (t, v)"""
    values = NUMBERS | {"w": integers(*((5, 4, 1, 1) if conv else (4, 5)), kind="uint8"), "wz": zero}
    model = (image if conv else rows)(body if conv else body.replace("= Conv", "= MatMul"), weights, values)
    if conv and kept:  # which no kernel of ONNX Runtime for the CPU takes
        analysis = analyze(Graph(model), {"x": (2, 3, 9, 7)})
        assert [g.size for g in analysis.groups] == [5]
        return
    found = assert_sizes(model, *([5] if kept else [4, 5]))
    if kept:
        assert_kept(found, "p", 1, op, "summed over")


def test_a_computed_scale_is_not_silent() -> None:
    # exp(0) is 1: a removed channel's number less its silenced zero point is not zero.
    weights = "uint8[5, 3, 1, 1] w, float[5] s, uint8[5] z, int64[1] channels = {1}"
    body = """r = Exp (s) d = DequantizeLinear <axis = 0> (w, r, z) t = Conv (x, d) y = ReduceSum (t, channels)"""
    values = {"w": integers(5, 3, 1, 1, kind="uint8"), "z": 128}
    assert_kept(assert_sizes(image(body, weights, values)), "w", 0, "ReduceSum", "ReduceSum over channels")


def test_a_recurrent_layer_quantises_its_input_by_the_range_of_all_channels() -> None:
    weights = "float[3, 7] p, int8[1, 7, 20] w, int8[1, 5, 20] r, float[1] ws, int8[1] wz, float[1] rs, int8[1] rz"
    op = "com.microsoft.DynamicQuantizeLSTM <hidden_size = 5> (h, w, r, , , , , , ws, wz, rs, rz)"
    body = f"o = MatMul (x, p) h = Cos (o) t = {op} y = MatMul (t, v)"
    text = f"g ({ROWS}) => (float[A, B, C, D] y) <{weights}, float[5, 2] v> {{ {body} }}"
    values = {"w": integers(1, 7, 20), "r": integers(1, 5, 20), "ws": 0.01, "rs": 0.01, "wz": 0, "rz": 0}
    assert_kept(assert_sizes(microsoft(text, values), 5), "p", 1, "DynamicQuantizeLSTM", "by the range of all channels")


def test_the_masked_model_divides_by_no_scale_of_zero() -> None:
    weights = "float[5, 3, 1, 1] w, float[5] s, float[5] r, int8[5] z, float[2, 5, 1, 1] v"
    body = """q = QuantizeLinear <axis = 0> (w, s, z) d = DequantizeLinear <axis = 0> (q, r, z) t = Conv (x, d)
    y = Conv (t, v)"""
    model = image(body, weights, {"s": scales(5), "r": scales(5), "z": 0})
    analysis = analyze(Graph(model), {"x": (2, 3, 9, 7)})
    masked = surgery.mask(analysis, {analysis.groups[0].var.id: np.arange(5) != 2})
    stored_now = {t.name: onnx.numpy_helper.to_array(t) for t in masked.graph.initializer}
    assert (stored_now["s"][2], stored_now["r"][2]) == (1, 0)

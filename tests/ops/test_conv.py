"""Convolutions and pooling, at every version of each."""

from __future__ import annotations

import pytest

from tests.oracle import IMAGE, analyzed, assert_exact, assert_kept, each, net, parse, versions

Y3, Y4, Y5 = "float[A, B, C] y", "float[A, B, C, D] y", "float[A, B, C, D, E] y"
FREE, HELD = {"w0": 4, "w": 5}, {"w0": 4}

CONV = {
    "1-D": (
        "float[N, 3, 11] x", Y3, "float[4,3,3] w0, float[4] b0, float[5,4,2] w, float[2,5,1] v",
        "p = Conv <strides=[2]> (x, w0, b0) r = Relu (p) t = Conv <dilations=[2], pads=[1,0]> (r, w) y = Conv (t, v)",
        {"w0": 4, "w": 5},
    ),
    "3-D": (
        "float[N, 3, 5, 6, 7] x", Y5, "float[4,3,2,1,3] w0, float[4] b0, float[5,4,1,2,1] w, float[2,5,1,1,1] v",
        "p = Conv <kernel_shape=[2,1,3]> (x, w0, b0) t = Conv <strides=[1,2,3]> (p, w) y = Conv (t, v)",
        {"w0": 4, "w": 5},
    ),
    "grouped": (
        IMAGE, Y4, "float[6,3,1,1] w0, float[10,3,3,3] w, float[10] b, float[4,10,1,1] v, float[2,4,1,1] u",
        "p = Conv (x, w0) t = Conv <group=2> (p, w, b) q = Conv (t, v) y = Conv (q, u)",
        {"w0": 2, "w0#2": 3, "w": 5, "v": 4},
    ),
    "depthwise": (
        IMAGE, Y4, "float[6,3,1,1] w0, float[6,1,3,2] w, float[6] b, float[2,6,1,1] v",
        "p = Conv (x, w0) t = Conv <group=6, pads=[1,0,1,2]> (p, w, b) y = Conv (t, v)",
        {"w0": 6},
    ),
    "depthwise with multiplier": (
        IMAGE, Y4, "float[6,3,1,1] w0, float[18,1,3,2] w, float[18] b, float[2,18,1,1] v",
        "p = Conv (x, w0) t = Conv <group=6> (p, w, b) y = Conv (t, v)",
        {"w0": 6, "w": 3},
    ),
    "grouped on the input": (
        "float[N, 4, 9, 7] x", Y4, "float[6,2,1,1] w0, float[3,6,1,1] v",
        "t = Conv <group=2> (x, w0) y = Conv (t, v)",
        {"w0": 3},
    ),
    "same padding": (
        IMAGE, Y4, "float[4,3,3,2] w0, float[5,4,2,3] w, float[5,4,1,1] s, float[2,5,1,1] v",
        """p = Conv <auto_pad="SAME_UPPER", strides=[2,2]> (x, w0) a = Conv <auto_pad="SAME_LOWER"> (p, w)
        c = Conv <auto_pad="VALID"> (p, s) t = Add (a, c) y = Conv (t, v)""",
        {"w0": 4, "w": 5},
    ),
    "a weight that is an input": (
        "float[N, 3, 9, 7] x, float[5, 4, 1, 1] k", Y4, "float[4,3,1,1] w0, float[2,5,1,1] v, float[3,2,1,1] u",
        "p = Conv (x, w0) h = Conv (p, k) t = Conv (h, v) y = Conv (t, u)",
        {"v": 2},
    ),
}  # fmt: skip  # a table

TRANSPOSED = {
    "plain": (
        IMAGE, Y4, "float[4,3,1,1] w0, float[4,5,3,2] w, float[5] b, float[2,5,1,1] v",
        """p = Conv (x, w0) t = ConvTranspose <strides=[2,3], output_padding=[1,2], pads=[1,0,0,1]> (p, w, b)
        y = Conv (t, v)""",
        {"w0": 4, "w": 5},
    ),
    "grouped": (
        IMAGE, Y4, "float[6,3,1,1] w0, float[6,5,3,2] w, float[10] b, float[2,10,1,1] v",
        "p = Conv (x, w0) t = ConvTranspose <group=2, strides=[2,1], dilations=[1,2]> (p, w, b) y = Conv (t, v)",
        {"w0": 2, "w0#2": 3, "w": 5},
    ),
    "depthwise": (
        IMAGE, Y4, "float[6,3,1,1] w0, float[6,1,3,2] w, float[2,6,1,1] v",
        "p = Conv (x, w0) t = ConvTranspose <group=6, output_shape=[19,14], strides=[2,2]> (p, w) y = Conv (t, v)",
        {"w0": 6},
    ),
    "1-D": (
        "float[N, 3, 11] x", Y3, "float[4,3,3] w0, float[4,5,2] w, float[2,5,1] v",
        'p = Conv (x, w0) t = ConvTranspose <auto_pad="SAME_UPPER", strides=[2]> (p, w) y = Conv (t, v)',
        {"w0": 4, "w": 5},
    ),
}  # fmt: skip  # a table


@pytest.mark.parametrize("opset", versions("Conv"))
@pytest.mark.parametrize("case", CONV)
def test_conv(case: str, opset: int) -> None:
    x, y, weights, body, groups = CONV[case]
    analysis = assert_exact(parse(f"g ({x}) => ({y}) <{weights}> {{ {body} }}", opset), groups)
    assert_kept(analysis, "w0", 1, "", "graph input")


@pytest.mark.parametrize("opset", versions("ConvTranspose"))
@pytest.mark.parametrize("case", TRANSPOSED)
def test_conv_transpose(case: str, opset: int) -> None:
    x, y, weights, body, groups = TRANSPOSED[case]
    assert_exact(parse(f"g ({x}) => ({y}) <{weights}> {{ {body} }}", opset), groups)


def test_roles() -> None:
    analysis = assert_exact(net("t = ConvTranspose (h, c, d)", "float[5,6,1,1] c, float[6] d", v="float[2,6,1,1] v"))
    roles = {(m.slot.tensor, m.axis): m.role for g in analysis.groups for m in g.members}
    assert roles == {
        ("w0", 0): "producer", ("w", 1): "consumer", ("w", 0): "producer", ("b", 0): "bias", ("c", 0): "consumer",
        ("c", 1): "producer", ("d", 0): "bias", ("v", 1): "consumer",
    }  # fmt: skip  # a table


def test_macs() -> None:
    """Counted by hand: output positions x channels x kernel, at a batch of 2."""
    model = net(
        "t = ConvTranspose <strides=[2,2]> (h, c)", "float[5,6,3,2] c", v="float[2,6,1,1] v", w="float[5,4,3,1] w"
    )
    pixels, inner = 9 * 7, 7 * 7
    first, second, third = 3 * 4 * pixels, 4 * 5 * 3 * inner, 5 * 6 * 6 * inner
    last = 6 * 2 * (15 * 14)
    assert assert_exact(model).macs({}) == 2 * (first + second + third + last)


POOLS = {
    "plain": "<kernel_shape=[3,2]>",
    "padded": "<kernel_shape=[3,2], strides=[2,3], pads=[1,0,1,1]>",
    "same": '<kernel_shape=[2,3], auto_pad="SAME_UPPER", strides=[2,2]>',
}


@pytest.mark.parametrize(("op", "opset"), each("MaxPool", "AveragePool", "LpPool"))
@pytest.mark.parametrize("case", POOLS)
def test_pool(case: str, op: str, opset: int) -> None:
    assert_exact(net(f"t = {op} {POOLS[case]} (h)", opset=opset), FREE)


@pytest.mark.parametrize(("op", "opset"), each("MaxPool", "AveragePool", oldest=10))
@pytest.mark.parametrize(
    "window", ["kernel_shape=[2,3], strides=[3,2]", "kernel_shape=[4,4], strides=[4,4], pads=[1,1,1,1]"]
)
def test_pool_with_ceiling(op: str, opset: int, window: str) -> None:
    assert_exact(net(f"t = {op} <{window}, ceil_mode=1> (h)", opset=opset), FREE)


@pytest.mark.parametrize("opset", versions("MaxPool", 8))
def test_pool_with_indices(opset: int) -> None:
    """The places of the maxima count through all channels, so that each of them stays."""
    body = "s, i = MaxPool <kernel_shape=[3,2]> (h) f = Cast <to=1> (i) m = Mul (f, milli) t = Add (s, m)"
    analysis = assert_exact(net(body, "float milli = {0.001}", opset=opset), HELD)
    assert_kept(analysis, "w", 0, "MaxPool", "counted over all channels")


@pytest.mark.parametrize(("op", "opset"), each("GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool"))
def test_global_pool(op: str, opset: int) -> None:
    model = net(f"t = {op} (h)", opset=opset)
    if (op, opset) == ("GlobalLpPool", 22):  # neither ONNX Runtime 1.32 nor onnx's own evaluator has it
        analyzed(model, FREE)
    else:
        assert_exact(model, FREE)


def test_pooling_passes_silence_on() -> None:
    """Summed over channels after a pooling: what a silent channel adds is nothing."""
    for op in ("MaxPool <kernel_shape=[3,2]>", "GlobalAveragePool"):
        body = f"s = {op} (h) k = ReduceSum <axes=[1], keepdims=1> (s) t = Mul (s, k)"
        assert_exact(net(body, opset=11), FREE)


SPACE = {
    # Space that a weight makes: a window over it keeps it.
    "Conv": "t = Conv (h, k)",
    "ConvTranspose": "t = ConvTranspose (h, k2)",
    "MaxPool": "t = MaxPool <kernel_shape=[2]> (h)",
    "AveragePool": "t = AveragePool <kernel_shape=[2]> (h)",
    "GlobalAveragePool": "g = GlobalAveragePool (h) t = Mul (h, g)",
}


@pytest.mark.parametrize("op", SPACE)
def test_space_of_a_window_is_kept(op: str) -> None:
    weights = "float[6,4] w0, float[4,7] w, float[2,3,2] k, float[3,2,2] k2, float[7,2] v, float[8,2] v8, float[6,2] v6"
    v = {"Conv": "v6", "ConvTranspose": "v8", "MaxPool": "v6", "AveragePool": "v6"}.get(op, "v")
    body = f"p = MatMul (x, w0) h = MatMul (p, w) {SPACE[op]} y = MatMul (t, {v})"
    analysis = assert_exact(parse(f"g (float[N, 3, 6] x) => ({Y3}) <{weights}> {{ {body} }}", 13), {"w0": 4})
    assert_kept(analysis, "w", 1, op, "space")


KERNELS = {
    # How a kernel of 5 x 4 x 1 x 1 comes from the input's mean, and whether its removed channels are zero.
    "silent": ("k = Reshape (m, s)", True),
    "not silent": ("e = Exp (m) k = Reshape (e, s)", False),
}


@pytest.mark.parametrize("case", KERNELS)
def test_computed_kernel(case: str) -> None:
    """Its output channels may go; what is summed over them afterwards is exact where they are zero."""
    made, silent = KERNELS[case]
    mean = "g = ReduceMean <axes=[2,3], keepdims=0> (x) m = MatMul (g, q)"
    body = f"{mean} {made} p = Conv (x, w0) h = Conv (p, k) r = ReduceSum (h, one) t = Mul (h, r) y = Conv (t, v)"
    weights = "float[4,3,1,1] w0, float[3,20] q, int64[4] s = {5, 4, 1, 1}, float[2,5,1,1] v, int64[1] one = {1}"
    model = parse(f"g (float[1, 3, 9, 7] x) => ({Y4}) <{weights}> {{ {body} }}", 13)
    assert_exact(model, {"q": 5, "q#2": 4} if silent else {"q": 4})
    # Neither operand is zero where a channel of the sum is removed: it is kept.
    body = body.replace("p = Conv (x, w0)", "a = Conv (x, w0) p = Exp (a)")
    model = parse(f"g (float[1, 3, 9, 7] x) => ({Y4}) <{weights}> {{ {body} }}", 13)
    if silent:
        assert_exact(model, {"q": 5, "q#2": 4})
    else:
        analysis = analyzed(model, {})
        assert_kept(analysis, "w0", 0, "Conv", "would not be zero")


def test_computed_bias() -> None:
    """A bias that the input decides is not silent."""
    mean = "g = ReduceMean <axes=[0,2,3], keepdims=0> (x) m = MatMul (g, q)"
    weights = "float[4,3,1,1] w0, float[5,4,1,1] w, float[3,5] q, float[2,5,1,1] v, int64[1] one = {1}"
    for made, groups in (("k = Neg (m)", {"w0": 4, "q": 5}), ("k = Cos (m)", {"w0": 4})):
        body = (
            f"{mean} {made} p = Conv (x, w0) h = Conv (p, w, k) r = ReduceSum (h, one) t = Mul (h, r) y = Conv (t, v)"
        )
        assert_exact(parse(f"g ({IMAGE}) => ({Y4}) <{weights}> {{ {body} }}", 13), groups)


def test_no_groups_at_all() -> None:
    """No runtime takes that, but it is told of and breaks nothing."""
    found = analyzed(net("t = Conv <group = 0> (h, q)", "float[5,5,1,1] q"), {"w0": 4})
    assert_kept(found, "q", 0, "Conv", "it has 0 groups")

"""Predicted means at the inputs of consumers, against runs on inputs that are what the batch norms say they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import ModelProto

from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import analyze
from onnx_attnprune.recovery.consumers import Consumer
from onnx_attnprune.recovery.means import LAWS, input_means, laws_of
from tests.oracle import parse
from tests.recovery.helpers import Array, put, session, stored

ROWS = 100_000
NORM = "float[6] s, float[6] b, float[6] m, float[6] var_v"
LAYER = "n = BatchNormalization (c, s, b, m, var_v)"
# From the batch norm's output n (six channels) to t, which the consumer reads.
BODIES = {
    "Relu": ("t = Relu (n)", ""),
    "clipped": ("t = Clip (n, lo, hi)", ""),
    "SiLU in two nodes": ("p = Sigmoid (n) t = Mul (n, p)", ""),
    "hard swish in four nodes": ("p = Add (n, three) q = Clip (p, zero, six) r = Mul (n, q) t = Div (r, six)", ""),
    "a leaky slope a channel": ("t = PRelu (n, a)", "float[6,1,1] a"),
    "two activations": ("p = Tanh (n) q = Neg (p) t = Softplus (q)", ""),
    "a difference of functions of one variable": ("p = Relu (n) t = Sub (n, p)", ""),
    "a square": ("t = Mul (n, n)", ""),
    "a power": ("t = Pow (n, two)", ""),
    "the larger of two functions": ("p = Neg (n) t = Max (n, p)", ""),
    "a scale and a shift": ("p = Mul (n, a) q = Add (p, a) t = Relu (q)", "float[6,1,1] a"),
    "a function, scaled and shifted": ("p = Sigmoid (n) q = Mul (p, a) r = Sub (q, a) t = Abs (r)", "float[6,1,1] a"),
    "a depthwise convolution": ("p = Relu (n) t = Conv <group=6> (p, d, d0)", "float[6,1,1,1] d, float[6] d0"),
    "a convolution and its activation": ("k = Conv (n, e, d0) t = Relu (k)", "float[6,6,1,1] e, float[6] d0"),
    "a global average": ("p = Relu (n) t = GlobalAveragePool (p)", ""),
    "a mean over space": ("p = Relu (n) t = ReduceMean <axes=[2, 3], keepdims=1> (p)", ""),
    "a cast": ("p = Cast <to=1> (n) q = Dropout (p) i = Identity (q) t = Relu (i)", ""),
}


def model_of(body: str, weights: str = "", first: str = LAYER, v: str = "float[5,6,1,1] v") -> ModelProto:
    """x -> batch norm = n -> the body, which makes t -> Conv v."""
    numbers = {"lo": -0.4, "hi": 0.8, "two": 2, "minus": -2, "three": 3, "zero": 0, "six": 6}
    shared = ", ".join(f"float {name} = {{{value}}}" for name, value in numbers.items())
    shared += ", int64[3] folded = {-1, 2, 3}, int64[4] unfolded = {-1, 6, 1, 1}, float[2] g1, float[2] g2"
    declared = ", ".join(w for w in (NORM, shared, v, weights) if w)
    outputs = "float[A, B, C, D] y, float[E, F, G, H] t"
    text = f"g (float[N, 6, 1, 1] c) => ({outputs}) <{declared}> {{ {first} {body} y = Conv (t, v) }}"
    model = parse(text, 17)
    put(model, "s", np.array([0.5, 1.3, -0.8, 1.0, 0.2, 2.0]))
    put(model, "b", np.array([-1.0, 0.3, 0.0, 0.8, -0.1, 1.2]))
    return model


def predicted(model: ModelProto, channels: int = 6) -> Array:
    """The means at the input of the last node."""
    analysis = analyze(Graph(model))
    node, effect = analysis.effects[-1]
    assert effect.linear is not None
    consumer = Consumer(node, effect.linear, 1, node.inputs[0], np.zeros(channels, bool), np.ones(5, bool))
    return input_means(analysis, [consumer])[node.index]


@pytest.mark.parametrize("case", BODIES)
def test_means_are_those_of_a_run_on_normal_numbers(case: str) -> None:
    model = model_of(*BODIES[case])
    mean, variance = stored(model, "m"), stored(model, "var_v")
    x = mean + np.sqrt(variance) * np.random.default_rng(1).standard_normal((ROWS, 6))
    t = (
        session(model)
        .run({"c": x[:, :, None, None].astype(np.float32)}, ["t"])["t"]
        .reshape(ROWS, 6)
        .astype(np.float64)
    )
    error = 5 * t.std(0) / np.sqrt(ROWS) + 2e-3 * t.std(0) + 1e-6  # the grid at kinks; rare events
    assert (np.abs(predicted(model) - t.mean(0)) < error).all()


UNKNOWN = {
    "the graph's input": "t = Relu (c)",
    "an activation behind an average, whose spread is not known": "p = GlobalAveragePool (n) t = Relu (p)",
    "a product with a gate": "p = GlobalAveragePool (n) q = Sigmoid (p) t = Mul (n, q)",
    "a product of two batch norms": "k = BatchNormalization (n, s, b, m, var_v) t = Mul (n, k)",
    "an operator that mixes channels": "t = Softmax <axis=1> (n)",
    "an operator that is not finite everywhere": "t = Reciprocal (n)",
    "a division by what may be zero": "p = Relu (c) q = Tanh (n) t = Div (n, q)",
    "a negative power": "t = Pow (n, minus)",
    "a group norm that is written as an instance norm": (
        "p = Reshape (n, folded) q = InstanceNormalization (p, g1, g2) t = Reshape (q, unfolded)"
    ),
    "bounds that are computed": "p = ReduceMax <keepdims=0> (c) t = Clip (n, , p)",
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_can_not_be_known_is_not_guessed(case: str) -> None:
    assert np.isnan(predicted(model_of(UNKNOWN[case]))).all()


def test_a_residual_sum_adds_variances() -> None:
    # Relu of the sum of two independent normal variables, by its closed form.
    model = model_of("k = Conv (n, e) j = BatchNormalization (k, s2, b2, m2, var2) p = Add (n, j) t = Relu (p)",
                     "float[6,6,1,1] e, float[6] s2, float[6] b2, float[6] m2, float[6] var2")  # fmt: skip  # two lines
    mean = stored(model, "b").astype(float) + stored(model, "b2")
    spread = np.sqrt(stored(model, "s").astype(float) ** 2 + stored(model, "s2").astype(float) ** 2)
    z = mean / spread
    cdf = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in z])
    closed = mean * cdf + spread * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(predicted(model), closed, rtol=1e-4)


def test_known_and_unknown_channels_stand_side_by_side() -> None:
    got = predicted(model_of("p = Concat <axis=1> (c, n) t = Relu (p)", v="float[5,12,1,1] v"), 12)
    assert np.isnan(got[:6]).all()
    assert np.isfinite(got[6:]).all()


def test_a_window_s_maximum_lies_above_its_mean() -> None:
    plain = predicted(model_of("t = Relu (n)"))
    pooled = predicted(model_of("p = Relu (n) t = MaxPool <kernel_shape=[2,2], pads=[1,1,0,0]> (p)"))
    assert (pooled > plain).all()


def test_instance_norm_states_its_mean() -> None:
    model = model_of("t = Identity (n)", first="n = InstanceNormalization (c, s, b)")
    np.testing.assert_allclose(predicted(model), stored(model, "b"), atol=1e-7)


def test_a_slice_and_a_gather_take_their_channels() -> None:
    model = model_of(
        "p = Slice (n, start, end, axis) q = Gather <axis=1> (n, order) t = Concat <axis=1> (p, q)",
        "int64[1] start = {1}, int64[1] end = {3}, int64[1] axis = {1}, int64[4] order = {5, 0, 0, 4}",
    )
    b = stored(model, "b")
    np.testing.assert_allclose(predicted(model), b[[1, 2, 5, 0, 0, 4]], atol=1e-7)


def test_weights_are_read_through_the_nodes_that_exporters_put_before_them() -> None:
    model = model_of(
        "t = Relu (n)",
        "float[6] raw, int8[6] q = {-20, 3, 7, 11, 100, 50}, float f = {0.02}, int8 z = {5}",
        first="s1 = Identity (raw) b1 = DequantizeLinear (q, f, z) n = BatchNormalization (c, s1, b1, m, var_v)",
    )
    other = model_of("t = Relu (n)")
    put(other, "s", stored(model, "raw"))
    put(other, "b", (np.array([-20, 3, 7, 11, 100, 50]) - 5) * 0.02)
    for name in ("m", "var_v"):
        put(other, name, stored(model, name))
    np.testing.assert_allclose(predicted(model), predicted(other), atol=1e-6)


def test_an_operator_has_one_function() -> None:
    with pytest.raises(ValueError, match="Relu has a function already: relu"):
        laws_of("Relu")(LAWS["Relu"])

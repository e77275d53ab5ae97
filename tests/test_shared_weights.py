"""Weights that several nodes read: all uses of one are cut alike, where each of them could be cut."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from tests.oracle import analyzed, assert_exact, cut, net, parse, stored

TWO = "float[N, 3, 9, 7] x, float[N, 3, 9, 7] z"
WEIGHTS = "float[5,3,1,1] a, float[5] b, float[4,5,1,1] w, float[2,4,1,1] u, float[2,4,1,1] v"


def siamese() -> ModelProto:
    """Two inputs through the same two convolutions, into layers of their own."""
    sides = "p = Conv (x, a, b) q = Conv (p, w) r = Conv (z, a, b) s = Conv (q, u) t = Conv (r, w) o = Conv (t, v)"
    return parse(f"g ({TWO}) => (float[A, B, C, D] y) <{WEIGHTS}> {{ {sides} y = Add (s, o) }}")


def test_both_sides_of_a_siamese_network_are_cut_alike() -> None:
    model = siamese()
    analysis = assert_exact(model, {"a": 5, "w": 4})
    pruned = cut(analysis, a=[1, 3], w=[0])
    assert {name: array.shape[:2] for name, array in stored(pruned).items() if array.ndim > 1} == {
        "a": (3, 3), "w": (3, 3), "u": (2, 3), "v": (2, 3),
    }  # fmt: skip  # a table


def test_a_layer_that_runs_twice_in_a_row() -> None:
    assert_exact(
        net("q = Relu (h) r = Conv (q, k) s = Relu (r) t = Conv (s, k)", "float[5,5,1,1] k"), {"w0": 4, "w": 5}
    )


def test_equal_numbers_say_nothing() -> None:
    """Zeros and ones are stored once by exporters, whoever reads them."""
    model = siamese()
    for tensor in model.graph.initializer:
        if tensor.name == "w":
            tensor.raw_data = np.ones((4, 5, 1, 1), np.float32).tobytes()
    sizes = [(g.name, g.size) for g in analyzed(model).groups]
    assert sizes == [("a", 5), ("w", 4), ("w#2", 4)]


def test_a_scale_of_two_widths_ties_nothing() -> None:
    """Only what weighs channels is a layer: a table that two widths are multiplied with is none."""
    body = "q = Mul (h, k) r = Conv (q, f) t = Mul (r, k)"
    assert_exact(net(body, "float[1,5,1,1] k, float[5,5,1,1] f"), {"w0": 4, "w": 5, "f": 5})


def test_a_use_that_is_kept_leaves_the_other_free() -> None:
    body = "q = Conv (h, k) m = ReduceMax <keepdims=1> (q, one) r = Mul (q, m) s = Conv (r, f) t = Conv (s, k)"
    weights = "float[6,5,1,1] k, float[5,6,1,1] f, int64[1] one = {1}"
    model = net(body, weights, v="float[2,6,1,1] v")
    analysis = assert_exact(model, {"w0": 4, "w": 5, "k": 6})
    assert [m.slot.consumer for g in analysis.groups if g.name == "k" for m in g.members] == ["t", "y"]


def test_uses_that_lie_on_parts_of_a_concat() -> None:
    """The first step of an unrolled recurrence reads zeros in place of a state."""
    step = "{h} = Concat <axis=1> ({x}, {s}) {g} = Conv ({h}, k)"
    body = " ".join([
        "i = Shape (x) f = Gather <axis=0> (i, zero) l = Concat <axis=0> (f, rest) n = ConstantOfShape (l)",
        step.format(h="h1", x="h", s="n", g="g1"), "s1 = Tanh (g1)", step.format(h="h2", x="h", s="s1", g="g2"),
        "t = Tanh (g2)",
    ])  # fmt: skip  # one line a step
    weights = "float[6,11,1,1] k, int64[1] zero = {0}, int64[3] rest = {6, 9, 7}"
    model = net(body, weights, v="float[2,6,1,1] v", x="float[2, 3, 9, 7] x", y="float[2, 2, 9, 7] y")
    assert_exact(model, {"w0": 4, "w": 5, "k": 6})


def test_uses_that_are_slices_of_one_weight() -> None:
    """An exporter reorders gates by slicing one weight three times: each slice leaves the others' rows alone."""
    body = """f = Slice (k, nought, five) g = Slice (k, five, ten) e = Concat <axis=0> (g, f) q = Conv (h, e)
    r, s = Split <axis=1> (q, halves) m = Sigmoid (r) t = Mul (m, s)"""
    weights = """float[10,5,1,1] k, int64[1] nought = {0}, int64[1] five = {5}, int64[1] ten = {10},
    int64[2] halves = {5, 5}"""
    model = net(body, weights)
    pruned = cut(assert_exact(model, {"w0": 4, "w": 5, "k": 5}), k=[1, 2])
    assert stored(pruned)["k"].shape == (6, 5, 1, 1)


def test_a_part_that_one_use_keeps_stays_free_in_the_other() -> None:
    """The first use reads the input beside five channels, the second three channels of a layer beside five others."""
    body = """c = Concat <axis=1> (x, h) q = Conv (c, k) e = Conv (p, f) g = Conv (p, m) d = Concat <axis=1> (e, g)
    r = Conv (d, k) t = Concat <axis=1> (q, r)"""
    weights = "float[7,8,1,1] k, float[3,4,1,1] f, float[5,4,1,1] m"
    model = net(body, weights, v="float[2,14,1,1] v")
    analysis = assert_exact(model, {"w0": 4, "w": 5, "k": 7, "f": 3})
    pruned = cut(analysis, w=[1, 4])
    assert {name: stored(pruned)[name].shape[:2] for name in "wmk"} == {"w": (3, 4), "m": (3, 4), "k": (7, 6)}


def test_channels_of_one_layer_lie_where_another_use_has_two_layers() -> None:
    body = """e = Conv (p, f) c = Concat <axis=1> (e, h) q = Conv (c, k) o = Conv (p, m) r = Conv (o, k)
    t = Concat <axis=1> (q, r)"""
    weights = "float[8,11,1,1] k, float[6,4,1,1] f, float[11,4,1,1] m"
    model = net(body, weights, v="float[2,16,1,1] v")
    analysis = assert_exact(model, {"w0": 4, "w": 5, "f": 6, "k": 8})
    pruned = cut(analysis, f=[0], w=[1, 4])
    kept = [1, 2, 3, 4, 5, 6, 8, 9]
    assert np.array_equal(stored(pruned)["m"], stored(model)["m"][kept])

"""Constants with several readers: each is cut for its own, and what is equal afterwards is shared again."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from onnx_attnprune import surgery
from onnx_attnprune.grouping import alive_of
from tests.oracle import IMAGE, analyzed, assert_exact, cut, net, parse, stored

Y4 = "float[A, B, C, D] y"
FREE = {"w0": 4, "w": 5}
SHARED = "float[5,3,1,1] a, float[5,3,1,1] b, float[5] shared, float[2,5,1,1] u, float[2,5,1,1] v"
BODY = "p = Conv (x, a, shared) q = Conv (x, b, shared) c = Conv (p, u) d = Conv (q, v) y = Add (c, d)"


def shared_model(body: str = BODY) -> ModelProto:
    return parse(f"g ({IMAGE}) => ({Y4}) <{SHARED}> {{ {body} }}")


def test_readers_that_are_cut_differently() -> None:
    model = shared_model()
    analysis, old = analyzed(model), stored(model)["shared"]
    alive = alive_of(analysis.groups, {0: [1], 1: [0, 4]})
    cuts = surgery.cuts_of(analysis, alive)
    assert "shared" not in cuts.whole
    assert [(u.tensor, u.consumer, u.place, dict(u.removed)) for u in cuts.uses] == [
        ("shared", "p", 2, {0: (1,)}), ("shared", "q", 2, {0: (0, 4)}),
    ]  # fmt: skip  # a table
    pruned = surgery.prune(analysis, alive)
    new = stored(pruned)
    assert "shared" not in new
    names = [n.input[2] for n in pruned.graph.node if n.op_type == "Conv" and len(n.input) > 2]
    np.testing.assert_array_equal(new[names[0]], old[[0, 2, 3, 4]])
    np.testing.assert_array_equal(new[names[1]], old[[1, 2, 3]])


def test_one_reader_that_is_cut() -> None:
    """The other one still reads the tensor as it was, and the file still has it."""
    model = shared_model()
    pruned = cut(analyzed(model), a=[1])
    assert stored(pruned)["shared"].shape == (5,)
    assert [n.input[2] for n in pruned.graph.node if n.op_type == "Conv" and len(n.input) > 2][1] == "shared"


def test_readers_that_are_cut_alike_share_again() -> None:
    model = shared_model()
    pruned = cut(analyzed(model), a=[1], b=[1])
    assert stored(pruned)["shared"].shape == (4,)
    assert len(pruned.graph.initializer) == len(model.graph.initializer)


def test_equal_uses_share_one_copy() -> None:
    """Two of three readers are cut alike: one copy for both of them."""
    text = (
        f"g ({IMAGE}) => ({Y4}) <{SHARED}, float[5,3,1,1] e, float[2,5,1,1] o> {{ {BODY.replace('y =', 'z =')} "
        f"r = Conv (x, e, shared) i = Conv (r, o) y = Add (z, i) }}"
    )
    pruned = cut(analyzed(parse(text)), a=[1], b=[1], e=[2, 3])
    assert sorted(len(array) for name, array in stored(pruned).items() if name.startswith("shared")) == [3, 4]


def test_a_constant_that_is_an_output_too() -> None:
    """It must leave the model as it was."""
    text = (
        f"g ({IMAGE}) => ({Y4}, float[E] b) <float[5,3,1,1] a, float[5] b, float[2,5,1,1] v> {{ h = Conv (x, a, "
        f"b) y = Conv (h, v) }}"
    )
    model = parse(text)
    analysis = assert_exact(model, {"a": 5})
    np.testing.assert_array_equal(stored(cut(analysis, a=[0]))["b"], stored(model)["b"])


def test_a_constant_that_a_body_reads_too() -> None:
    body = """m = ReduceMax <keepdims=0> (x) c = Greater (m, zero)
    s = If (c) <then_branch = a () => (float[5] ta) { ta = Relu (b) }, else_branch = d () => (float[5] tb) {
    tb = Neg (b) }>
    k = ReduceMax <keepdims=0> (s) t = Mul (h, k)"""
    assert_exact(net(body, "float zero = {0.0}", opset=17), FREE)


def test_a_body_that_has_the_same_name_inside() -> None:
    """A node of the main graph and one of a body with outputs of the same name are not the same."""
    body = """m = ReduceMax <keepdims=0> (x) c = Greater (m, zero)
    s = If (c) <then_branch = a () => (float[1] ta) { k1 = Relu (zero) ta = Identity (k1) }, else_branch = d
    () => (float[1] tb) { k2 = Neg (zero) tb = Identity (k2) }>
    t = Add (h, s)"""
    assert_exact(net(body, "float[1] zero = {0.0}", opset=17), FREE)

"""Channel groups of whole blocks, and everything that keeps: what the rules say together."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_attnprune import surgery
from onnx_attnprune.axes import Pick, leaves
from onnx_attnprune.errors import ModelError
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import alive_of, analyze
from onnx_attnprune.grouping.findings import UNMADE
from onnx_attnprune.ops.reduce import RMS
from tests.oracle import (
    IMAGE,
    Runner,
    analyzed,
    assert_exact,
    assert_kept,
    default_shapes,
    distance,
    kept,
    net,
    parse,
    random_masks,
    told,
    weight,
)  # fmt: skip  # a list of names

Y4 = "float[A, B, C, D] y"
FREE, HELD = {"w0": 4, "w": 5}, {"w0": 4}


def graph(weights: str, body: str, x: str = IMAGE, y: str = Y4, opset: int = 13) -> onnx.ModelProto:
    return parse(f"g ({x}) => ({y}) <{weights}> {{ {body} }}", opset)


BLOCKS = {
    "residual": (
        "float[5,3,1,1] s, float[5,5,3,3] a, float[5] ab, float[6,5,1,1] b, float[5,6,1,1] c, float[2,5,1,1] v",
        "p = Conv (x, s) q = Conv <pads=[1,1,1,1]> (p, a, ab) r = Add (p, q) d = Conv (r, b) e = Relu (d) f = Conv "
        "(e, c) z = Add (f, r) y = Conv (z, v)",
        {"s": 5, "b": 6},
    ),
    "residual on the input keeps": (
        "float[6,3,1,1] a, float[3,6,1,1] b", "p = Conv (x, a) q = Conv (p, b) y = Add (q, x)", {"a": 6},
    ),
    "squeeze and excite": (
        "float[6,3,1,1] w0, float[4,6,1,1] down, float[4] db, float[6,4,1,1] up, float[6] ub, float[2,6,1,1] v",
        """p = Conv (x, w0) g = GlobalAveragePool (p) d = Conv (g, down, db) r = Relu (d) u = Conv (r, up,
        ub) s = HardSigmoid (u)
        t = Mul (p, s) y = Conv (t, v)""",
        {"w0": 6, "down": 4},
    ),
    "squeeze and excite, dense": (
        "float[6,3,1,1] w0, float[6,4] down, float[4,6] up, float[2,6,1,1] v, int64[4] s = {-1, 6, 1, 1}",
        """p = Conv (x, w0) g = ReduceMean <axes=[2,3], keepdims=0> (p) d = MatMul (g, down) r = Relu (d) u
        = MatMul (r, up)
        q = Sigmoid (u) e = Reshape (q, s) t = Mul (p, e) y = Conv (t, v)""",
        {"w0": 6, "down": 4},
    ),
    "dense block": (
        "float[4,3,1,1] w0, float[3,4,1,1] a, float[5,7,3,3] b, float[2,12,1,1] v, float[7] bs, float[7] bb, "
        "float[7] bm, float[7] varb",
        """p = Conv (x, w0) q = Conv (p, a) c = Concat <axis=1> (p, q) n = BatchNormalization (c, bs, bb,
        bm, varb) r = Relu (n)
        e = Conv <pads=[1,1,1,1]> (r, b) f = Concat <axis=1> (c, e) y = Conv (f, v)""",
        {"w0": 4, "a": 3, "b": 5},
    ),
    "cross stage partial": (
        "float[10,3,1,1] w0, float[5,5,3,3] a, float[7,15,1,1] o, float[2,7,1,1] v, int64[2] parts = {5, 5}",
        """p = Conv (x, w0) l, r = Split <axis=1> (p, parts) q = Conv <pads=[1,1,1,1]> (r, a) b = Add (q, r)
        c = Concat <axis=1> (l, r, b)
        t = Conv (c, o) y = Conv (t, v)""",
        {"w0": 5, "w0#2": 5, "o": 7},
    ),
    "u-net": (
        "float[4,3,3,3] e1, float[6,4,3,3] e2, float[6,5,2,2] up, float[7,9,1,1] d1, float[2,7,1,1] v",
        """a = Conv <pads=[1,1,1,1]> (x, e1) m = MaxPool <kernel_shape=[2,2], strides=[2,2]> (a) b = Conv
        <pads=[1,1,1,1]> (m, e2)
        u = ConvTranspose <strides=[2,2], output_padding=[1,1]> (b, up) c = Concat <axis=1> (u, a) d = Conv
        (c, d1) y = Conv (d, v)""",
        {"e1": 4, "e2": 6, "up": 5, "d1": 7},
    ),
    "feature pyramid": (
        "float[4,3,1,1] c1, float[6,4,1,1] c2, float[5,4,1,1] l1, float[5,6,1,1] l2, float[5,5,3,3] o, "
        "float[2,5,1,1] v, float[4] f = {1,1,2,2}",
        """a = Conv (x, c1) m = MaxPool <kernel_shape=[2,2], strides=[2,2]> (a) b = Conv (m, c2) p = Conv
        (a, l1) q = Conv (b, l2)
        r = Resize (q, , f) s = Add (p, r) t = Conv <pads=[1,1,1,1]> (s, o) y = Conv (t, v)""",
        {"c1": 4, "c2": 6, "l1": 5, "o": 5},
    ),
    "zero-padded shortcut": (
        "float[4,3,1,1] w0, float[7,4,3,3] a, float[2,7,1,1] v, int64[8] pads = {0,1,0,0,0,2,0,0}",
        "p = Conv (x, w0) s = Pad (p, pads) q = Conv <pads=[1,1,1,1]> (p, a) t = Add (s, q) y = Conv (t, v)",
        {"w0": 4, "a": 2},  # of seven the first stands alone and stays, four are the input's, two the convolution's own
    ),
    "inverted residual": (
        "float[4,3,1,1] w0, float[12,4,1,1] e, float[12,1,3,3] d, float[12] db, float[4,12,1,1] p, float[2,4,1,1] v",
        """a = Conv (x, w0) b = Conv (a, e) c = Clip (b, zero, six) f = Conv <group=12, pads=[1,1,1,1]> (c,
        d, db) g = Conv (f, p)
        h = Add (a, g) y = Conv (h, v)""",
        {"w0": 4, "e": 12},
    ),
}  # fmt: skip  # a table


@pytest.mark.parametrize("case", BLOCKS)
def test_blocks(case: str) -> None:
    weights, body, groups = BLOCKS[case]
    x = "float[N, 3, 10, 8] x" if case == "feature pyramid" else IMAGE
    more = ", float zero = {0.0}, float six = {6.0}" if "six" in body else ""
    assert_exact(graph(weights + more, body, x=x), groups, seeds=range(5))


# ---------------------------------------------------------------- constants
def test_a_shared_constant_does_not_tie() -> None:
    """One bias for two convolutions: each of them is cut as it likes."""
    weights = "float[5,3,1,1] a, float[5,3,1,1] b, float[5] shared, float[2,5,1,1] u, float[2,5,1,1] v"
    body = "p = Conv (x, a, shared) q = Conv (x, b, shared) c = Conv (p, u) d = Conv (q, v) y = Add (c, d)"
    assert_exact(graph(weights, body), {"a": 5, "b": 5}, seeds=range(5))


def test_a_constant_through_identity() -> None:
    """As exporters write it: zeros -> Identity -> the bias of a second convolution."""
    weights = "float[5,3,1,1] a, float[5,3,1,1] b, float[5] zeros, float[2,5,1,1] u, float[2,5,1,1] v"
    body = (
        "i = Identity (zeros) p = Conv (x, a, zeros) q = Conv (x, b, i) c = Conv (p, u) d = Conv (q, v) y = Add (c, d)"
    )
    analysis = assert_exact(graph(weights, body), {"a": 5, "b": 5}, seeds=range(5))
    assert {m.role for g in analysis.groups for m in g.members if m.slot.tensor == "zeros"} == {"bias"}


def test_one_result_for_two_readers_does_tie() -> None:
    """A constant is one per use, but what a node makes of it is one tensor."""
    weights = "float[5,3,1,1] a, float[5,3,1,1] b, float[5] zeros, float[2,5,1,1] u, float[2,5,1,1] v"
    body = "i = Identity (zeros) p = Conv (x, a, i) q = Conv (x, b, i) c = Conv (p, u) d = Conv (q, v) y = Add (c, d)"
    assert_exact(graph(weights, body), {"a": 5})


def test_weights_that_are_computed() -> None:
    """Through Cast, Transpose, Reshape, Unsqueeze and a product of two constants."""
    weights = """double[3,4] w0, float[5,4] w, float[5] gain, float[10] v, int64[4] s = {4, 3, 1, 1},
    int64[4] r = {2, 5, 1, 1},
    int64[2] at = {2, 3}, int64[1] one = {1}"""
    body = """t0 = Transpose (w0) c0 = Cast <to=1> (t0) k0 = Reshape (c0, s) p = Conv (x, k0) e = Unsqueeze
    (gain, one) m = Mul (w, e)
    k1 = Unsqueeze (m, at) q = Conv (p, k1) k2 = Reshape (v, r) y = Conv (q, k2)"""
    analysis = assert_exact(graph(weights, body), {"w0": 4, "gain": 5})
    found = [(m.slot.tensor, m.axis, m.role) for g in analysis.groups for m in g.members]
    assert [row for row in found if row[0] in ("w0", "w")] == [
        ("w0", 1, "producer"), ("w", 1, "consumer"), ("w", 0, "producer"),
    ]  # fmt: skip  # a table


def test_names() -> None:
    """Of the first producer, without `.weight`; a second group of one tensor is numbered."""
    analysis = analyzed(
        net("s = Split <axis=1, num_outputs=2> (h) t = Relu (s)".replace("s =", "s, z ="), v="float[2,3,1,1] v")
    )
    assert [g.name for g in analysis.groups] == ["w0", "w", "w#2"]
    model = net("t = Relu (h)")
    for tensor in model.graph.initializer:
        tensor.name = tensor.name.replace("w0", "layer.0.weight")
    model.graph.node[0].input[1] = "layer.0.weight"
    assert [g.name for g in analyze(Graph(model)).groups] == ["layer.0", "w"]


def test_members_have_what_a_plan_needs() -> None:
    analysis = analyzed(net("t = Relu (h)"))
    slot = next(m.slot for g in analysis.groups for m in g.members if m.slot.tensor == "v")
    assert (slot.consumer, slot.place, slot.node.op, len(slot.axes)) == ("y", 1, "Conv", 4)
    assert [g.id for g in analysis.groups] == [0, 1]


# ---------------------------------------------------------------- what keeps
def test_inputs_and_outputs_keep() -> None:
    analysis = analyzed(net("t = Relu (h)"))
    assert kept(analysis) == {("w0", 1): ("", "graph input"), ("v", 0): ("", "graph output")}
    weights, body = "float[4,3,1,1] w0, float[5,4,1,1] w", "z = Conv (x, w0) y = Conv (z, w)"
    model = graph(weights, body, y=f"{Y4}, float[E, F, G, H] z")
    assert analyzed(model, {}).kept[0].node in ("x", "z", "y")


def test_channels_of_a_size_that_only_the_run_knows() -> None:
    """The input's channels are not stated: nothing is known of the first weight's, all else is free."""
    assert_exact(net("t = Relu (h)", x="float[N, C, 9, 7] x"), FREE, shapes={"x": (2, 3, 9, 7)})


def test_an_input_of_unknown_rank() -> None:
    """Each operator refuses until a shape is known again, with the reason; or the caller says what it is."""
    model = net("t = Relu (h)")
    model.graph.input[0].type.tensor_type.ClearField("shape")
    analysis = analyze(Graph(model))
    assert not analysis.groups
    assert_kept(analysis, "w0", 0, "Conv", "the shape of 'x' is not known")
    analysis = analyzed(
        model, FREE, {"x": (2, 3, 9, 7)}
    )  # not `assert_exact`: onnx.checker demands that inputs have a shape
    runner, feeds = Runner(model), {"x": np.random.default_rng(0).standard_normal((2, 3, 9, 7)).astype(np.float32)}
    alive = random_masks(analysis, 1)
    pruned, masked = surgery.prune(analysis, alive), surgery.mask(analysis, alive)
    assert weight(pruned) < weight(model)
    assert distance(runner.run(masked, feeds), runner.run(pruned, feeds)) < 1e-5


def test_four_bits() -> None:
    """Two channels share a byte: such a constant is kept, with its neighbours."""
    model = net(
        "k = Cast <to=1> (q) g = Mul (k, f) t = Conv (h, g)", "float f = {0.2}, float[6,5,1,1] q", v="float[2,6,1,1] v"
    )
    rng = np.random.default_rng(3)
    for k, tensor in enumerate(model.graph.initializer):
        if tensor.name == "q":
            model.graph.initializer[k].CopyFrom(
                helper.make_tensor("q", TensorProto.INT4, [6, 5, 1, 1], rng.integers(-7, 8, 30).tolist())
            )
    analysis = assert_exact(model, HELD)
    assert_kept(analysis, "w", 0, "Cast", "share a byte")


def test_a_tensor_that_nothing_makes() -> None:
    model = net("t = Relu (h)")
    model.graph.node[2].input[0] = "nowhere"
    with pytest.raises(ModelError, match=r"reads 'nowhere', which nothing before it makes"):
        analyze(Graph(model))


def test_the_reason_names_the_node() -> None:
    model = net("t = Softmax <axis=1> (h)")
    model.graph.node[2].name = "head/softmax"
    (found,) = (k for k in analyzed(model).kept if (k.tensor, k.axis) == ("w", 0))
    assert (found.node, found.op, found.why, found.size) == ("head/softmax", "Softmax", "normalised over", 5)


# ---------------------------------------------------------------- masks and sizes
def test_masks_of_removed_channels() -> None:
    analysis = analyzed(net("t = Relu (h)"))
    alive = alive_of(analysis.groups, {0: [1, 3], 1: []})
    assert {k: v.tolist() for k, v in alive.items()} == {analysis.groups[0].var.id: [True, False, True, False]}


def test_macs_after_a_cut() -> None:
    analysis = analyzed(net("t = Relu (h)", x="float[2,3,9,7] x"))
    pixels = 2 * 9 * 7
    assert analysis.macs({}) == pixels * (3 * 4 + 4 * 5 + 5 * 2)
    assert analysis.macs(alive_of(analysis.groups, {0: [1, 3], 1: [0]})) == pixels * (3 * 2 + 2 * 4 + 4 * 2)


def test_shapes_that_are_given() -> None:
    """Stand-ins for free sizes: of the same name they are the same."""
    analysis = analyze(Graph(net("t = Relu (h)", x="float[N, 3, H, H] x")), {"x": (5, 3, 8, 8)})
    axes = analysis.tensors["h"].axes
    assert axes is not None
    assert [a.size for a in axes] == [5, 5, 8, 8]
    assert analysis.space.is_dynamic(axes[0])
    assert not analysis.space.is_dynamic(axes[1])


def test_an_axis_may_be_a_pick() -> None:
    model = net("t = Gather <axis=1> (h, i)", "int64[5] i = {4, 2, 0, 1, 3}")
    analysis = analyzed(model, FREE)
    axes = analysis.tensors["t"].axes
    assert axes is not None
    found = analysis.space.find(axes[1])
    assert isinstance(found, Pick)
    assert {v.size for v in leaves(found)} == {5}


def test_initializers_that_are_inputs_too() -> None:
    """IR version 3: every initializer is listed as an input."""
    model = net("t = Relu (h)", opset=9)
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    onnx.checker.check_model(model, full_check=True)
    assert_exact(model, FREE)


def test_told() -> None:
    """The text that the golden files are made of."""
    assert told(analyzed(net("t = Relu (h)"))).splitlines() == [
        "w0: 4 channels", "    w0[0] producer", "    w[1] consumer",
        "w: 5 channels", "    w[0] producer", "    b[0] bias", "    v[1] consumer", "kept w0[1] (3): graph "
                                                                                    "input (x)", "kept v[0] (2): "
                                                                                                 "graph output (y)",
    ]  # fmt: skip  # a text


def test_nodes_of_constants() -> None:
    """Weights in Constant nodes, whatever form they have there."""
    model = net("t = Relu (h)")
    for name in ("w", "v"):
        (tensor,) = (t for t in model.graph.initializer if t.name == name)
        node = helper.make_node("Constant", [], [name], value=numpy_helper.from_array(numpy_helper.to_array(tensor)))
        model.graph.initializer.remove(tensor)
        model.graph.node.insert(0, node)
    node = helper.make_node("Constant", [], ["b"], value_floats=[0.1, 0.2, 0.3, 0.4, 0.5])
    (tensor,) = (t for t in model.graph.initializer if t.name == "b")
    model.graph.initializer.remove(tensor)
    model.graph.node.insert(0, node)
    assert_exact(model, FREE, shapes=default_shapes(model))


def test_a_constant_that_nothing_is_weighed_by_is_no_group() -> None:
    """Only the type of `e` is read: to take channels out of it would change nothing."""
    assert_exact(net("t = CastLike (h, e)", "float[6] e"), FREE)


def test_what_depends_on_the_input_is_no_weight() -> None:
    """A product of h and a constant is none, so that what is added to it has the role of a bias."""
    analysis = assert_exact(net("m = Mul (h, c) t = Add (m, d)", "float[5,1,1] c, float[5,1,1] d"), FREE)
    roles = {m.slot.tensor: m.role for g in analysis.groups for m in g.members}
    assert (roles["c"], roles["d"]) == ("scale", "bias")


def test_spared_channels_know_why() -> None:
    """An axis that a rule spares may be bound to others later: the group that they end in is told."""
    body = """q = Mul (h, h) m = ReduceMean <axes=[1], keepdims=1> (q) s = Mul (h, m)
    o = Conv (x, other) t = Add (s, o)"""
    analysis = analyze(Graph(net(body, "float[5,3,1,1] other", opset=13)))
    assert [(g.name, g.spared) for g in analysis.groups] == [("w0", ""), ("w", RMS)]


def test_channels_that_no_weight_makes_are_spared() -> None:
    """One-hot written out: its channels are the values that an input may have, and no weight makes them."""
    text = """g (float[N, 7] x) => (float[N, 7, 3] y)
    <float[5] values = {0, 1, 2, 3, 4}, int64[1] last = {2}, float[5, 4] w, float[4, 3] v>
    { u = Unsqueeze (x, last) e = Equal (u, values) h = Cast <to = 1> (e) d = MatMul (h, w) y = MatMul (d, v) }"""
    analysis = analyze(Graph(parse(text, 13)))
    assert [(g.size, g.spared) for g in analysis.groups] == [(5, UNMADE), (4, "")]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"pads": [1, 1, 1]}, "Attribute pads has incorrect size"), ({"pads": "wide"}, "Expected: 'INTS'")],
)
def test_a_graph_that_onnx_refuses_is_not_a_defect_of_ours(wrong: dict[str, object], told: str) -> None:
    model = net("t = Relu (h)")
    model.graph.node[0].attribute.extend(helper.make_attribute(name, value) for name, value in wrong.items())
    with pytest.raises(ModelError, match=f"not a valid model: .*{told}"):
        analyze(Graph(model))


def test_what_onnx_finds_nothing_wrong_with_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("onnx_attnprune.grouping.run._Run.analysis", broken)
    with pytest.raises(ZeroDivisionError):
        analyze(Graph(net("t = Relu (h)")))

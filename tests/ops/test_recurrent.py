"""LSTM, GRU and RNN: every direction and input, stacked, with states from outside, and the activations that matter."""

from __future__ import annotations

import onnx
import pytest

from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import Analysis, analyze
from tests.oracle import assert_exact, assert_kept, parse, told, versions

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# x [time, batch, 3] -> Conv-free: a MatMul makes 7 channels, the layer has 5 units, a MatMul makes 2 outputs.
X, Y = "float[6, 2, 3] x", "float[A, B, C, D] y"


def net(
    op: str, attrs: str = "", operands: str = "", weights: str = "", directions: int = 1, opset: int = 21
) -> onnx.ModelProto:
    g, d = GATES[op], directions
    declared = ", ".join(
        part
        for part in (
            "float[3, 7] p", f"float[{d}, {5 * g}, 7] w", f"float[{d}, {5 * g}, 5] r", "float[5, 2] v", weights,
        )
        if part
    )  # fmt: skip  # one line of weights
    body = f"h = MatMul (x, p) s = {op} <hidden_size = 5{attrs}> (h, w, r{operands}) y = MatMul (s, v)"
    return parse(f"g ({X}) => ({Y}) <{declared}> {{ {body} }}", opset)


ALL = {"p": 7, "w": 5}


@pytest.mark.parametrize(("op", "opset"), [(op, v) for op in GATES for v in versions(op)])
def test_every_version(op: str, opset: int) -> None:
    assert_exact(net(op, operands=", b", weights=f"float[1, {10 * GATES[op]}] b", opset=opset), ALL)


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize(("direction", "count"), [("reverse", 1), ("bidirectional", 2)])
def test_directions_share_the_hidden_size(op: str, direction: str, count: int) -> None:
    model = net(
        op, f', direction = "{direction}"', ", b", f"float[{count}, {10 * GATES[op]}] b", directions=count, opset=17
    )
    assert_exact(model, ALL)


def test_sizes_of_both_axes_of_the_recurrence() -> None:
    found = assert_exact(net("LSTM"), ALL)
    roles = {(m.slot.tensor, m.axis): m.role for g in found.groups for m in g.members}
    assert roles == {
        ("p", 1): "producer", ("w", 2): "consumer", ("w", 1): "producer", ("r", 1): "producer", ("r", 2): "consumer",
        ("v", 0): "consumer",
    }  # fmt: skip  # pairs


def test_macs_are_those_of_both_products() -> None:
    analysis = analyze(Graph(net("GRU")), {"x": (6, 2, 3)})
    assert analysis.macs({}) == 6 * 2 * (3 * 7 + 3 * 5 * 7 + 3 * 5 * 5 + 5 * 2)


# ---------------------------------------------------------------- optional operands
def test_peepholes_initial_states_and_lengths() -> None:
    weights = "float[2, 40] b, int32[2] lens = {4, 6}, float[2, 2, 5] h0, float[2, 2, 5] c0, float[2, 15] peep"
    assert_exact(
        net("LSTM", ', direction = "bidirectional"', ", b, lens, h0, c0, peep", weights, directions=2),
        ALL,
    )


def test_peepholes_alone() -> None:
    assert_exact(net("LSTM", operands=", , , , , peep", weights="float[1, 15] peep"), ALL)


@pytest.mark.parametrize("op", ["GRU", "RNN"])
def test_an_initial_state(op: str) -> None:
    assert_exact(net(op, operands=", , , h0", weights="float[1, 2, 5] h0"), ALL)


@pytest.mark.parametrize("attrs", [", linear_before_reset = 1", ", clip = 0.4", ', activations = ["Tanh", "Relu"]'])
def test_attributes_of_gru(attrs: str) -> None:
    assert_exact(net("GRU", attrs, ", b", "float[1, 30] b"), ALL)


@pytest.mark.parametrize("attrs", [", input_forget = 1", ", clip = 0.3"])
def test_attributes_of_lstm(attrs: str) -> None:
    assert_exact(net("LSTM", attrs, ", b", "float[1, 40] b"), ALL)


@pytest.mark.parametrize("op", GATES)
def test_batch_first(op: str) -> None:
    g = GATES[op]
    text = f"""g (float[2, 6, 3] x) => (float[A, B, C] y)
    <float[3, 7] p, float[1, {5 * g}, 7] w, float[1, {5 * g}, 5] r, float[1, {10 * g}] b, float[2, 1, 5] h0,
     float[5, 4] v>
    {{ h = MatMul (x, p) s, last = {op} <hidden_size = 5, layout = 1> (h, w, r, b, , h0) y = MatMul (last, v) }}"""
    assert_exact(parse(text, 21), ALL)


# ---------------------------------------------------------------- outputs
def test_only_the_last_states() -> None:
    # The first output is left out: the node is named by its second.
    text = f"""g ({X}) => (float[A, B, C] y, float[A, B, C] z)
    <float[3, 7] p, float[1, 20, 7] w, float[1, 20, 5] r, float[5, 2] v, float[5, 4] u>
    {{ h = MatMul (x, p) , hn, cn = LSTM <hidden_size = 5> (h, w, r) y = MatMul (hn, v) z = MatMul (cn, u) }}"""
    assert_exact(parse(text), ALL)


@pytest.mark.parametrize("name", ["hn", "cn"])
def test_a_state_that_is_a_graph_output_is_kept(name: str) -> None:
    text = f"""g ({X}) => (float[A, B, C, D] y, float[1, 2, 5] {name})
    <float[3, 7] p, float[1, 20, 7] w, float[1, 20, 5] r, float[5, 2] v>
    {{ h = MatMul (x, p) s, hn, cn = LSTM <hidden_size = 5> (h, w, r) y = MatMul (s, v) }}"""
    assert_kept(assert_exact(parse(text), {"p": 7}), "r", 2, "", "graph output")


def test_a_state_that_is_a_graph_input_is_kept() -> None:
    text = f"""g ({X}, float[1, 2, 5] c0) => ({Y})
    <float[3, 7] p, float[1, 20, 7] w, float[1, 20, 5] r, float[5, 2] v>
    {{ h = MatMul (x, p) s = LSTM <hidden_size = 5> (h, w, r, , , , c0) y = MatMul (s, v) }}"""
    assert_kept(
        assert_exact(parse(text), {"p": 7}, shapes={"x": (6, 2, 3), "c0": (1, 2, 5)}), "r", 2, "", "graph input"
    )


# ---------------------------------------------------------------- several layers
def test_stacked_both_ways() -> None:
    # The second layer reads both directions of the first one: "(d h)" by Transpose and Reshape.
    text = f"""g ({X}) => (float[A, B, C, D] y)
    <float[2, 20, 3] w, float[2, 20, 5] r, float[2, 44, 10] w2, float[2, 44, 11] r2, float[11, 4] v,
     int64[3] shape = {{0, 0, -1}}>
    {{ s = LSTM <hidden_size = 5, direction = "bidirectional"> (x, w, r)
       t = Transpose <perm = [0, 2, 1, 3]> (s) u = Reshape (t, shape)
       s2 = LSTM <hidden_size = 11, direction = "bidirectional"> (u, w2, r2) y = MatMul (s2, v) }}"""
    assert_exact(parse(text), {"w": 5, "w2": 11})


ZEROS = {
    "ConstantOfShape": "z = ConstantOfShape (shape)",
    "Slice": "zz = ConstantOfShape (shape4) z = Slice (zz, one, two, nought)",
    "Expand": "z = Expand (zero, shape)",
}


@pytest.mark.parametrize("made", ZEROS)
def test_shared_zeros_don_t_tie_two_layers(made: str) -> None:
    text = f"""g ({X}) => (float[A, B, C, D] y)
    <float[1, 20, 3] w, float[1, 20, 5] r, float[1, 20, 5] w2, float[1, 20, 5] r2, float[5, 4] v, float zero = {{0}},
     int64[3] shape = {{1, 2, 5}}, int64[3] shape4 = {{4, 2, 5}}, int64[1] nought = {{0}}, int64[1] one = {{1}},
     int64[1] two = {{2}}, int64[1] dirs = {{1}}>
    {{ {ZEROS[made]} s = LSTM <hidden_size = 5> (x, w, r, , , z, z) u = Squeeze (s, dirs)
       s2 = LSTM <hidden_size = 5> (u, w2, r2, , , z, z) y = MatMul (s2, v) }}"""
    assert_exact(parse(text), {"w": 5, "w2": 5})


def test_ones_are_no_zeros() -> None:
    text = f"""g ({X}) => (float[A, B, C, D] y)
    <float[1, 20, 3] w, float[1, 20, 5] r, float[1, 20, 5] w2, float[1, 20, 5] r2, float[5, 4] v,
     int64[3] shape = {{1, 2, 5}}, int64[1] dirs = {{1}}>
    {{ z = ConstantOfShape <value = float[1] {{1}}> (shape) s = LSTM <hidden_size = 5> (x, w, r, , , z, z)
       u = Squeeze (s, dirs) s2 = LSTM <hidden_size = 5> (u, w2, r2, , , z, z) y = MatMul (s2, v) }}"""
    assert_exact(parse(text), {"w": 5})


def test_unrolled_cells_that_share_their_weights() -> None:
    text = """g (float[2, 3] x, float[2, 3] x2) => (float[A, B] y)
    <float[3, 5] w, float[5, 5] r, float[5, 4] v>
    { a = MatMul (x, w) h = Tanh (a) b = MatMul (x2, w) c = MatMul (h, r) d = Add (b, c) h2 = Tanh (d)
      e = MatMul (h2, r) f = Tanh (e) y = MatMul (f, v) }"""
    # The three states could differ in size, but then the weights would be stored three times.
    assert_exact(parse(text), {"w": 5}, shapes={"x": (2, 3), "x2": (2, 3)})


# ---------------------------------------------------------------- weights that are computed
def test_gates_put_together_by_the_graph() -> None:
    # Before constant folding, exporters slice the gates and put them in ONNX's order.
    text = f"""g ({X}) => ({Y})
    <float[20, 3] w, float[20, 5] r, float[5, 2] v, int64[1] front = {{0}}>
    {{ a, b, c, d = Split <axis = 0> (w) e = Concat <axis = 0> (a, d, b, c) w1 = Unsqueeze (e, front)
       f, g, h, i = Split <axis = 0> (r) j = Concat <axis = 0> (f, i, g, h) r1 = Unsqueeze (j, front)
       s = LSTM <hidden_size = 5> (x, w1, r1) y = MatMul (s, v) }}"""
    assert_exact(parse(text, 13), {"w": 5})


def test_weights_that_are_not_silent_keep_what_they_sum_over() -> None:
    # exp(0) is 1: a removed channel of the weight would not be zero in the masked model.
    text = f"""g ({X}) => ({Y}) <float[3, 7] p, float[1, 5, 7] w, float[1, 5, 5] r, float[5, 2] v>
    {{ a = MatMul (x, p) q = Sigmoid (a) e = Exp (w) f = Exp (r)
       s = RNN <hidden_size = 5> (q, e, f) y = MatMul (s, v) }}"""
    analysis = analyze(Graph(parse(text)), {"x": (6, 2, 3)})
    assert not analysis.groups
    assert_kept(analysis, "p", 1, "RNN", "summed over by operand 1")
    assert_kept(analysis, "r", 2, "RNN", "summed over by operand 2")


# ---------------------------------------------------------------- silence: an Exp and a sum over the units show it
def reduced(op: str, attrs: str, operands: str = "", weights: str = "") -> Analysis:
    g = GATES[op]
    declared = f"float[1, {5 * g}, 3] w, float[1, {5 * g}, 5] r{weights}, int64[1] last = {{-1}}"
    text = f"""g ({X}) => ({Y}) <{declared}>
    {{ s = {op} <hidden_size = 5{attrs}> (x, w, r{operands}) y = ReduceSum (s, last) }}"""
    return analyze(Graph(parse(text)), {"x": (6, 2, 3)})


def listed(*names: str) -> str:
    numbers = ", activation_alpha = [1.5], activation_beta = [0.7]"  # for the one in a list that takes any
    return ", activations = [" + ", ".join(f'"{name}"' for name in names) + "]" + numbers


SILENT = [
    ("LSTM", ""), ("LSTM", listed("Softplus", "Relu", "Softsign")), ("LSTM", listed("HardSigmoid", "Elu", "LeakyRelu")),
    ("GRU", ""), ("GRU", listed("Softplus", "ScaledTanh")), ("RNN", ""), ("RNN", listed("ThresholdedRelu")),
]  # fmt: skip  # pairs
LOUD = [
    ("LSTM", listed("Sigmoid", "Sigmoid", "Tanh")), ("LSTM", listed("Sigmoid", "Tanh", "HardSigmoid")),
    ("GRU", listed("Sigmoid", "Softplus")), ("RNN", listed("Sigmoid")), ("RNN", listed("Affine")),
]  # fmt: skip  # pairs


@pytest.mark.parametrize(("op", "attrs"), SILENT)
def test_silent_units_may_be_summed_over(op: str, attrs: str) -> None:
    g = GATES[op]
    found = reduced(op, attrs)
    assert [group.size for group in found.groups] == [5], told(found)
    weights = f"float[1, {5 * g}, 3] w, float[1, {5 * g}, 5] r, int64[1] last = {{-1}}"
    text = f"""g ({X}) => ({Y}) <{weights}>
    {{ s = {op} <hidden_size = 5{attrs}> (x, w, r) y = ReduceSum (s, last) }}"""
    assert_exact(parse(text), {"w": 5})


@pytest.mark.parametrize(("op", "attrs"), LOUD)
def test_loud_units_may_not(op: str, attrs: str) -> None:
    assert_kept(reduced(op, attrs), "r", 2, "ReduceSum", "ReduceSum over channels")
    assert_exact(net(op, attrs), ALL)  # a consumer with weights of its own takes care of itself


def test_both_directions_must_pass_zero() -> None:
    text = f"""g ({X}) => ({Y}) <float[2, 5, 3] w, float[2, 5, 5] r, int64[1] last = {{-1}}>
    {{ s = RNN <hidden_size = 5, direction = "bidirectional", activations = ["Tanh", "Sigmoid"]> (x, w, r)
       y = ReduceSum (s, last) }}"""
    analysis = analyze(Graph(parse(text)), {"x": (6, 2, 3)})
    assert_kept(analysis, "r", 2, "ReduceSum", "ReduceSum over channels")


@pytest.mark.parametrize(("op", "operands"), [("LSTM", ", , , z, z"), ("GRU", ", , , z")])
def test_a_state_that_is_not_zero_is_heard(op: str, operands: str) -> None:
    g = GATES[op]
    text = f"""g ({X}) => ({Y})
    <float[1, {5 * g}, 3] w, float[1, {5 * g}, 5] r, float[1, 2, 5] h0, int64[1] last = {{-1}}>
    {{ z = Sigmoid (h0) s = {op} <hidden_size = 5> (x, w, r{operands}) y = ReduceSum (s, last) }}"""
    assert_kept(analyze(Graph(parse(text)), {"x": (6, 2, 3)}), "r", 2, "ReduceSum", "ReduceSum over channels")

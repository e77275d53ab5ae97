"""Control flow: bodies are cut in place, with what goes in and out of them."""

from __future__ import annotations

import onnx
from onnx import ModelProto

from onnx_attnprune.grouping import UNSEEN
from tests.oracle import analyzed, assert_exact, assert_kept, cut, net, parse

FREE, HELD = {"w0": 4, "w": 5}, {"w0": 4}
CHOOSE = "m = ReduceMax <keepdims=0> (x) c = Greater (m, zero)"
ZERO = "float zero = {0.0}"


def chosen(one: str, two: str, after: str = "", weights: str = ZERO, before: str = "", t: str = "t") -> ModelProto:
    """The usual graph, with an If whose branches make `ta` and `tb` between h and t."""
    body = f"""{CHOOSE} {before} {t} = If (c) <then_branch = a () => (float[K, 5, 9, 7] ta) {{ {one} }},
    else_branch = b () => (float[K, 5, 9, 7] tb) {{ {two} }}> {after}"""
    return net(body, weights, opset=17)


def test_branches_read_from_outside() -> None:
    """h by name only: in both, handed out as it is, through a weight of the outer graph."""
    assert_exact(chosen("ta = Relu (h)", "tb = Neg (h)"), FREE)
    assert_exact(chosen("ta = Identity (h)", "u = Neg (h) tb = Tan (u)"), FREE)
    analysis = assert_exact(chosen("ta = Add (h, e)", "tb = Neg (h)", weights=f"{ZERO}, float[5,1,1] e"), FREE)
    assert "e" in {m.slot.tensor for g in analysis.groups if g.name == "w" for m in g.members}


def test_branches_tie_their_results() -> None:
    """One branch hands out h, the other d: channel by channel they are the same."""
    model = chosen("ta = Relu (h)", "tb = Neg (d)", before="d = Conv (p, q)", weights=f"{ZERO}, float[5,4,1,1] q")
    analysis = assert_exact(model, FREE)
    assert {m.slot.tensor for g in analysis.groups if g.name == "w" for m in g.members} == {"w", "b", "q", "v"}


def test_branches_of_another_size() -> None:
    """One has the channels of h, the other of the input: which of the two, only the run can tell, so all are kept."""
    body = f"""{CHOOSE} z = If (c) <then_branch = a () => (float[K, L, 9, 7] ta) {{ ta = Relu (h) }},
    else_branch = b () => (float[K, L, 9, 7] tb) {{ tb = Neg (x) }}> r = ReduceMean <axes=[1]> (z) t = Mul (r, o)"""
    model = net(body, f"{ZERO}, float[5,1,1] o", opset=17)
    assert_kept(assert_exact(model, HELD | {"o": 5}), "w", 0, "If", "of another size")


def test_branches_and_silence() -> None:
    total = "k = ReduceMean <keepdims=1, axes=[2,3]> (s) r = ReduceSum (k, one) t = Mul (s, r)"
    weights = f"{ZERO}, int64[1] one = {{1}}"
    assert_exact(chosen("ta = Relu (h)", "tb = Neg (h)", total, weights, t="s"), FREE)
    assert_exact(chosen("ta = Relu (h)", "tb = Cos (h)", total, weights, t="s"), HELD)


def test_a_body_inside_of_a_body() -> None:
    inner = """t2 = If (c) <then_branch = a2 () => (float[K, 5, 9, 7] u1) { u1 = Relu (h) },
    else_branch = b2 () => (float[K, 5, 9, 7] u2) { u2 = Neg (h) }> ta = Identity (t2)"""
    assert_exact(chosen(inner, "tb = Sin (h)"), FREE)


def test_a_loop_carries_channels() -> None:
    """Three turns: the state plus a constant of the outer graph, and what each turn hands out."""
    body = """t, all = Loop (three, yes, h) <body = l (int64 i, bool go, float[K, 5, 9, 7] a)
    => (bool more, float[K, 5, 9, 7] z, float[K, 5, 9, 7] each) { more = Identity (go) s = Add (a, e) z =
    Tanh (s) each = Relu (z) }>"""
    numbers = "int64 three = {3}, bool yes = {1}, float[5,1,1] e, int64[1] zero = {0}"
    tail = "first = Gather <axis=0> (all, at) u = Conv (first, o) w1 = Conv (t, v) y = Add (u, w1)"
    model = net(body, f"{numbers}, int64 at = {{2}}, float[2,5,1,1] o", tail=tail, opset=17)
    analysis = assert_exact(model, FREE)
    assert {m.slot.tensor for g in analysis.groups if g.name == "w" for m in g.members} == {"w", "b", "e", "v", "o"}


def test_a_loop_that_swaps_its_states() -> None:
    """Two states that change places: their channels are the same."""
    body = """t, u = Loop (three, yes, h, d) <body = l (int64 i, bool go, float[K, 5, 9, 7] a, float[K, 5, 9, 7] e)
    => (bool more, float[K, 5, 9, 7] z1, float[K, 5, 9, 7] z2) { more = Identity (go) z1 = Relu (e) z2 =
    Identity (a) }>"""
    numbers = "int64 three = {3}, bool yes = {1}, float[5,4,1,1] q, float[2,5,1,1] o"
    tail = "y1 = Conv (t, v) y2 = Conv (u, o) y = Add (y1, y2)"
    analysis = assert_exact(net(f"d = Conv (p, q) {body}", numbers, tail=tail, opset=17), FREE)
    assert {m.slot.tensor for g in analysis.groups if g.name == "w" for m in g.members} == {"w", "b", "q", "v", "o"}


def test_a_scan_states_its_shapes_anew() -> None:
    """ONNX Runtime runs no Scan whose body leaves its shapes open, where it can't infer them itself: behind a Loop."""
    text = """g (float[N, 6, 3] x) => (float[N, 6, 4] y)
    <float[3, 5] a, int64 turns = {2}, int64[1] two = {2}, float[5, 7] s, float[5, 7] i, float[7, 7] h, float[7, 4] v>
    { m = MatMul (x, a)
      l = Loop (turns, "", m) <body = turn (int64 t, bool go, float[P, Q, R] before) => (bool on, float[P, Q, R] next)
          { next = Tanh (before) on = Identity (go) }>
      p = Transpose <perm = [0, 2, 1]> (l) q = GlobalAveragePool (p) r = Squeeze (q, two) start = MatMul (r, s)
      rows = Transpose <perm = [1, 0, 2]> (l)
      last, all = Scan <num_scan_inputs = 1, body = row (float[N, 7] state, float[N, 5] one)
          => (float[N, 7] new, float[N, 7] out)
          { j = MatMul (one, i) k = MatMul (state, h) sum = Add (j, k) new = Tanh (sum) out = Identity (new) }>
          (start, rows)
      o = Transpose <perm = [1, 0, 2]> (all) y = MatMul (o, v) }"""
    model = parse(text, 17)
    loop = next(n for n in model.graph.node if n.op_type == "Loop").attribute[0].g
    for value in (loop.input[2], loop.output[1]):
        value.type.tensor_type.ClearField("shape")
    analysis = assert_exact(model, {"a": 5, "s": 7})
    pruned = cut(analysis, a=[0, 3], s=[1, 4, 5])
    row = next(a.g for n in pruned.graph.node for a in n.attribute if n.op_type == "Scan" and a.name == "body")
    stated = {v.name: v.type.tensor_type.shape.dim[1].dim_value for v in (*row.input, *row.output)}
    assert stated == {"state": 4, "one": 3, "new": 4, "out": 4}


def test_a_scan_over_rows() -> None:
    """A state and a sequence: what is scanned over is kept, the channels go through."""
    text = """g (float[3, 6, 7] x) => (float[A, B] y) <float[7,4] w0, float[4,5] w, float[3,5] start,
    float[5,2] v, float[5,2] u, int64 at = {4}>
    { p = MatMul (x, w0) h = MatMul (p, w) last, all = Scan <num_scan_inputs=1, scan_input_axes=[1],
    scan_output_axes=[1], body = l (float[3, 5] s, float[3, 5] row)
      => (float[3, 5] s2, float[3, 5] out) { r = Add (s, row) s2 = Tanh (r) out = Relu (s2) }> (start, h)
      one = Gather <axis=1> (all, at) a = MatMul (one, u) c = MatMul (last, v) y = Add (a, c) }"""
    analysis = assert_exact(parse(text, 17), {"w0": 4, "w": 5})
    assert {m.slot.tensor for g in analysis.groups if g.name == "w" for m in g.members} == {"w", "start", "u", "v"}
    assert [a.size for a in analysis.tensors["all"].axes or ()] == [3, 6, 5]


def test_a_part_of_what_turns_hand_out_is_as_long_as_nobody_knows() -> None:
    body = """t, all = Loop (three, yes, h) <body = l (int64 i, bool go, float[K, 5, 9, 7] a)
      => (bool on, float[K, 5, 9, 7] next, float[K, 5, 9, 7] out) { on = Identity (go) next = Tanh (a) out = Relu (a) }>
      later = Slice (all, one, three1)"""
    model = net(body, "int64 three = {3}, bool yes = {1}, int64[1] one = {1}, int64[1] three1 = {3}")
    analysis = analyzed(model)
    assert analysis.tensors["later"].axes[0].size == UNSEEN  # type: ignore[index]  # it has some


def test_what_is_scanned_over_is_kept() -> None:
    """The sequence lies along channels: a turn for each of them."""
    text = """g (float[6, 7] x) => (float[A, B] y) <float[7,4] w0, float[4,5] w, float[6] start, float[5,2] v>
    { p = MatMul (x, w0) h = MatMul (p, w) last, all = Scan <num_scan_inputs=1, scan_input_axes=[1],
    scan_output_axes=[1], body = l (float[6] s, float[6] row)
      => (float[6] s2, float[6] out) { r = Add (s, row) s2 = Tanh (r) out = Relu (s2) }> (start, h) y =
    MatMul (all, v) }"""
    analysis = assert_exact(parse(text, 17), {"w0": 4})
    assert_kept(analysis, "w", 1, "Scan", "scanned over")


def test_an_unknown_operator_with_a_body_keeps_what_that_reads() -> None:
    model = chosen("ta = Relu (h)", "tb = Neg (d)", before="d = Conv (p, q)", weights=f"{ZERO}, float[5,4,1,1] q")
    (node,) = (n for n in model.graph.node if n.op_type == "If")
    node.op_type, node.domain = "Perhaps", "far.away"
    analysis = analyzed(model, HELD)
    assert_kept(analysis, "w", 0, "Perhaps", "no rule for far.away.Perhaps")
    assert_kept(analysis, "q", 0, "Perhaps", "no rule for far.away.Perhaps")


def test_a_constant_inside_of_a_body() -> None:
    """Weights that a branch holds itself."""
    model = chosen("k = Constant <value = float[5,1,1] {0.3, -0.4, 0.5, 0.6, -0.7}> () ta = Add (h, k)", "tb = Neg (h)")
    onnx.checker.check_model(model, full_check=True)
    assert_exact(model, FREE)


def test_states_of_their_own_channels() -> None:
    """Two states of other sizes: each keeps its own."""
    body = """t, u = Loop (three, yes, h, p) <body = l (int64 i, bool go, float[K, 5, 9, 7] a, float[K, 4, 9, 7] e)
    => (bool more, float[K, 5, 9, 7] z1, float[K, 4, 9, 7] z2) { more = Identity (go) z1 = Tanh (a) z2 = Neg (e) }>"""
    tail = "y1 = Conv (t, v) y2 = Conv (u, o) y = Add (y1, y2)"
    analysis = assert_exact(net(body, "int64 three = {3}, bool yes = {1}, float[2,4,1,1] o", tail=tail, opset=17), FREE)
    assert {m.slot.tensor for g in analysis.groups if g.name == "w0" for m in g.members} == {"w0", "w", "o"}

"""Costs against the surgery, obstacles against their definition, and what a picture shows."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from onnx_attnprune import surgery
from onnx_attnprune.axes import Reason
from onnx_attnprune.graph import Graph, parameter_count
from onnx_attnprune.grouping import Analysis, alive_of, analyze
from onnx_attnprune.report.inspection import Inspection, Obstacle, look
from onnx_attnprune.report.inspection.hints import hint_for
from onnx_attnprune.report.inspection.scene import scene
from onnx_attnprune.report.inspection.terminal import short
from tests.oracle import parse

# A residual sum, a bias that two convolutions share, a grouped convolution, a concat, a flatten.
NET = """g (float[N,3,6,5] x) => (float[N,11] y)
<float[8,3,3,3] w1, float[8,8,1,1] w2, float[8] b, float[12,4,1,1] w3, float[7,20,1,1] w4, float[11,210] w5,
 float[11] b5>
{ a = Conv <pads = [1,1,1,1]> (x, w1, b)
  r = Relu (a)
  c = Conv (r, w2, b)
  s = Add (r, c)
  d = Conv <group = 2> (s, w3)
  e = Concat <axis = 1> (d, r)
  f = Conv (e, w4)
  h = Flatten (f)
  y = Gemm <transB = 1> (h, w5, b5) }"""
# Two heads of five: the norm keeps the width of 10 that the stream has.
HEADS = """g (float[N,6,10] x) => (float[N,6,10] y)
<float[10] scale, float[10] shift, float[10,14] wq, float[10,14] wk, float[10,14] wv, float[14,10] wo,
 int64[4] cut = {0, 0, 2, 7}, int64[3] back = {0, 0, 14}>
{ n = LayerNormalization (x, scale, shift)
  q0 = MatMul (n, wq) q1 = Reshape (q0, cut) q = Transpose <perm = [0, 2, 1, 3]> (q1)
  k0 = MatMul (n, wk) k1 = Reshape (k0, cut) k = Transpose <perm = [0, 2, 3, 1]> (k1)
  v0 = MatMul (n, wv) v1 = Reshape (v0, cut) v = Transpose <perm = [0, 2, 1, 3]> (v1)
  a = MatMul (q, k) p = Softmax (a) o = MatMul (p, v)
  t = Transpose <perm = [0, 2, 1, 3]> (o) u = Reshape (t, back)
  z = MatMul (u, wo)
  y = Add (x, z) }"""


def looked(model: ModelProto) -> tuple[Analysis, Inspection]:
    analysis = analyze(Graph(model))
    return analysis, look(analysis, {}, model="in.onnx", shapes={})


def by_reason(found: Inspection) -> dict[tuple[str, str], Obstacle]:
    return {(o.why, o.op): o for o in found.obstacles}


@pytest.mark.parametrize("text", [NET, HEADS])
def test_costs_are_what_the_surgery_saves(text: str) -> None:
    model = parse(text)
    analysis, found = looked(model)
    assert len(found.groups) > 2
    for group, cost in zip(analysis.groups, found.groups, strict=True):
        alive = alive_of(analysis.groups, {group.id: (group.size - 1,)})
        pruned = surgery.prune(analysis, alive)
        assert cost.parameters == parameter_count(model) - parameter_count(pruned), cost.name
        assert cost.macs == analysis.macs({}) - analysis.macs(alive), cost.name
        assert {(m.tensor, m.axis) for m in cost.members} == {(m.slot.tensor, m.axis) for m in group.members}
    assert found.parameters.all == parameter_count(model)
    assert found.macs.all == analysis.macs({})


def test_shares() -> None:
    analysis, found = looked(parse(HEADS))
    assert found.parameters.prunable == 4 * 140  # not the scale and the shift of the norm
    assert found.macs.prunable == found.macs.all
    # Of heads and width only one is halved: of two heads one is left, so half of everything goes.
    assert found.macs.half == found.macs.all // 2
    assert found.parameters.half == 20 + 2 * 140
    assert analysis.kept


def test_products_show_their_factors() -> None:
    _, found = looked(parse(HEADS))
    assert {g.within for g in found.groups} == {("[2] x 7",), ("2 x [7]",)}
    _, found = looked(parse(NET))
    forms = {g.name: g.within for g in found.groups}
    assert forms["w4"] == ("[7] x 6 x 5",)


def test_obstacles_hold_what_they_touch() -> None:
    model = parse(HEADS)
    _, found = looked(model)
    norm = by_reason(found)["normalised over", "LayerNormalization"]
    assert norm.tensor in ("wq", "wk", "wv")
    assert (norm.axes, norm.channels) == (4, 40)  # one of each matrix
    assert norm.parameters == 4 * 140
    # All but the two products of places: 97 stands for the batch, with 6 places and 2 heads of 7.
    assert norm.macs == found.macs.all - 2 * 97 * 6 * 6 * 14
    assert norm.alone == 0  # the input and the output of the graph keep this width too


def test_what_one_obstacle_alone_keeps() -> None:
    text = """g (float[N,3,6,5] x) => (float[N,4,6,5] y) <float[9,3,1,1] w, float[4,9,1,1] v>
    { h = Conv (x, w) s = Softmax <axis = 1> (h) y = Conv (s, v) }"""
    _, found = looked(parse(text))
    one = by_reason(found)["normalised over", "Softmax"]
    assert (one.axes, one.alone, one.channels, one.parameters) == (2, 2, 18, 27 + 36)
    assert one.nodes == ("s",)
    assert one.node == "s"
    assert "softmax" in one.hint


def test_an_axis_that_can_lose_channels_is_no_obstacle() -> None:
    """The gates of an LSTM stay, but each of them loses units."""
    text = """g (float[6,N,5] x) => (float[6,N,3] y)
    <int64[1] one = {1}, float[1,28,5] w, float[1,28,7] r, float[7,3] v>
    { h4, hs, cs = LSTM <hidden_size = 7> (x, w, r) h = Squeeze (h4, one) y = MatMul (h, v) }"""
    analysis, found = looked(parse(text))
    assert [(g.size, g.within) for g in found.groups] == [(7, ("4 x [7]",))]
    assert {(k.tensor, k.axis) for k in analysis.kept} == {("w", 2), ("v", 1)}
    assert {o.why for o in found.obstacles} == {"graph input", "graph output"}


def test_a_part_that_is_kept_counts_its_own_channels() -> None:
    """Two convolutions read the input beside channels that can go; only the first reads it on its own."""
    text = """g (float[N,3,6,5] x) => (float[N,4,6,5] y)
    <float[7,3,1,1] w, float[9,10,1,1] u, float[11,10,1,1] t, float[4,20,1,1] v>
    { h = Conv (x, w) c = Concat <axis = 1> (h, x) i = Conv (c, u) j = Conv (c, t) k = Concat <axis = 1> (i, j)
      y = Conv (k, v) }"""
    _, found = looked(parse(text))
    one = by_reason(found)["graph input", ""]
    assert (one.axes, one.alone, one.channels) == (3, 3, 9)  # of w, and the parts of u and t
    assert one.parameters == 7 * 3  # the others lose channels
    assert (one.tensor, one.nodes) == ("w", ("x",))


def test_a_part_counts_for_the_reason_that_keeps_it() -> None:
    text = """g (float[N,3,6,5] x) => (float[N,4,6,5] y)
    <float[7,3,1,1] w, float[5,3,1,1] s, float[9,12,1,1] u, float[4,9,1,1] v>
    { h = Conv (x, w) o = Conv (x, s) p = Softmax <axis = 1> (o) q = Neg (p) r = Concat <axis = 1> (h, q)
      i = Conv (r, u) y = Conv (i, v) }"""
    _, found = looked(parse(text))
    one = by_reason(found)["normalised over", "Softmax"]
    assert (one.axes, one.alone, one.channels, one.parameters) == (2, 2, 10, 5 * 3)
    text = """g (float[N,7,5] x, float[N,7,3] z) => (float[N,7,4] y) <float[5,6] w, float[14,8] u, float[8,4] v>
    { h = MatMul (x, w) r = Concat <axis = 2> (x, h, z) i = MatMul (r, u) y = MatMul (i, v) }"""
    _, found = looked(parse(text))
    one = by_reason(found)["graph input", ""]
    assert (one.axes, one.channels, one.nodes) == (3, 5 + 5 + 3, ("x", "z"))


def test_a_part_that_can_lose_channels_is_no_obstacle() -> None:
    """Two rows of seven, of which every row can lose some."""
    text = """g (float[N,5] x) => (float[N,4] y) <float[5,14] w, float[5,6] s, float[20,8] u, float[8,4] v,
    int64[3] cut = {0, 2, 7}, int64[2] back = {0, 14}>
    { q = MatMul (x, w) r = Reshape (q, cut) p = Softmax <axis = 1> (r) o = Reshape (p, back) h = MatMul (x, s)
      c = Concat <axis = 1> (h, o) i = MatMul (c, u) y = MatMul (i, v) }"""
    _, found = looked(parse(text))
    assert sorted(g.size for g in found.groups) == [6, 7, 8]
    assert {o.why for o in found.obstacles} == {"graph input", "graph output"}


def test_positions_are_the_last_of_the_obstacles() -> None:
    """A factor for each place holds more parameters than the others and more MACs than the input, but no channel."""
    text = """g (float[N,3,8,6] x) => (float[N,4,8,6] y) <float[9,3,1,1] w, float[8,6] places, float[4,9,1,1] v>
    { h = Conv (x, w) m = Mul (h, places) y = Conv (m, v) }"""
    _, found = looked(parse(text))
    assert [o.why for o in found.obstacles] == ["graph output", "graph input", "a position, not a channel"]
    last = found.obstacles[-1]
    assert (last.tensor, last.axes, last.parameters, last.macs) == ("places", 2, 48, 97 * 48 * 27)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (Reason("no rule for com.microsoft.nchwc.Conv", "n", "Conv"), "before ONNX Runtime"),
        (Reason("no rule for Foo", "n", "Foo"), "write a rule"),
        (Reason("normalised over", "n", "LayerNormalization"), "never cut"),
        (Reason("normalised over", "n", "Softmax"), "softmax"),
        (Reason("normalised over", "n", "BatchNormalization"), "ORT_ENABLE_BASIC"),
        (Reason("its size is computed at run time", "n", "Reshape"), "free sizes"),
        (Reason("something new", "n", "Conv"), ""),
    ],
)
def test_hints(reason: Reason, words: str) -> None:
    hint = hint_for(reason.why, reason.op)
    assert words in hint
    assert bool(words) == bool(hint)


# ---------------------------------------------------------------- the picture
def test_a_residual_block() -> None:
    analysis, found = looked(parse(NET))
    shown = scene(analysis, found)
    names = [" ".join(box.ops) for box in shown.boxes]
    assert names == ["Conv Relu", "Conv", "Add", "Conv", "Concat", "Conv Flatten", "Gemm", "input", "output"]
    wires = {(names[w.source], w.source, names[w.target], w.target) for w in shown.wires}
    assert {(s, t) for _, s, _, t in wires} == {
        (7, 0),
        (0, 1),
        (0, 2),
        (1, 2),
        (2, 3),
        (0, 4),
        (3, 4),
        (4, 5),
        (5, 6),
        (6, 8),
    }
    group = {g.name: k for k, g in enumerate(found.groups)}
    assert shown.boxes[0].groups == shown.boxes[1].groups == shown.boxes[2].groups != ()
    assert set(shown.boxes[4].groups) == set(shown.boxes[0].groups) | set(shown.boxes[3].groups)
    assert shown.boxes[5].groups == (group["w4"],)
    assert shown.boxes[6].groups == shown.boxes[7].groups == ()


def test_obstacles_are_marked_and_stand_alone() -> None:
    analysis, found = looked(parse(HEADS))
    shown = scene(analysis, found)
    marked = {box.ops: [found.obstacles[k].why for k in box.obstacles] for box in shown.boxes if box.obstacles}
    assert marked == {("LayerNormalization",): ["normalised over"]}


def test_sizes_and_what_no_input_reaches_are_left_out() -> None:
    text = """g (float[N,4,6] x) => (float[N,4,9] y) <float[6,9] w, float[9] b, int64[1] last = {9}>
    { s = Shape <start = 0, end = 2> (x) l = Concat <axis = 0> (s, last) zeros = ConstantOfShape (l)
      e = Exp (b) h = MatMul (x, w) g = Add (h, e) k = Add (g, zeros) y = Reshape (k, l) unread = Relu (g) }"""
    analysis, found = looked(parse(text))
    shown = scene(analysis, found)
    assert [box.ops for box in shown.boxes] == [("MatMul", "Add", "Add", "Reshape"), ("input",), ("output",)]
    assert np.array([(w.source, w.target) for w in shown.wires]).tolist() == [[1, 0], [0, 2]]


def test_a_dense_block_is_a_chain() -> None:
    """A concat of all that an earlier one joins, and more, is drawn to read that one's result."""
    text = """g (float[N,3,5,4] x) => (float[N,2,5,4] y)
    <float[4,3,1,1] w, float[5,4,1,1] a, float[6,9,1,1] b, float[7,15,1,1] c, float[2,22,1,1] d>
    { p = Conv (x, w) q = Conv (p, a) j = Concat <axis = 1> (p, q) r = Conv (j, b) k = Concat <axis = 1> (p, q, r)
      s = Conv (k, c) l = Concat <axis = 1> (p, q, r, s) y = Conv (l, d) }"""
    shown = scene(*looked(parse(text)))
    named = {box.name: place for place, box in enumerate(shown.boxes)}
    into = {name: {w.source for w in shown.wires if w.target == named[name]} for name in ("j", "k", "l")}
    assert into == {
        "j": {named["p"], named["q"]}, "k": {named["j"], named["r"]}, "l": {named["k"], named["s"]}
    }  # fmt: skip  # two lines


def test_concats_along_other_axes_are_not_joined() -> None:
    text = """g (float[N,3,5,4] x) => (float[N,2,15,4] y)
    <float[4,3,1,1] w, float[4,4,1,1] a, float[4,8,1,1] b, float[2,4,1,1] d>
    { p = Conv (x, w) q = Conv (p, a) j = Concat <axis = 1> (p, q) r = Conv (j, b) k = Concat <axis = 2> (p, q, r)
      y = Conv (k, d) }"""
    shown = scene(*looked(parse(text)))
    named = {box.name: place for place, box in enumerate(shown.boxes)}
    assert {w.source for w in shown.wires if w.target == named["k"]} == {named[n] for n in ("p", "q", "r")}


def test_what_a_body_is_handed_is_wired_to_where_it_comes_from() -> None:
    text = """g (float[N,6,3] x) => (float[N,6,2] y) <float[3,4] w, float[4,4] v, float[4,2] u, int64 turns = {2}>
    { h = MatMul (x, w)
      l = Loop (turns, "", h) <body = b (int64 i, bool go, float[P,Q,R] state) => (bool on, float[P,Q,R] next)
          { m = MatMul (state, v) next = Tanh (m) on = Identity (go) }>
      t = Transpose <perm = [1, 0, 2]> (l)
      all = Scan <num_scan_inputs = 1, body = s (float[K,R] one) => (float[K,R] out) { out = Relu (one) }> (t)
      z = Transpose <perm = [1, 0, 2]> (all) y = MatMul (z, u) }"""
    shown = scene(*looked(parse(text)))
    named = {box.name: place for place, box in enumerate(shown.boxes)}
    wires = {(w.source, w.target) for w in shown.wires}
    assert {
        (named["h"], named["m"]),
        (named["m"], named["l"]),
        (named["l"], named["out"]),
    } <= wires  # l and t are one box
    assert shown.boxes[named["m"]].groups == shown.boxes[named["h"]].groups != ()


# ---------------------------------------------------------------- words and counts
def test_an_axis_that_two_reasons_keep_counts_for_neither_alone() -> None:
    _, found = looked(parse(HEADS))
    assert {o.why: o.alone for o in found.obstacles if o.channels} == {
        "graph input": 0, "normalised over": 0, "graph output": 0
    }  # fmt: skip  # two lines


def test_reasons_that_name_a_tensor_are_one_obstacle() -> None:
    """Two operators whose operands nothing is known of: one obstacle, whatever their names are."""
    text = """g (float[N,3] x, int64[K] s, int64[L] t) => (float[N,2] y)
    <float[3,4] w, float[4,5] a, float[4,5] b, float[5,2] v>
    { h = MatMul (x, w) c = Reshape (h, s) d = Reshape (h, t) e = MatMul (c, a) f = MatMul (d, b) g = Add (e, f)
      y = MatMul (g, v) }"""
    _, found = looked(parse(text))
    unknown = [o for o in found.obstacles if "is not known" in o.why]
    assert [(o.why, len(o.nodes) >= 2) for o in unknown] == [("the shape of an operand is not known", True)]


def test_nodes_without_weights_are_not_among_those_uncounted() -> None:
    """An operator that nothing is known of and that reads no weight has no multiply-accumulates to miss."""
    text = """g (float[N,3] x) => (float[N,4] y) <float[3,4] w, int64[1] one = {1}>
    { h = MatMul (x, w) q = Unsqueeze (h, one) r = Transpose <perm = [0, 2, 1]> (q) m = MatMul (r, q) e = Det (m)
      d = Unsqueeze (e, one) y = Add (h, d) }"""
    _, found = looked(parse(text))
    assert by_reason(found)["no rule for Det", "Det"].uncounted == 0
    assert found.uncounted == 0


def test_a_product_beside_a_group_is_not_one_of_its_factors() -> None:
    """Flattened channels joined with others: only the first are multiplied with the places."""
    text = """g (float[N,3,6,5] x) => (float[N,2] y)
    <float[4,3,1,1] w, float[7,3,1,1] u, float[2,127] v, int64[2] rows = {0, -1}>
    { a = Conv (x, w) f = Reshape (a, rows) b = Conv (x, u) p = GlobalAveragePool (b) g = Reshape (p, rows)
      j = Concat <axis = 1> (f, g) y = Gemm <transB = 1> (j, v) }"""
    _, found = looked(parse(text))
    assert {g.name: g.within for g in found.groups} == {"w": ("[4] x 6 x 5",), "u": ()}


def test_a_node_that_drops_a_group_starts_a_box() -> None:
    text = """g (float[N,3,6,5] x) => (float[N,2,6,5] y)
    <float[4,3,1,1] w, float[7,3,1,1] u, float[2,4,1,1] v, int64[1] nought = {0}, int64[1] four = {4},
     int64[1] one = {1}>
    { a = Conv (x, w) b = Conv (x, u) j = Concat <axis = 1> (a, b) s = Slice (j, nought, four, one) y = Conv (s, v) }"""
    shown = scene(*looked(parse(text)))
    assert {box.name: box.ops for box in shown.boxes if box.name in ("j", "s")} == {"j": ("Concat",), "s": ("Slice",)}


def test_counts_are_told_in_units() -> None:
    assert [short(n) for n in (999, 1000, 12345, 4_090_000_000)] == ["999", "1 k", "12.3 k", "4.09 G"]

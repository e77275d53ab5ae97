"""What files of real exporters and converters have taught: each a small model with the same trait."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from onnx_attnprune.errors import ModelError
from onnx_attnprune.evaluate.feeds import concrete_shapes, input_specs
from onnx_attnprune.graph import Graph, in_order, read_model
from onnx_attnprune.grouping import analyze
from tests.oracle import Runner, assert_exact, assert_kept, cut, net, parse, stored, told

FREE, HELD = {"w0": 4, "w": 5}, {"w0": 4}


# ---------------------------------------------------------------- free sizes
def flattened(first: int | str) -> ModelProto:
    """A batch that the graph computes itself: Shape, Slice, Concat, Reshape, as Paddle writes it."""
    body = """s = Shape (h) f = Slice (s, zero, one) c = Concat <axis=0> (f, rest) r = Reshape (h, c)
    y = MatMul (r, q)"""
    constants = "int64[1] zero = {0}, int64[1] one = {1}, int64[1] rest = {30}"
    model = parse(f"""g (float[N, 3, 2, 3] x) => (float[M, 7] y)
    <float[4,3,1,1] w0, float[5,4,1,1] w, float[5] b, float[30,7] q, {constants}>
    {{ p = Conv (x, w0) h = Conv (p, w, b) {body} }}""")
    dim = model.graph.input[0].type.tensor_type.shape.dim[0]
    dim.Clear()
    if isinstance(first, int):
        dim.dim_value = first
    else:
        dim.dim_param = first
    return model


@pytest.mark.parametrize("first", [-1, "?", "batch"])
def test_a_free_batch_stays_free(first: int | str) -> None:
    """A size of -1 is no size: what is restated at a batch of 2 must run at a batch of 3."""
    model = flattened(first)
    analysis = analyze(Graph(model), {"x": (2, 3, 2, 3)})
    pruned = cut(analysis, w=[1, 3])
    runner, feeds = Runner(model), {"x": np.random.default_rng(0).standard_normal((3, 3, 2, 3)).astype(np.float32)}
    assert runner.run(pruned, feeds)["y"].shape == (3, 7)
    assert stored(pruned)["q"].shape == (18, 7)


def test_equal_placeholders_are_no_equal_sizes() -> None:
    """Paddle calls every free size "?"."""
    model = net("t = Relu (h)", x="float[2, 3, H, W] x")
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "?"
    specs = input_specs(model)
    assert specs[0].shape == (2, 3, None, None)
    shapes = concrete_shapes(specs, {"x": (2, 3, 9, 7)})
    assert_exact(model, FREE, shapes=shapes)


# ---------------------------------------------------------------- order of the nodes
def shuffled() -> ModelProto:
    """The first layer behind the others, as converters to float16 put their casts."""
    model = net("t = Relu (h)")
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[1:], nodes[0]])
    return model


def test_nodes_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    model = shuffled()
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    found = read_model(tmp_path / "m.onnx")
    assert [n.op_type for n in found.graph.node] == ["Conv", "Conv", "Relu", "Conv"]
    assert_exact(found, FREE)
    assert [n.op_type for n in model.graph.node] == ["Conv", "Relu", "Conv", "Conv"], "the original was changed"
    assert in_order(found) is found


def test_nodes_in_a_circle_are_refused() -> None:
    model = shuffled()
    model.graph.node[-1].input[0] = "y"
    with pytest.raises(ModelError, match="waits for its own result"):
        in_order(model)


# ---------------------------------------------------------------- shapes that the file states
def test_stated_shapes_of_constants_go_with_them() -> None:
    """A value_info of a weight, or of a Constant node, would contradict the cut tensor."""
    model = net("c = Constant <value = float[5,1,1] {1.0, 2.0, 3.0, 4.0, 5.0}> () t = Mul (h, c)")
    for name, dims in (("w", [5, 4, 1, 1]), ("c", [5, 1, 1]), ("v", [2, 5, 1, 1])):
        model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    onnx.checker.check_model(model, full_check=True)
    analysis = assert_exact(model, FREE)
    left = {v.name for v in cut(analysis, w0=[0]).graph.value_info}
    assert {"c", "v"} <= left, "those that keep their shape stay"
    assert "w" not in left


# ---------------------------------------------------------------- sizes that the graph computes
def test_a_pad_of_nothing_stays_nothing() -> None:
    """max(channels, 3) - channels is 0 with five channels, and would be 1 with two."""
    body = """s = Shape (h) m = Max (s, least) d = Sub (m, s) p2 = Concat <axis=0> (none, d)
    t = Pad (h, p2)"""
    constants = "int64[4] least = {1, 3, 1, 1}, int64[4] none = {0, 0, 0, 0}"
    assert_exact(net(body, constants, x="float[2, 3, 9, 7] x"), FREE)


def test_shapes_that_are_split() -> None:
    """ONNX Runtime's optimiser takes a shape apart with one Split."""
    body = """s = Shape (h) a, b2, c, d = Split <num_outputs=4> (s) e = Mul (c, d) f = Concat <axis=0> (a, b2, e)
    r = Reshape (h, f) o = Concat <axis=0> (a, b2, c, d) t = Reshape (r, o)"""
    assert_exact(net(body), FREE)
    body = body.replace(" <num_outputs=4> (s)", " (s, parts)")
    assert_exact(net(body, "int64[4] parts = {1, 1, 1, 1}", opset=13), FREE)
    assert_exact(net(body.replace(" (s, parts)", " <split=[1,1,1,1]> (s)"), opset=11), FREE)


def test_a_window_longer_than_the_stand_in() -> None:
    """A length that only the run tells may be longer than what stands for it."""
    model = parse("""g (float[2, L] x) => (float[A, B, C] y)
    <float[4,1,256] w0, float[5,4,1] w, float[5] b, float[2,5,1] v, int64[1] one = {1}>
    { u = Unsqueeze (x, one) p = Conv (u, w0) h = Conv (p, w, b) y = Conv (h, v) }""")
    assert {g.name: g.size for g in analyze(Graph(model)).groups} == FREE


# ---------------------------------------------------------------- branches
def test_branches_of_another_rank() -> None:
    """TorchScript's squeeze: the rank is known only at run time, and only what reads it is kept."""
    model = parse("""g (float[N, 3, 1] x, bool c) => (float[A, B, C] y, float[D, E] z)
    <float[4,3,1] w0, float[5,4,1] w, float[5] b, float[2,5,1] v, float[6,4,1] u, int64[1] last = {2}>
    { p = Conv (x, w0) h = Conv (p, w, b) y = Conv (h, v) k = Conv (p, u)
      s = If (c) <then_branch = a () => (float[I, J] sa) { sa = Squeeze (k, last) },
                  else_branch = b2 () => (float[I, J, L] sb) { sb = Identity (k) }>
      n = Neg (s) z = ReduceMean <axes=[1], keepdims=1> (n) }""", opset=17)  # fmt: skip  # a graph
    analysis = check_with(model, {"c": True})
    assert {g.name: g.size for g in analysis} == FREE, analysis
    assert_kept(analyze(Graph(model), {"x": (2, 3, 1), "c": ()}), "u", 0, "If", "another rank")


def check_with(model: ModelProto, values: dict[str, bool]):  # type: ignore[no-untyped-def]  # groups
    """The groups; asserts that a cut of each runs and keeps the shapes of the outputs."""
    analysis = analyze(Graph(model), {"x": (2, 3, 1), "c": ()})
    pruned = cut(analysis, w=[1], w0=[0, 2])
    onnx.checker.check_model(pruned, full_check=True)
    feeds = {"x": np.ones((2, 3, 1), np.float32), **{k: np.asarray(v) for k, v in values.items()}}
    runner = Runner(model)
    one, other = runner.run(model, feeds), runner.run(pruned, feeds)
    assert {k: v.shape for k, v in one.items()} == {k: v.shape for k, v in other.items()}, told(analysis)
    return analysis.groups


# ---------------------------------------------------------------- training and types
def test_training_keeps_what_it_mixes() -> None:
    body = "t, m, s = BatchNormalization <training_mode=1> (h, g, b2, mean, var)"
    constants = "float[5] g, float[5] b2, float[5] mean, float[5] var"
    assert_exact(net(body, constants, opset=15), FREE)
    turned = """a = Transpose <perm=[1,0,2,3]> (h) n, m, s = BatchNormalization <training_mode=1> (a, g, b2, mean, var)
    t = Transpose <perm=[1,0,2,3]> (n)"""
    model = net(turned, constants.replace("5", "2"), x="float[2, 3, 9, 7] x", opset=15)
    assert_kept(assert_exact(model, HELD), "w", 0, "BatchNormalization", "normalised over")
    model = net("t = Dropout <seed=1> (h, r, yes)", "float r = {0.5}, bool yes = {1}", opset=13)
    assert_kept(analyze(Graph(model), {"x": (2, 3, 9, 7)}), "w", 0, "Dropout", "at random")
    assert_exact(net("t = Dropout <seed=1> (h, r, no)", "float r = {0.5}, bool no = {0}", opset=13), FREE)


def test_an_unknown_operator_tells_which_weights_it_holds() -> None:
    model = net("t = Relu (h)")
    model.graph.node[-1].op_type, model.graph.node[-1].domain = "Conv", "com.microsoft.nchwc"
    model.opset_import.append(helper.make_opsetid("com.microsoft.nchwc", 1))
    analysis = analyze(Graph(model), {"x": (2, 3, 9, 7)})
    assert_kept(analysis, "v", 0, "Conv", "no rule for com.microsoft.nchwc.Conv")


def test_types_without_a_zero_or_of_two_bits_are_kept() -> None:
    for dtype, why in ((TensorProto.FLOAT8E8M0, "no zero"), (TensorProto.INT2, "share a byte")):
        model = net("d = Cast <to=1> (q) t = Mul (h, d)", "float[5, 1, 1] q", opset=25)
        place = next(k for k, t in enumerate(model.graph.initializer) if t.name == "q")
        model.graph.initializer[place].CopyFrom(helper.make_tensor("q", dtype, [5, 1, 1], np.ones(5)))
        assert_kept(analyze(Graph(model), {"x": (2, 3, 9, 7)}), "w", 0, "Cast", why)


def test_a_shuffle_back_to_as_many_channels() -> None:
    """The last shape takes its channels from the tensor before the shuffle: as many, but in another order."""
    body = """s = Shape (h) a = Slice (s, i0, i1) c = Slice (s, i1, i2) e = Slice (s, i2, i4) two = Add (i1, i1)
    o = Div (c, two) f = Concat <axis=0> (a, two, o, e) r = Reshape (h, f)
    q = Transpose <perm=[0,2,1,3,4]> (r) g = Concat <axis=0> (a, c, e) t = Reshape (q, g)"""
    constants = "int64[1] i0 = {0}, int64[1] i1 = {1}, int64[1] i2 = {2}, int64[1] i4 = {4}"
    model = net(body, constants, w="float[10, 4, 1, 1] w, float[10] b10", v="float[2, 10, 1, 1] v",
                head="p = Conv (x, w0) h = Conv (p, w, b10)")  # fmt: skip  # two lines
    assert_exact(model, {"w0": 4, "w": 2, "w#2": 5})


def test_constants_behind_a_cast() -> None:
    """Converters to float16 put casts behind the constants that an operator wants in float32."""
    body = """a = Cast <to=10> (scales) f = Cast <to=1> (a) i = Identity (f) r = Resize <mode="nearest"> (h, roi, i)
    low = Cast <to=1> (zero) s = Clip (r, low) k = ReduceSum <keepdims=1> (s, one) t = Mul (s, k)"""
    constants = "float[0] roi, float[4] scales = {1.0, 1.0, 2.0, 3.0}, double zero = {0.0}, int64[1] one = {1}"
    assert_exact(net(body, constants), FREE)

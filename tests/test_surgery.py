"""Surgery: what goes, what is restated, and everything else that must stay as it was."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_attnprune import surgery
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import alive_of, analyze
from tests.oracle import (
    IMAGE,
    analyzed,
    assert_exact,
    cut,
    default_shapes,
    distance,
    net,
    parse,
    random_masks,
    stored,
    told,
)

Y4 = "float[A, B, C, D] y"
FREE = {"w0": 4, "w": 5}


# ---------------------------------------------------------------- slices
def test_slices_by_hand() -> None:
    model = net("t = Relu (h)")
    pruned, old = stored(cut(analyzed(model), w=[1, 4])), stored(model)
    assert pruned.keys() == old.keys()
    np.testing.assert_array_equal(pruned["w"], old["w"][[0, 2, 3]])
    np.testing.assert_array_equal(pruned["b"], old["b"][[0, 2, 3]])
    np.testing.assert_array_equal(pruned["v"], old["v"][:, [0, 2, 3]])
    np.testing.assert_array_equal(pruned["w0"], old["w0"])


def test_silence_by_hand() -> None:
    model = net("t = Relu (h)")
    analysis = analyzed(model)
    masked, old = stored(surgery.mask(analysis, alive_of(analysis.groups, {1: [1, 4]}))), stored(model)
    np.testing.assert_array_equal(masked["w"], old["w"] * np.array([1, 0, 1, 1, 0])[:, None, None, None])
    np.testing.assert_array_equal(masked["v"], old["v"] * np.array([1, 0, 1, 1, 0])[:, None, None])
    np.testing.assert_array_equal(masked["b"], old["b"] * np.array([1, 0, 1, 1, 0]))


def test_two_axes_of_one_tensor() -> None:
    model = net("t = Relu (h)")
    pruned, old = stored(cut(analyzed(model), w0=[2], w=[0, 3])), stored(model)
    np.testing.assert_array_equal(pruned["w"], old["w"][[1, 2, 4]][:, [0, 1, 3]])


def test_nothing_removed_is_nothing_changed() -> None:
    model = net(
        "f = Flatten (h) r = Reshape (f, s) t = Slice (r, a, e, one)",
        "int64[4] s = {0, 5, 9, 7}, int64[1] a = {-5}, int64[1] e = {-1}, int64[1] one = {1}",
        v="float[2,4,1,1] v",
    )
    assert surgery.prune(analyzed(model), {}).SerializeToString(deterministic=True) == model.SerializeToString(
        deterministic=True
    )


def test_cuts_are_complete_and_by_name() -> None:
    """Whole tensors by name and axis; a Constant node by the name of its output."""
    model = net("t = Relu (h)")
    (tensor,) = (t for t in model.graph.initializer if t.name == "v")
    model.graph.node.insert(
        0, helper.make_node("Constant", [], ["v"], value=numpy_helper.from_array(numpy_helper.to_array(tensor)))
    )
    model.graph.initializer.remove(tensor)
    analysis = analyzed(model)
    cuts = surgery.cuts_of(analysis, alive_of(analysis.groups, {0: [3], 1: [0, 2]}))
    assert {k: dict(v) for k, v in cuts.whole.items()} == {
        "w0": {0: (3,)},
        "w": {0: (0, 2), 1: (3,)},
        "b": {0: (0, 2)},
        "v": {1: (0, 2)},
    }
    assert cuts.uses == ()


# ---------------------------------------------------------------- restated sizes
def test_one_shape_for_two_readers() -> None:
    """Each gets a constant of its own; a shape that nobody needs any more goes nowhere."""
    weights = "float[5,3,1,1] a, float[5,3,1,1] b, int64[3] s = {0, 5, 63}, float[2,5,1] u, float[2,5,1] v"
    body = (
        "p = Conv (x, a) q = Conv (x, b) r = Reshape (p, s) z = Reshape (q, s) c = Conv (r, u) d = Conv (z, v) "
        "y = Add (c, d)"
    )
    model = parse(f"g ({IMAGE}) => (float[A, B, C] y) <{weights}> {{ {body} }}")
    analysis = assert_exact(model, {"a": 5, "b": 5}, seeds=range(5))
    pruned = cut(analysis, a=[1], b=[0, 4])
    shapes = [stored(pruned)[n.input[1]].tolist() for n in pruned.graph.node if n.op_type == "Reshape"]
    assert shapes == [[0, 4, 63], [0, 3, 63]]


def test_restated_attributes_and_inputs() -> None:
    text = (
        f"g ({IMAGE}) => ({Y4}) <float[6,3,1,1] a, float[6,1,3,3] d, float[2,6,1,1] v> {{ h = Conv (x, a) t = "
        f"Conv <group=6> (h, d) y = Conv (t, v) }}"
    )
    pruned = cut(analyzed(parse(text)), a=[0, 5])
    assert [a.i for n in pruned.graph.node for a in n.attribute if a.name == "group"] == [4]


def test_names_that_are_taken() -> None:
    """A fresh constant gets a name that nothing has, in bodies neither."""
    model = net("t = Reshape (h, s)", "int64[4] s = {-1, 5, 9, 7}, int64 t_size1 = {0}")
    model.graph.node[-1].name = "t_size1_"
    pruned = cut(analyzed(model), w=[2])
    names = [t.name for t in pruned.graph.initializer]
    assert len(set(names)) == len(names)
    onnx.checker.check_model(pruned, full_check=True)


MEAN = "a = Abs (h) m = ReduceMean <axes=[1, 2], keepdims=1> (a) t = Mul (h, m)"


def test_a_mean_is_scaled_by_the_share_that_is_left() -> None:
    """Behind the mean, under its name, so that all of its readers get it; nowhere where nothing of it goes."""
    analysis = analyzed(net(MEAN, opset=13))
    pruned = cut(analysis, w=[1, 4])
    mean, product = (n for n in pruned.graph.node if "m" in {*n.output, *(o.split("_")[0] for o in n.output)})
    assert (mean.op_type, product.op_type) == ("ReduceMean", "Mul")
    assert (list(product.output), product.input[0]) == (["m"], mean.output[0])
    np.testing.assert_allclose(stored(pruned)[product.input[1]], 0.6, rtol=1e-7)
    assert stored(pruned)[product.input[1]].shape == ()
    assert len(cut(analysis, w0=[2]).graph.node) == len(pruned.graph.node) - 1


def test_a_mean_that_is_let_go() -> None:
    """A repair takes the product out again, once; before IR version 4 it is listed among the inputs as well."""
    model = net(MEAN, opset=13)
    model.ir_version = 3
    model.graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in model.graph.initializer
    )
    analysis = analyzed(model)
    alive = alive_of(analysis.groups, {1: [1, 4]})
    pruned = surgery.prune(analysis, alive)
    assert len(pruned.graph.node) == len(model.graph.node) + 1
    onnx.checker.check_model(pruned, full_check=True)
    for _ in range(2):
        surgery.release(pruned, analysis, alive)
        assert [(n.op_type, *n.output) for n in pruned.graph.node] == [(n.op_type, *n.output) for n in model.graph.node]
        assert [t.name for t in pruned.graph.initializer] == [t.name for t in model.graph.initializer]
        assert [v.name for v in pruned.graph.input] == [v.name for v in model.graph.input]


@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_a_scaled_mean_of_another_type(dtype: str) -> None:
    text = f"""g ({dtype}[N, 4, 6] x) => ({dtype}[N, 4, 3] y) <{dtype}[6, 5] w, {dtype}[5, 3] v>
    {{ h = MatMul (x, w) m = ReduceMean <axes=[-1], keepdims=1> (h) t = Mul (h, m) y = MatMul (t, v) }}"""
    assert_exact(parse(text, 13), {"w": 5})


def test_a_scaled_mean_that_is_an_output_and_read_in_a_body() -> None:
    text = f"""g ({IMAGE}) => ({Y4}, float[A, 1, 9, 7] m)
    <float[5,3,1,1] w, float[2,5,1,1] v, bool c = {{1}}>
    {{ h = Conv (x, w) m = ReduceMean <axes=[1], keepdims=1> (h)
      t = If (c) <then_branch = a () => (float[K, 5, 9, 7] ta) {{ ta = Mul (h, m) }},
                  else_branch = b () => (float[K, 5, 9, 7] tb) {{ tb = Neg (h) }}>
      y = Conv (t, v) }}"""
    assert_exact(parse(text, 13), {"w": 5})


def test_a_scaled_mean_without_axes() -> None:
    """A mean over everything is one number, without any axis, and so is what it is scaled to."""
    text = """g (float[6, 4] x) => (float m) <float[4, 5] w>
    { h = MatMul (x, w) m = ReduceMean <keepdims=0> (h) }"""
    assert_exact(parse(text, 13), {"w": 5})


def test_a_scaled_mean_in_a_body() -> None:
    text = f"""g ({IMAGE}) => ({Y4}) <float[5,3,1,1] w, float[2,5,1,1] v, bool c = {{1}}>
    {{ h = Conv (x, w)
      t = If (c) <then_branch = a () => (float[K, 5, 9, 7] ta) {{
                    m = ReduceMean <axes=[1], keepdims=1> (h) ta = Mul (h, m) }},
                  else_branch = b () => (float[K, 5, 9, 7] tb) {{ tb = Neg (h) }}>
      y = Conv (t, v) }}"""
    assert_exact(parse(text, 13), {"w": 5})


# ---------------------------------------------------------------- what stays
def test_all_else_stays() -> None:
    """Metadata, doc strings, names, opset and IR version, producer, input and output as they were."""
    model = net("t = Relu (h)", opset=13)
    model.ir_version, model.producer_name, model.model_version, model.doc_string = 8, "someone", 7, "what it is"
    model.domain = "a.domain"
    model.metadata_props.add(key="classes", value="cat, dog")
    model.opset_import.add(domain="com.microsoft", version=1)
    model.graph.name, model.graph.doc_string = "the graph", "of it"
    model.graph.node[1].name, model.graph.node[1].doc_string = "second", "a node"
    model.graph.input[0].doc_string = "an image"
    for tensor in model.graph.initializer:
        tensor.doc_string = f"about {tensor.name}"
    pruned = cut(analyzed(model), w=[0])
    for field in (
        "ir_version",
        "producer_name",
        "model_version",
        "doc_string",
        "domain",
        "metadata_props",
        "opset_import",
    ):
        assert getattr(pruned, field) == getattr(model, field)
    for field in ("name", "doc_string", "input", "output"):
        assert getattr(pruned.graph, field) == getattr(model.graph, field)
    assert list(pruned.graph.node) == list(model.graph.node)
    assert [t.doc_string for t in pruned.graph.initializer] == [t.doc_string for t in model.graph.initializer]


def test_stale_shapes_go() -> None:
    """What the file says of inner tensors stays where it is still true."""
    model = onnx.shape_inference.infer_shapes(net("t = Relu (h)"))
    assert {v.name for v in model.graph.value_info} == {"p", "h", "t"}
    pruned = cut(analyzed(model), w=[0])
    assert {v.name for v in pruned.graph.value_info} == {"p"}


def test_initializers_that_are_inputs_change_size() -> None:
    model = net("t = Relu (h)", opset=9)
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    pruned = cut(analyzed(model), w=[0, 1])
    sizes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in pruned.graph.input}
    assert (sizes["w"], sizes["v"], sizes["w0"]) == ([3, 4, 1, 1], [2, 3, 1, 1], [4, 3, 1, 1])
    onnx.checker.check_model(pruned, full_check=True)


@pytest.mark.parametrize("kind", ["double", "float16"])
def test_types(kind: str) -> None:
    text = (
        f"g ({kind}[N, 3, 9, 7] x) => ({kind}[A, B, C, D] y) <{kind}[4,3,1,1] w0, {kind}[5,4,3,3] w, {kind}[5] "
        f"b, {kind}[2,5,1,1] v> {{ p = Conv (x, w0) h = Conv (p, w, b) r = Relu (h) y = Conv (r, v) }}"
    )
    analysis = assert_exact(parse(text), FREE)
    assert {t.data_type for t in cut(analysis, w=[1]).graph.initializer} == {
        TensorProto.DOUBLE if kind == "double" else TensorProto.FLOAT16
    }


def test_bfloat16() -> None:
    """ONNX Runtime has no convolution for it on the CPU; onnx's own evaluator multiplies matrices."""
    text = (
        "g (bfloat16[N, 6] x) => (bfloat16[A, B] y) <bfloat16[6,4] w0, bfloat16[4,5] w, bfloat16[5] b, "
        "bfloat16[5,3] v> { p = MatMul (x, w0) q = MatMul (p, w) r = Add (q, b) y = MatMul (r, v) }"
    )
    model = parse(text, 13)
    analysis = analyzed(model, FREE)
    alive = random_masks(analysis, 1)
    pruned, masked = surgery.prune(analysis, alive), surgery.mask(analysis, alive)
    assert {t.data_type for t in pruned.graph.initializer} == {TensorProto.BFLOAT16}
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 6)).astype(ml_dtypes.bfloat16)}
    before, want, got = (
        {o.name: np.asarray(a) for o, a in zip(m.graph.output, ReferenceEvaluator(m).run(None, feeds), strict=True)}
        for m in (model, masked, pruned)
    )
    assert distance(want, got) < 0.04
    assert distance(want, before) > 0.1


def test_weights_stored_in_typed_fields() -> None:
    """float_data instead of raw bytes, as helper.make_tensor writes."""
    model = net("t = Relu (h)")
    for k, tensor in enumerate(model.graph.initializer):
        typed = helper.make_tensor(
            tensor.name, tensor.data_type, tensor.dims, numpy_helper.to_array(tensor).reshape(-1).tolist()
        )
        model.graph.initializer[k].CopyFrom(typed)
    assert_exact(model, FREE)


def test_a_model_with_functions_in_it() -> None:
    """Model-local functions are inlined when a file is read; here a graph that has gone through that."""
    text = """<ir_version: 10, opset_import: ["" : 21, "own" : 1]>
    g (float[N, 3, 9, 7] x) => (float[A, B, C, D] y) <float[4,3,1,1] w0, float[5,4,1,1] w, float[2,5,1,1] v>
    { p = Conv (x, w0) h = own.twice (p, w) y = Conv (h, v) }
    <opset_import: ["" : 21], domain: "own"> twice (a, k) => (c) { b = Conv (a, k) c = Add (b, b) }"""
    from onnx_attnprune.graph import inline_functions

    model = onnx.parser.parse_model(text)
    from tests.oracle import fill

    fill(model, 0)
    assert_exact(inline_functions(model), FREE)


def test_empty_first_output() -> None:
    """A node's first output may be left out; the second names the node then."""
    model = net("t = Relu (h)", opset=13)
    split = helper.make_node("Split", ["h", "parts"], ["", "half"], axis=1)
    model.graph.node.insert(2, split)
    model.graph.node[3].input[0] = "half"
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3], np.int64), "parts"))
    for tensor in list(model.graph.initializer):
        if tensor.name == "v":
            model.graph.initializer.remove(tensor)
            model.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(tensor)[:, :3], "v"))
    analysis = analyze(Graph(model), default_shapes(model))
    assert {g.name: g.size for g in analysis.groups} == {"w0": 4, "w": 2, "w#2": 3}, told(analysis)
    pruned = cut(analysis, **{"w#2": [0]})
    (split,) = (n for n in pruned.graph.node if n.op_type == "Split")
    assert stored(pruned)[split.input[1]].tolist() == [2, 2]
    onnx.checker.check_model(pruned, full_check=True)


def test_cutting_twice_gives_the_same_bytes() -> None:
    model = parse("""g (float[N, 4, 6] x) => (float[N, 12, 3] y) <float[6, 15] w, float[5, 3] u> {
        a = MatMul (x, w)
        s = Constant <value_ints = [0, 12, 5]> ()
        r = Reshape (a, s)
        y = MatMul (r, u)
    }""")
    analysis = analyze(Graph(model))
    group = next(g for g in analysis.groups if g.size == 5)
    alive = alive_of(analysis.groups, {group.id: [1, 4]})
    one, two = (surgery.prune(analysis, alive).SerializeToString() for _ in range(2))
    assert one == two

"""Compensation: exact where the removed channels are constant, and better than nothing on a trained network."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx.checker
import onnx.helper
import pytest
from onnx import ModelProto, TensorProto

from onnx_attnprune import surgery
from onnx_attnprune.errors import SettingsError
from onnx_attnprune.evaluate.data import Dataset
from onnx_attnprune.evaluate.feeds import input_specs
from onnx_attnprune.evaluate.metrics import evaluate
from onnx_attnprune.evaluate.npz import load_npz
from onnx_attnprune.graph import Graph, read_model
from onnx_attnprune.grouping import Group, alive_of, analyze
from onnx_attnprune.ops import Linear
from onnx_attnprune.recovery import RECOVERIES, Recovery, recover
from onnx_attnprune.recovery.registry import recovery
from onnx_attnprune.runtime import Session
from tests.oracle import parse
from tests.recovery.helpers import put, session, silence, stored, without

GONE = [1, 2, 5]
IMAGE, ROWS = "float[N, 3, 9, 7] x", "float[N, 3] x"
Y4, Y2 = "float[A, B, C, D] y", "float[A, B] y"
NORM = "float[6] s, float[6] b, float[6] m, float[6] var_v"
HEAD = "n = BatchNormalization (c, s, b, m, var_v) r = Relu (n)"
SHARED = """float lo = {-0.4}, float hi = {0.8}, float[4] scales = {1, 1, 2, 3}, int64[2] ax = {2, 3},
int64[8] pads = {0, 1, 0, 0, 0, 2, 0, 0}, float[5] c0, float[5,6,1,1] v, float[5,6,3,2] w, float[4,6,3,2] u"""

# How a layer of 6 channels, of which three are constant, is read.
CONVOLUTIONS = {
    "without a bias": ("", "y = Conv (r, w)"),
    "with a bias": ("", "y = Conv (r, w, c0)"),
    "with a bias left out by name": ("", 'y = Conv (r, w, )'),
    "with a bias behind Identity": ("", "c1 = Identity (c0) y = Conv (r, w, c1)"),
    "with a bias that two share": (
        "float[5,6,3,2] w1", "y0 = Conv (r, w, c0) y1 = Conv (r, w1, c0) y = Mul (y0, y1)"
    ),
    "with a bias that is computed": (
        "float[5] c1",
        "k = GlobalAveragePool (x) k0 = ReduceMean <keepdims=0> (k) c2 = Mul (c0, k0) y = Conv (r, w, c2)",
    ),
    "strided and dilated": ("", "y = Conv <strides=[2,1], dilations=[1,2]> (r, w)"),
    "before a second batch norm": (
        "float[5] s2, float[5] b2, float[5] m2, float[5] var2",
        "p = Conv (r, w) y = BatchNormalization (p, s2, b2, m2, var2)",
    ),
    "by two": ("", "y0 = Conv (r, w) y1 = Conv (r, u, ) y2 = ReduceMean (y1) y = Add (y0, y2)"),
    "with one weight by two": (
        "", "y0 = Conv (r, w) z = Mul (r, r) y1 = Conv (z, w) y = Concat <axis=1> (y0, y1)"
    ),
    "behind a depthwise one": (
        "float[6,1,3,2] d, float[6] d0", "p = Conv <group=6> (r, d, d0) q = HardSwish (p) y = Conv (q, v)"
    ),
    "behind an average": ("", "p = AveragePool <kernel_shape=[3,2]> (r) q = Tanh (p) y = Conv (q, v)"),
    "behind a maximum": ("", "p = MaxPool <kernel_shape=[3,2]> (r) y = Conv (p, v)"),
    "behind SiLU": ("", "p = Sigmoid (n) q = Mul (n, p) y = Conv (q, v)"),
    "behind PRelu and Clip": ("float[6,1,1] a", "p = PRelu (n, a) q = Clip (p, lo, hi) y = Conv (q, v)"),
    "behind sums with a constant": (
        "float[1,6,1,1] k", "p = Add (r, k) q = Mul (p, k) z = Sub (q, k) y = Conv (z, v)"
    ),
    "behind a concat": ("float[5,9,1,1] t", "p = Concat <axis=1> (x, r) y = Conv (p, t)"),
    "behind a resize": ("", "p = Resize (r, , scales) y = Conv (p, v)"),
    "behind padding over channels": ("float[5,9,1,1] t", "p = Pad (r, pads) y = Conv (p, t)"),
    "behind reordered axes": (
        "float[6,5] t", "p = Transpose <perm=[0,2,3,1]> (r) y = MatMul (p, t)"
    ),
    "in a dense layer": (
        "float[5,72] t",
        """p = MaxPool <kernel_shape=[3,2], strides=[2,2]> (r) q = Flatten (p) e = Gemm <transB=1> (q, t, c0)
        y = Unsqueeze (e, ax)""",
    ),
    "in a dense layer behind a global average": (
        "float[5,6] t", "p = GlobalAveragePool (r) q = Flatten (p) e = Gemm <transB=1> (q, t) y = Unsqueeze (e, ax)"
    ),
}  # fmt: skip  # a table


def normed(
    body: str, weights: str = "", *, x: str = IMAGE, y: str = Y4, first: str = "c = Conv (x, w0)", opset: int = 17
) -> ModelProto:
    """x -> 6 channels -> batch norm (the channels GONE constant) -> Relu = r -> the body, which makes y."""
    w0 = "float[6,3,1,1] w0" if x == IMAGE else "float[3,6] w0"
    declared = ", ".join(part for part in (w0, NORM, SHARED, "int64[2] parts = {4, 2}", weights) if part)
    model = parse(f"g ({x}) => ({y}) <{declared}> {{ {first} {HEAD} {body} }}", 17)
    silence(model, "s", GONE)
    put(model, "b", np.linspace(-0.5, 1.5, 6))
    return model


def repaired(model: ModelProto, gone: list[int]) -> tuple[float, float, Recovery]:
    """The largest difference from the original's output without and with compensation, and the recovery."""
    analysis, alive = without(model, {"w0": gone})
    name = analysis.graph.inputs[0].name
    rank_dims = [2 if not isinstance(d, int) else d for d in analysis.graph.inputs[0].dims or ()]
    x = np.random.default_rng(3).standard_normal(rank_dims)
    x = x.astype(np.float16 if analysis.graph.inputs[0].dtype == TensorProto.FLOAT16 else np.float32)
    pruned = surgery.prune(analysis, alive)
    outputs = [session(m).run({name: x})["y"].astype(np.float64) for m in (model, pruned)]
    result = recover("mean", analysis, alive, pruned)
    onnx.checker.check_model(result.model, full_check=True)
    outputs.append(session(result.model).run({name: x})["y"].astype(np.float64))
    assert [o.name for o in result.model.graph.output] == [o.name for o in model.graph.output]
    return float(np.abs(outputs[1] - outputs[0]).max()), float(np.abs(outputs[2] - outputs[0]).max()), result


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_constant_channels_are_made_up_for_exactly(case: str) -> None:
    weights, body = CONVOLUTIONS[case]
    before, after, result = repaired(normed(body, weights), GONE)
    assert before > 1e-2
    assert after < 1e-5
    assert result.compensated == result.consumers > 0
    assert result.notes == ()


DENSE = {
    "matrix product": ("float[6,5] t", "y = MatMul (r, t)"),
    "matrix product and sum": ("float[6,5] t", "z = MatMul (r, t) y = Add (c0, z)"),
    "matrix product and sum with one number": ("float[6,5] t, float[1] k", "z = MatMul (r, t) y = Add (z, k)"),
    "matrix product and a sum of more axes": ("float[6,5] t, float[1,5] k", "z = MatMul (r, t) y = Add (z, k)"),
    "matrix product that two read": ("float[6,5] t", "z = MatMul (r, t) z0 = Add (z, c0) y = Mul (z0, z)"),
    "products with one bias": (
        "float[6,5] t, float[6,5] q",
        "z = MatMul (r, t) z0 = Add (z, c0) z1 = MatMul (r, q) z2 = Add (z1, c0) y = Mul (z0, z2)",
    ),
    "product with a transposed weight": ("float[5,6] t", "t0 = Transpose (t) y = MatMul (r, t0)"),
    "Gemm": ("float[6,5] t", "y = Gemm (r, t, c0)"),
    "Gemm with factors": ("float[5,6] t", "y = Gemm <alpha=0.5, beta=3.0, transB=1> (r, t, c0)"),
    "Gemm without a sum": ("float[5,6] t", "y = Gemm <alpha=0.5, beta=3.0, transB=1> (r, t)"),
    "Gemm with a sum times zero": ("float[5,6] t", "y = Gemm <beta=0.0, transB=1> (r, t, c0)"),
    "Gemm with one number": ("float[5,6] t, float k", "y = Gemm <transB=1> (r, t, k)"),
    "Gemm with a computed sum": ("float[5,6] t, float[3,5] q", "k = MatMul (x, q) y = Gemm <transB=1> (r, t, k)"),
}  # fmt: skip  # a table


@pytest.mark.parametrize("case", DENSE)
def test_dense_layers_are_made_up_for_exactly(case: str) -> None:
    weights, body = DENSE[case]
    before, after, result = repaired(normed(body, weights, x=ROWS, y=Y2, first="c = MatMul (x, w0)"), GONE)
    assert before > 1e-2
    assert after < 1e-5
    assert result.compensated == result.consumers > 0


def test_groups_of_a_convolution_are_made_up_for_one_by_one() -> None:
    # Channel 1 of the three of each group goes.
    model = normed("y = Conv <group=2> (r, t)", "float[4,3,3,2] t")
    put(model, "s", np.array([0.7, 0, 0.4, 0.9, 0, 1.1]))
    analysis, _ = without(model, {})
    (inner,) = analysis.groups
    alive = {inner.var.id: np.array([True, False, True])}
    x = np.random.default_rng(3).standard_normal((2, 3, 9, 7)).astype(np.float32)
    expected = session(model).run({"x": x})["y"]
    pruned = surgery.prune(analysis, alive)
    assert np.abs(session(pruned).run({"x": x})["y"] - expected).max() > 1e-2
    result = recover("mean", analysis, alive, pruned)
    assert np.abs(session(result.model).run({"x": x})["y"] - expected).max() < 1e-5


def test_parts_of_a_split_are_made_up_for_one_by_one() -> None:
    model = normed("p0, p1 = Split <axis=1> (r, parts) y0 = Conv (p0, t0) y1 = Conv (p1, t1) y = Add (y0, y1)",
                   "float[5,4,1,1] t0, float[5,2,1,1] t1")  # fmt: skip  # two lines
    analysis, _ = without(model, {})
    alive = {g.var.id: np.array([True, False, False, True] if g.size == 4 else [True, False]) for g in analysis.groups}
    x = np.random.default_rng(3).standard_normal((2, 3, 9, 7)).astype(np.float32)
    expected = session(model).run({"x": x})["y"]
    pruned = surgery.prune(analysis, alive)
    assert np.abs(session(pruned).run({"x": x})["y"] - expected).max() > 1e-2
    result = recover("mean", analysis, alive, pruned)
    assert result.compensated == 2
    assert np.abs(session(result.model).run({"x": x})["y"] - expected).max() < 1e-5


def test_padding_is_exact_away_from_the_border() -> None:
    model = normed("y = Conv <pads=[1,1,1,1]> (r, t)", "float[5,6,3,3] t")
    analysis, alive = without(model, {"w0": GONE})
    result = recover("mean", analysis, alive, surgery.prune(analysis, alive))
    x = np.random.default_rng(3).standard_normal((2, 3, 9, 7)).astype(np.float32)
    difference = np.abs(session(model).run({"x": x})["y"] - session(result.model).run({"x": x})["y"])
    assert difference[:, :, 1:-1, 1:-1].max() < 1e-5
    assert difference.max() > 1e-2


def test_a_transposed_convolution_is_made_up_for() -> None:
    model = normed("y = ConvTranspose <strides=[3,2]> (r, t)", "float[6,5,3,2] t")
    # Taps that are alike, so that every position of the result gets the same.
    put(model, "t", np.broadcast_to(stored(model, "t")[:, :, :1, :1], (6, 5, 3, 2)))
    analysis, alive = without(model, {"w0": GONE})
    linear = Linear(0, 1, 2, out=1, into=0)
    effects = tuple(
        (n, dataclasses.replace(e, linear=linear) if n.op == "ConvTranspose" else e) for n, e in analysis.effects
    )
    analysis = dataclasses.replace(analysis, effects=effects)
    x = np.random.default_rng(3).standard_normal((2, 3, 9, 7)).astype(np.float32)
    expected = session(model).run({"x": x})["y"]
    result = recover("mean", analysis, alive, surgery.prune(analysis, alive))
    assert (result.consumers, result.compensated) == (1, 1)
    assert np.abs(session(result.model).run({"x": x})["y"] - expected).max() < 1e-5


def test_half_precision_is_written_as_half_precision() -> None:
    text = """g (float16[N, 3] x) => (float16[A, B] y)
    <float16[3,6] w0, float16[6] s, float16[6] b, float16[6] m, float16[6] var_v, float16[6,5] t>
    { c = MatMul (x, w0) n = BatchNormalization (c, s, b, m, var_v) r = Relu (n) y = MatMul (r, t) }"""
    model = parse(text, 17)
    silence(model, "s", GONE)
    put(model, "b", np.linspace(-0.5, 1.5, 6))
    before, after, result = repaired(model, GONE)
    assert after < 5e-3 < before
    added = next(t for t in result.model.graph.initializer if t.name == "y_bias")
    assert added.data_type == TensorProto.FLOAT16


def test_a_bias_that_another_node_reads_keeps_its_numbers() -> None:
    model = normed("y0 = Conv (r, w, c0) q = Relu (c0) y1 = ReduceSum (q) y = Add (y0, y1)")
    before, after, result = repaired(model, GONE)
    assert after < 1e-5 < before
    np.testing.assert_array_equal(stored(result.model, "c0"), stored(model, "c0"))


def test_a_bias_of_one_node_is_edited_where_it_lies() -> None:
    model = normed("y = Conv (r, w, c0)")
    _, _, result = repaired(model, GONE)
    assert "y_bias" not in {t.name for t in result.model.graph.initializer}
    assert not np.array_equal(stored(result.model, "c0"), stored(model, "c0"))


def test_a_shared_bias_is_copied_once_for_two() -> None:
    weights, body = CONVOLUTIONS["with a bias that two share"]
    _, _, result = repaired(normed(body, weights), GONE)
    biases = [node.input[2] for node in result.model.graph.node if node.op_type == "Conv" and len(node.input) > 2]
    assert biases == ["y0_bias", "c0"]  # the last reader may have the tensor itself


def test_a_bias_that_nothing_reads_any_more_is_gone() -> None:
    # Behind another rank the bias can't be edited where it lies, for it is listed as an input of its old shape.
    model = normed("y = Gemm <transB=1> (r, t, k)", "float[5,6] t, float k", x=ROWS, y=Y2, first="c = MatMul (x, w0)")
    for listed in (False, True):
        if listed:
            model.graph.input.append(onnx.helper.make_tensor_value_info("k", TensorProto.FLOAT, []))
        _, after, result = repaired(model, GONE)
        assert after < 1e-5
        names = {t.name for t in result.model.graph.initializer}
        assert ("y_bias" in names) == listed


def test_what_depends_on_the_input_alone_is_not_made_up_for() -> None:
    model = parse(f"g ({IMAGE}) => ({Y4}) <float[6,3,1,1] w0, float[5,6,3,2] w> {{ r = Conv (x, w0) y = Conv (r, w) }}")
    before, after, result = repaired(model, GONE)
    assert before == after > 0
    assert (result.consumers, result.compensated) == (1, 0)
    assert result.notes == ("y: the mean is not known of 3 of 3 channels",)


def test_a_channel_without_weights_is_constant_whatever_the_input_is() -> None:
    text = "<float[6,3,1,1] w0, float[6] b0, float[5,6,3,2] w> { c = Conv (x, w0, b0) r = Sigmoid (c) y = Conv (r, w) }"
    model = parse(f"g ({IMAGE}) => ({Y4}) {text}")
    values = stored(model, "w0").copy()
    values[GONE[:2]] = 0
    put(model, "w0", values)
    before, after, result = repaired(model, GONE[:2])
    assert after < 1e-5 < before
    assert result.compensated == 1
    _, _, partly = repaired(model, GONE)
    assert (partly.compensated, partly.notes) == (1, ("y: the mean is not known of 1 of 3 channels",))


def test_nothing_is_left_as_it_is() -> None:
    model = normed("y = Conv (r, w)")
    analysis, alive = without(model, {"w0": GONE})
    pruned = surgery.prune(analysis, alive)
    before = pruned.SerializeToString(deterministic=True)
    result = recover("none", analysis, alive, pruned)
    assert result.model is pruned
    assert pruned.SerializeToString(deterministic=True) == before
    assert (result.method, result.consumers, result.compensated) == ("none", 1, 0)


def test_the_analysed_model_is_not_touched() -> None:
    model = normed("y = Conv (r, w, c0)")
    before = model.SerializeToString(deterministic=True)
    repaired(model, GONE)
    assert model.SerializeToString(deterministic=True) == before


def test_an_unknown_method_lists_those_that_are_there() -> None:
    model = normed("y = Conv (r, w)")
    analysis, alive = without(model, {"w0": GONE})
    with pytest.raises(SettingsError, match=r"'magic'; choose from: none, mean"):
        recover("magic", analysis, alive, surgery.prune(analysis, alive))


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="'mean' already"):
        recovery("mean")(RECOVERIES["none"])


def test_nodes_that_lose_nothing_are_no_consumers() -> None:
    model = normed("y = Conv (r, w)")
    analysis = analyze(Graph(model))
    result = recover("mean", analysis, {}, surgery.prune(analysis, {}))
    assert (result.consumers, result.compensated, result.notes) == (0, 0, ())


MODELS = Path(__file__).parents[2] / "models"


@pytest.mark.parametrize("ratio", [0.2, 0.3])
def test_a_trained_network_keeps_more_accuracy_with_compensation(ratio: float) -> None:
    model = read_model(MODELS / "fashion_resnet.onnx")
    analysis = analyze(Graph(model))
    removed = {g.id: np.argsort(_squared(analysis.graph, g))[: int(g.size * ratio)].tolist() for g in analysis.groups}
    alive = alive_of(analysis.groups, removed)
    whole = load_npz(MODELS / "fashion_mnist_eval.npz", input_specs(model))
    assert whole.labels is not None
    data = Dataset({name: array[:500] for name, array in whole.feeds.items()}, whole.labels[:500], 500)
    top1 = {}
    for method in ("none", "mean"):
        result = recover(method, analysis, alive, surgery.prune(analysis, alive))
        top1[method] = evaluate(Session(result.model), data, 100).top1
        assert result.compensated == (result.consumers if method == "mean" else 0)
    assert top1["mean"] > top1["none"] + 0.05


def _squared(graph: Graph, group: Group) -> np.ndarray[Any, Any]:
    """The sum of squares of the weights that make each channel."""
    total = np.zeros(group.size)
    for member in group.members:
        if member.role == "producer":
            weight = np.moveaxis(graph.constants[member.slot.tensor].array(), member.axis, 0)
            total += (weight.reshape(group.size, -1).astype(np.float64) ** 2).sum(1)
    return total

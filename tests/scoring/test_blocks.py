"""Blocks against plain numpy: which numbers belong to which channel, and sums, folds and attention over them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from onnx_attnprune.axes import BoolArray, Var, concat, pick_of, product
from onnx_attnprune.graph import Constant, Graph
from onnx_attnprune.grouping import Analysis, alive_of, analyze
from onnx_attnprune.scoring.blocks import Block, Blocks, owners
from onnx_attnprune.scoring.weights import CHUNK, Weight

CHAIN = """<ir_version: 8, opset_import: ["": 17]>
g (float[N,3,6,6] x) => (float[N,7] y)
<float[5,3,3,3] w1, float[5] gamma, float[5] beta, float[5] mu, float[5] var, float[4,5,2,2] w2, float[7,36] w3> {
  a = Conv<pads = [1,1,1,1]>(x, w1)
  b = BatchNormalization<epsilon = 0.01>(a, gamma, beta, mu, var)
  c = Relu(b)
  d = Conv<strides = [2,2]>(c, w2)
  e = Flatten(d)
  y = Gemm<transB = 1>(e, w3)
}"""


def filled(text: str, dtype: type = np.float32, **given: np.ndarray) -> tuple[Analysis, dict[str, np.ndarray]]:
    """A graph whose initializers are random numbers (variances positive), and those numbers."""
    model = parser.parse_model(text)
    rng, arrays = np.random.default_rng(7), {}
    for value in model.graph.value_info:  # the parser's initializers without values
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        array = rng.standard_normal(shape).astype(dtype)
        arrays[value.name] = given.get(value.name, np.abs(array) + 1 if value.name == "var" else array)
        model.graph.initializer.append(numpy_helper.from_array(arrays[value.name], value.name))
    del model.graph.value_info[:]
    return analyze(Graph(model)), arrays


def chain(**given: np.ndarray) -> tuple[Analysis, dict[str, np.ndarray]]:
    text = CHAIN.replace("float[7,36] w3", "float[7,36] w3")
    return filled(text, **given)


def block_of(analysis: Analysis, tensor: str, role: str, alive: Mapping[int, BoolArray] | None = None) -> Block:
    blocks = Blocks(analysis, alive or {})
    found = [b for g in analysis.groups for b in blocks.of(g) if b.tensor == tensor and b.role == role]
    assert len(found) == 1
    return found[0]


def test_a_batch_norm_is_folded_into_the_producer_before_it():
    analysis, a = chain()
    block = block_of(analysis, "w1", "producer")
    expected = a["w1"] * (a["gamma"] / np.sqrt(a["var"] + 0.01))[:, None, None, None]
    np.testing.assert_allclose(block.matrix, expected.reshape(5, -1), rtol=1e-5)
    np.testing.assert_allclose(block.total(1), np.abs(expected).sum((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(block.total(2), (expected**2).sum((1, 2, 3)), rtol=1e-5)


def test_a_consumer_has_its_input_channels_and_no_fold():
    analysis, a = chain()
    block = block_of(analysis, "w2", "consumer")
    np.testing.assert_array_equal(block.matrix, np.moveaxis(a["w2"], 1, 0).reshape(5, -1))
    np.testing.assert_allclose(block.total(2), (a["w2"] ** 2).sum((0, 2, 3)), rtol=1e-5)


def test_only_the_scale_of_a_normalisation_normalises():
    analysis, _ = chain()
    assert block_of(analysis, "gamma", "scale").normalises
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[N,3] x) => (float[N,4] y) <float[3,5] w1, float[5] s, float[5,4] w2> {
      a = MatMul(x, w1)  b = Mul(a, s)  y = MatMul(b, w2) }"""
    assert not block_of(filled(text)[0], "s", "scale").normalises


def test_a_flattened_channel_owns_all_of_its_positions():
    analysis, a = chain()
    block = block_of(analysis, "w3", "consumer")
    grid = a["w3"].reshape(7, 4, 9)
    np.testing.assert_array_equal(block.matrix, np.moveaxis(grid, 1, 0).transpose(0, 2, 1).reshape(4, -1))
    np.testing.assert_allclose(block.total(1), np.abs(grid).sum((0, 2)), rtol=1e-5)


def test_what_earlier_steps_removed_is_left_out_of_other_groups():
    analysis, a = chain()
    first = next(g for g in analysis.groups if g.size == 5)
    alive = alive_of(analysis.groups, {first.id: [1, 4]})
    block, left = block_of(analysis, "w2", "producer", alive), a["w2"][:, [0, 2, 3]]
    np.testing.assert_array_equal(block.matrix, left.reshape(4, -1))
    np.testing.assert_allclose(block.total(1), np.abs(left).sum((1, 2, 3)), rtol=1e-5)
    own = block_of(analysis, "w1", "producer", alive)
    assert np.isnan(own.matrix).all(1).tolist() == [False, True, False, False, True]
    assert (own.total(1) == 0).tolist() == [False, True, False, False, True]


def received(weight: np.ndarray, axis: int) -> np.ndarray:
    """The formula of Weight.attention in four lines of float64."""
    size = np.abs(np.moveaxis(weight.astype(np.float64), axis, 0).reshape(weight.shape[axis], -1))
    alpha = np.exp(size / np.sqrt((size**2).mean()))
    return (alpha / alpha.sum(0) * size).sum(1)


def stored(array: np.ndarray) -> Constant:
    """The array as a constant of a file."""
    tensor = numpy_helper.from_array(array, "w")
    return Graph(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [tensor]))).constants["w"]


@pytest.mark.parametrize(("shape", "axis"), [((4, 5, 2, 2), 1), ((5, 300), 0), ((300, 5), 1), ((3, CHUNK // 2), 0)])
def test_attention_is_the_formula_in_any_layout(shape: tuple[int, ...], axis: int):
    array = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(Weight(stored(array), [axis], {}, {}).attention(axis), received(array, axis), rtol=2e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_scales_on_any_axis_count_in_sums_and_attention(axis: int):
    rng = np.random.default_rng(2)
    array = rng.standard_normal((70, 60, 50)).astype(np.float32)
    assert array.size > CHUNK
    scale = {k: rng.standard_normal(n).astype(np.float32) for k, n in enumerate(array.shape)}
    scaled = array * scale[0][:, None, None] * scale[1][:, None] * scale[2]
    weight = Weight(stored(array), [axis], {}, scale)
    others = tuple({0, 1, 2} - {axis})
    np.testing.assert_allclose(weight.attention(axis), received(scaled, axis), rtol=1e-4)
    np.testing.assert_allclose(weight.sums(axis, 1), np.abs(scaled).sum(others), rtol=1e-4)
    np.testing.assert_allclose(weight.sums(axis, 2), (scaled**2).sum(others), rtol=1e-4)


def test_attention_to_one_number_among_thousands_is_finite():
    array = np.zeros((150, 100), np.float32)
    array[3, 7] = 5  # 122 times the rms, and exp(122) is no float32
    found = Weight(stored(array), [1], {}, {}).attention(1)
    assert found[7] == pytest.approx(5)
    assert np.count_nonzero(found) == 1


def test_attention_goes_to_nobody_who_was_removed():
    analysis, a = chain()
    first, second = (next(g for g in analysis.groups if g.size == s) for s in (5, 4))
    alive = alive_of(analysis.groups, {first.id: [1, 4], second.id: [2]})
    block = block_of(analysis, "w2", "consumer", alive)
    expected = received(a["w2"][[0, 1, 3]][:, [0, 2, 3]], 1)
    np.testing.assert_allclose(block.attention(), [expected[0], 0, expected[1], expected[2], 0], rtol=2e-5)


def test_nothing_attends_through_a_weight_of_zeros():
    zeros = block_of(chain(w2=np.zeros((4, 5, 2, 2), np.float32))[0], "w2", "consumer")
    assert zeros.attention().tolist() == [0] * 5


def test_a_weight_in_half_precision_is_summed_in_float32():
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float16[N,3] x) => (float16[N,4000] y) <float16[3,5] w1, float16[5,4000] w2> {
      a = MatMul(x, w1)  y = MatMul(a, w2) }"""
    big = np.full((5, 4000), 100, np.float16)  # the sum of squares is past the largest float16
    analysis, _ = filled(text, np.float16, w2=big)
    assert block_of(analysis, "w2", "consumer").total(2).tolist() == [4e7] * 5


def test_sums_of_both_axes_of_a_large_weight_are_exact():
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[N,3] x) => (float[N,2] y) <float[3,700] w1, float[700,500] w2, float[500,2] w3> {
      a = MatMul(x, w1)  b = Relu(a)  c = MatMul(b, w2)  d = Relu(c)  y = MatMul(d, w3) }"""
    analysis, a = filled(text)
    assert a["w2"].size > CHUNK
    np.testing.assert_allclose(block_of(analysis, "w2", "consumer").total(1), np.abs(a["w2"]).sum(1), rtol=1e-5)
    np.testing.assert_allclose(block_of(analysis, "w2", "producer").total(2), (a["w2"] ** 2).sum(0), rtol=1e-5)


def test_each_weight_is_read_once(monkeypatch: pytest.MonkeyPatch):
    from onnx_attnprune import graph, scoring

    analysis, _ = chain()
    read: list[str] = []
    real = graph.Constant.array
    monkeypatch.setattr(graph.Constant, "array", lambda self: (read.append(self.name), real(self))[1])
    scoring.score(analysis, "attention")  # w2 is what one group is read by and what makes the other
    assert {name: read.count(name) for name in ("w2", "w3")} == {"w2": 1, "w3": 1}


def test_a_variable_inside_of_products_concats_and_picks():
    v, w = Var(1, 3), Var(2, 2)
    assert [o.tolist() for o in owners(product((w, v)), v)] == [[0, 1, 2, 0, 1, 2]]
    assert [o.tolist() for o in owners(product((w, v)), w)] == [[0, 0, 0, 1, 1, 1]]
    twice = concat((v, w, v))
    assert [o.tolist() for o in owners(twice, v)] == [[0, 1, 2, *[-1] * 5], [*[-1] * 5, 0, 1, 2]]
    assert [o.tolist() for o in owners(pick_of(v, (2, 2, 0)), v)] == [[2, 2, 0]]
    assert list(owners(w, v)) == []


def ragged() -> Block:
    """Two channels, of which the second stands at two positions."""
    array = np.arange(1, 7, dtype=np.float32).reshape(3, 2)
    return Block("producer", "w", 2, Weight(stored(array), [0], {}, {}), 0, np.array([1, 0, 1]))


def test_a_channel_picked_twice_has_a_longer_row():
    np.testing.assert_array_equal(ragged().matrix, [[3, 4, np.nan, np.nan], [1, 2, 5, 6]])
    assert ragged().total(1).tolist() == [7, 14]


def test_sums_are_those_of_the_group_s_own_positions() -> None:
    """The second part of what is joined: its numbers stand behind those of the first."""
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[N,3] x) => (float[N,7] y) <float[3,4] a, float[3,5] b, float[9,7] w>
    { p = MatMul (x, a) q = MatMul (x, b) j = Concat <axis = 1> (p, q) y = MatMul (j, w) }"""
    analysis, arrays = filled(text)
    second = next(g for g in analysis.groups if g.name == "b")
    block = next(b for b in Blocks(analysis, {}).of(second) if b.tensor == "w")
    assert block.total(1) == pytest.approx(np.abs(arrays["w"][4:]).sum(1), rel=1e-5)

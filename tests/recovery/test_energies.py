"""Activation energies against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import Analysis, alive_of, analyze
from onnx_attnprune.recovery import Gathered, energies, in_batches, samples_of
from onnx_attnprune.recovery.sampled import METHODS, running, sampled
from onnx_attnprune.scoring import SAMPLED
from tests.oracle import parse
from tests.recovery.helpers import Array, stored

TEXT = """g (float[N, 4] x) => (float[N, 3] y, float[N, 2] z)
<float[4, 6] w1, float[6] b1, float[6, 3] w2, float[2, 6] w3>
{ a = MatMul (x, w1)
  b = Add (a, b1)
  r = Relu (b)
  y = MatMul (r, w2)
  z = Gemm <alpha = 0.5, transB = 1> (r, w3) }"""


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyze(Graph(parse(TEXT)), {"x": (8, 4)})


def inputs() -> Array:
    return np.random.default_rng(3).standard_normal((40, 4)).astype(np.float32)


def expected(analysis: Analysis, left: Array) -> Array:
    """The parts of the channels that are left, both consumers together."""
    model = analysis.graph.model
    hidden = np.maximum(inputs() @ stored(model, "w1") + stored(model, "b1"), 0)
    parts = np.zeros(6)
    for weight in (stored(model, "w2"), stored(model, "w3").T):
        energy = hidden.var(0) * (weight**2).sum(1) * left
        parts += energy / energy.sum()
    return parts


def test_a_part_is_variance_times_squared_weights_over_all_channels(analysis: Analysis) -> None:
    (group,) = analysis.groups
    found = samples_of(analysis, Gathered(in_batches({"x": inputs()}, 8, "x"))).judge("activation", {})[group.id]
    np.testing.assert_allclose(found, running(expected(analysis, np.ones(6))), rtol=1e-4)
    assert found.max() == pytest.approx(2)


def test_what_is_gone_counts_no_more(analysis: Analysis) -> None:
    (group,) = analysis.groups
    alive: dict[int, BoolArray] = alive_of(analysis.groups, {group.id: (1, 4)})
    judge = samples_of(analysis, Gathered(in_batches({"x": inputs()}, 8, "x"))).judge
    left = alive[group.var.id]
    found = judge("activation", alive)[group.id]
    np.testing.assert_allclose(found[left], running(expected(analysis, left))[left], rtol=1e-4)


def test_little_memory_takes_more_runs_and_gives_the_same(analysis: Analysis, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = samples_of(analysis, Gathered(in_batches({"x": inputs()}, 8, "x"))).judge("activation", {})
    monkeypatch.setattr(energies, "WAVE_BYTES", 1)
    again = samples_of(analysis, Gathered(in_batches({"x": inputs()}, 8, "x"))).judge("activation", {})
    np.testing.assert_array_equal(again[0], judge[0])


def test_what_a_constant_gives_is_the_same_for_every_sample() -> None:
    """The first product reads a constant as its data, whose rows count as positions do."""
    found = analyze(Graph(parse("""g (float[N, 5] x) => (float[N, 3] y) <float[5, 6] a, float[6, 4] w, float[4, 3] v>
    { m = MatMul (a, w) h = MatMul (x, m) y = MatMul (h, v) }""")), {"x": (8, 5)})  # fmt: skip  # two lines
    group = next(g for g in found.groups if g.size == 6)
    samples = np.random.default_rng(3).standard_normal((40, 5)).astype(np.float32)
    parts = samples_of(found, Gathered(in_batches({"x": samples}, 8, "x"))).judge("activation", {})[group.id]
    model = found.graph.model
    energy = stored(model, "a").var(0) * (stored(model, "w") ** 2).sum(1)
    np.testing.assert_allclose(parts, running(energy / energy.sum()), rtol=1e-4)


RECURRENT = """g (float[5, N, 4] x) => (float[5, 2, N, 3] y)
<float[4, 6] w1, float[2, 9, 6] w, float[2, 9, 3] r>
{ a = MatMul (x, w1)
  y = GRU <hidden_size = 3, direction = "bidirectional"> (a, w, r) }"""


def test_the_input_of_a_recurrent_layer_counts_by_the_gates_of_both_directions() -> None:
    analysis = analyze(Graph(parse(RECURRENT)), {"x": (5, 8, 4)})
    group = next(g for g in analysis.groups if g.size == 6)
    x = np.random.default_rng(3).standard_normal((5, 40, 4)).astype(np.float32)
    found = samples_of(analysis, Gathered(in_batches({"x": x}, 5, "x"))).judge("activation", {})[group.id]
    model = analysis.graph.model
    energy = (x @ stored(model, "w1")).var((0, 1)) * (stored(model, "w") ** 2).sum((0, 1))
    np.testing.assert_allclose(found, running(energy / energy.sum()), rtol=1e-4)


def test_running_sums_go_up_with_the_costs() -> None:
    assert running(np.array([3.0, 1.0, 2.0])).tolist() == [6.0, 1.0, 3.0]


def test_names_are_those_that_scoring_knows_and_free() -> None:
    assert set(METHODS) == set(SAMPLED)
    with pytest.raises(ValueError, match="criterion 'obs' already"):
        sampled("obs")(energies.activation)
    with pytest.raises(ValueError, match="scoring knows no criterion 'tea leaves'"):
        sampled("tea leaves")(energies.activation)

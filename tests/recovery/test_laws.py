"""Means and variances without data: against closed forms, and against random numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from onnx_attnprune.graph import Node, new_node
from onnx_attnprune.recovery.activations import ACTIVATIONS, activation, sigmoid
from onnx_attnprune.recovery.laws import (
    Law,
    combined,
    constant,
    contracted,
    is_fixed,
    joined,
    largest_of,
    pointwise,
    rectified,
    relaid,
    unknown,
)
from tests.oracle import parse
from tests.recovery.helpers import run

MEANS = np.array([-2.0, -0.3, 0.0, 0.4, 3.5])
SPREADS = np.array([1.5, 0.2, 1.0, 2.0, 0.7])
NORMAL = Law(MEANS, SPREADS**2, source=7)
SAMPLES = 400_000
NEVER_FINITE = {"Sqrt", "Reciprocal"}  # of a normal variable


@pytest.fixture(scope="module")
def draws() -> Any:
    return MEANS + SPREADS * np.random.default_rng(0).standard_normal((SAMPLES, len(MEANS)))


@pytest.mark.parametrize("op", sorted(ACTIVATIONS.keys() - NEVER_FINITE))
def test_mean_and_variance_of_an_activation_are_those_of_random_numbers(op: str, draws: Any) -> None:
    function = ACTIVATIONS[op](Node(new_node(op, ["x"], ["y"]), 0))
    law = rectified(NORMAL) if op == "Relu" else pointwise(NORMAL, function)
    values = function(draws)
    # A step of the grid where the function jumps.
    error = 5 * values.std(0) / math.sqrt(SAMPLES) + (0.02 if op == "ThresholdedRelu" else 1e-9)
    assert (np.abs(law.mean - values.mean(0)) < error).all()
    fourth = ((values - values.mean(0)) ** 2).std(0) / math.sqrt(SAMPLES)
    assert (np.abs(law.variance - values.var(0)) < 5 * fourth + (0.05 if op == "ThresholdedRelu" else 1e-9)).all()


RUNS = {"Mish": 18, "HardSwish": 14, "Gelu": 20, "Swish": 24}


@pytest.mark.parametrize("op", sorted(ACTIVATIONS))
def test_an_activation_is_the_operator_of_onnx(op: str) -> None:
    model = parse(f"g (float[N, 7] x) => (float[A, B] y) {{ y = {op} (x) }}", RUNS.get(op, 17))
    x = np.linspace(0.3, 4.0, 7)[None] if op in NEVER_FINITE else np.linspace(-4.1, 4.4, 7)[None]
    expected = run(model, {"x": x.astype(np.float32)})["y"]
    actual = ACTIVATIONS[op](Node(model.graph.node[0], 0))(x)
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-6)


ATTRIBUTES = [
    ("LeakyRelu", "alpha=0.3"),
    ("ThresholdedRelu", "alpha=0.4"),
    ("Elu", "alpha=0.7"),
    ("Selu", "alpha=1.2, gamma=0.8"),
    ("Celu", "alpha=0.6"),
    ("HardSigmoid", "alpha=0.3, beta=0.4"),
    ("Gelu", 'approximate="tanh"'),
]


@pytest.mark.parametrize(("op", "attributes"), ATTRIBUTES)
def test_an_activation_reads_its_attributes(op: str, attributes: str) -> None:
    model = parse(f"g (float[N, 7] x) => (float[A, B] y) {{ y = {op} <{attributes}> (x) }}", RUNS.get(op, 17))
    x = np.linspace(-4.1, 4.4, 7)[None]
    expected = run(model, {"x": x.astype(np.float32)})["y"]
    np.testing.assert_allclose(ACTIVATIONS[op](Node(model.graph.node[0], 0))(x), expected, rtol=2e-5, atol=2e-6)


def test_an_operator_has_one_function() -> None:
    with pytest.raises(ValueError, match="Relu has a function already"):
        activation("Relu")(lambda _: np.abs)


def test_the_grid_agrees_with_the_closed_form_of_relu() -> None:
    grid, closed = pointwise(NORMAL, lambda x: np.maximum(x, 0.0)), rectified(NORMAL)
    np.testing.assert_allclose(grid.mean, closed.mean, atol=4e-4)
    np.testing.assert_allclose(grid.variance, closed.variance, atol=2e-3)
    assert closed.mean[2] == pytest.approx(1 / math.sqrt(2 * math.pi), abs=1e-12)  # of a standard normal variable
    assert closed.variance[2] == pytest.approx(0.5 - 0.5 / math.pi, abs=1e-12)


def test_a_channel_without_spread_is_exact() -> None:
    law = Law(np.array([-1.5, 0.25, 2.0]), np.array([0.0, 0.0, 1.0]), source=3)
    for after, function in ((rectified(law), lambda x: max(x, 0.0)), (pointwise(law, np.tanh), math.tanh)):
        assert after.mean[:2].tolist() == pytest.approx([function(-1.5), function(0.25)], rel=1e-15)
        assert after.variance[:2].tolist() == [0.0, 0.0]
        assert after.variance[2] > 0
    assert is_fixed(pointwise(constant(np.array([4.0])), np.sqrt))


def test_what_is_not_finite_or_rests_on_the_unknown_is_unknown() -> None:
    law = Law(np.array([1.0, np.nan, 2.0, 30.0]), np.array([1.0, 1.0, np.nan, 1.0]), source=3)
    after = pointwise(law, np.sqrt)
    assert np.isnan(after.mean).tolist() == [True, True, True, False]
    assert np.isnan(rectified(law).mean).tolist() == [False, True, True, False]
    assert np.isnan(rectified(unknown(2)).mean).all()


def test_a_product_of_functions_of_one_variable_is_that_of_random_numbers(draws: Any) -> None:
    law = combined(NORMAL, pointwise(NORMAL, sigmoid), np.multiply)
    assert law is not None
    assert np.abs(law.mean - (draws * sigmoid(draws)).mean(0)).max() < 0.01
    assert np.abs(law.mean - MEANS * sigmoid(draws).mean(0)).max() > 0.1  # which independence would give


def test_tensors_of_different_sources_have_no_common_law() -> None:
    assert combined(NORMAL, Law(MEANS, SPREADS, source=8), np.multiply) is None
    assert combined(NORMAL, unknown(1), np.multiply) is None


def test_the_largest_of_n_normal_variables() -> None:
    assert largest_of(1) == pytest.approx(0, abs=1e-12)
    assert largest_of(2) == pytest.approx(1 / math.sqrt(math.pi), abs=2e-4)
    drawn = np.random.default_rng(1).standard_normal((100_000, 9)).max(1).mean()
    assert largest_of(9) == pytest.approx(drawn, abs=0.01)


def test_a_weight_of_zero_does_not_see_the_unknown() -> None:
    weights = np.array([[[1.0, 0.0, 2.0], [1.0, 3.0, 0.0]]])
    got = contracted(weights, np.array([[5.0, np.nan, 7.0]]))
    assert got[0, 0] == 19.0
    assert np.isnan(got[0, 1])


def test_profiles_follow_a_reshape() -> None:
    channels = np.arange(6.0).reshape(1, 6, 1, 1)
    late = (True, False, False, False)
    split = relaid(channels, (97, 6, 4, 5), (97, 2, 3, 20), late)
    assert split is not None
    assert split.shape == (1, 2, 3, 1)
    assert split.reshape(-1).tolist() == list(range(6))
    flat = relaid(channels, (97, 6, 2, 1), (97, 12), late)
    assert flat is not None
    assert flat.reshape(-1).tolist() == np.repeat(np.arange(6.0), 2).tolist()
    squeezed = relaid(channels, (97, 6, 1, 1), (97, 6), late)
    assert squeezed is not None
    assert squeezed.shape == (1, 6)
    assert relaid(channels, (97, 6, 4, 5), (582, 4, 5), late) is None  # channels into a batch of unknown size


def test_profiles_follow_a_concat() -> None:
    got = joined([np.ones((1, 1, 1)), np.arange(3.0).reshape(1, 3, 1), np.zeros((1, 1, 2))], [2, 3, 1], 1)
    assert got is not None
    assert got.shape == (1, 6, 2)
    assert got[0, :, 1].tolist() == [1, 1, 0, 1, 2, 0]

"""Greedy OBS against formula 3 by the book: the order, and the error at every width."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import Analysis, alive_of, analyze
from onnx_attnprune.recovery import Gathered, in_batches, obs, samples_of
from onnx_attnprune.recovery.calibration import Calibration
from onnx_attnprune.recovery.greedy import greedy, part_of
from onnx_attnprune.recovery.least_squares import gather
from onnx_attnprune.recovery.losses import curve_of
from onnx_attnprune.recovery.readings import readings_of
from tests.oracle import parse
from tests.recovery.helpers import put, stored
from tests.small import cnn

Array = np.ndarray[Any, Any]


def covariance(columns: int, rng: np.random.Generator) -> Array:
    mixed = rng.standard_normal((columns, columns))
    return np.asarray(mixed @ mixed.T / columns + 0.1 * np.eye(columns))


def loss(sigma: Array, w: Array, gone: Array) -> float:
    """tr(W_P^T (S_PP - S_PS S_SS^-1 S_SP) W_P)."""
    p, s = np.flatnonzero(gone), np.flatnonzero(~gone)
    rest = sigma[np.ix_(p, p)] - sigma[np.ix_(p, s)] @ np.linalg.inv(sigma[np.ix_(s, s)]) @ sigma[np.ix_(s, p)]
    return float(np.trace(w[p].T @ rest @ w[p]))


def by_the_book(consumers: list[tuple[Array, Array, Array]], size: int) -> tuple[list[int], list[float]]:
    """The same by trying every channel at every step."""
    order: list[int] = []
    errors: list[float] = []
    for _ in range(size):
        found = {
            j: sum(loss(sigma, w, np.isin(owner, [*order, j])) for sigma, w, owner in consumers)
            for j in range(size)
            if j not in order
        }
        order.append(min(found, key=lambda j: found[j]))
        errors.append(found[order[-1]])
    return order, errors


@pytest.mark.parametrize(
    "owners",
    [
        [[0, 1, 2, 3, 4]],
        [[0, 0, 1, 1, 2, 2, 3, 3, 4, 4]],
        [[3, 1, 0, 2, 4, 0, 1, 3, 2, 4], [4, 3, 2, 1, 0]],
        [[0, 0, 0, 1, 2, 2, 3, 4, 4], [1, 1, 3]],  # channels of several widths, and a consumer that reads two of them
    ],
)
@pytest.mark.parametrize("pending", [1, 4, 256])
def test_the_order_and_the_error_are_those_of_trying_every_channel(
    owners: list[list[int]], pending: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnx_attnprune.recovery.greedy.PENDING", pending)
    rng = np.random.default_rng(4)
    consumers = [(covariance(len(o), rng), rng.standard_normal((len(o), 3)), np.array(o)) for o in owners]
    order, added = greedy([part_of(np.linalg.inv(s), w, o) for s, w, o in consumers], 5)
    expected, errors = by_the_book(consumers, 5)
    assert order.tolist() == expected
    np.testing.assert_allclose(np.cumsum(added), errors, rtol=1e-9)


def test_rounds_of_several_channels_lose_what_their_sets_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    sigma, w, owner = covariance(14, rng), rng.standard_normal((14, 2)), np.repeat(np.arange(7), 2)
    monkeypatch.setattr("onnx_attnprune.recovery.greedy.ROUNDS", 3)
    order, added = greedy([part_of(np.linalg.inv(sigma), w, owner)], 7)
    assert sorted(order.tolist()) == list(range(7))
    for gone in (3, 6, 7):  # three at once
        assert added[:gone].sum() == pytest.approx(loss(sigma, w, np.isin(owner, order[:gone])))


def test_a_channel_that_no_part_has_is_in_no_order() -> None:
    order, added = greedy([part_of(np.eye(2), np.ones((2, 1)), np.array([3, 1]))], 5)
    assert sorted(order.tolist()) == [1, 3]
    assert added == pytest.approx([1, 1])
    assert [len(found) for found in greedy([], 5)] == [0, 0]


# ---------------------------------------------------------------- on networks
def images(samples: int = 96) -> Calibration:
    x = np.random.default_rng(1).standard_normal((samples, 3, 12, 10)).astype(np.float32)
    return in_batches({"x": x}, 8, "noise")


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    model = cnn()
    twin = stored(model, "w1").copy()
    twin[11] = twin[4]
    put(model, "w1", twin)
    bias = stored(model, "b1").copy()
    bias[11] = bias[4]
    put(model, "b1", bias)
    return analyze(Graph(model), {"x": (8, 3, 12, 10)})


def test_a_channel_with_a_twin_goes_first_and_its_twin_does_not_follow(analysis: Analysis) -> None:
    errors = samples_of(analysis, Gathered(images())).judge("obs", {})[analysis.groups[0].id]
    order = np.argsort(errors).tolist()
    assert order[0] in (4, 11)
    assert errors[order[0]] < 0.5 * (errors[order[1]] - errors[order[0]])  # the pull to the diagonal costs it a little
    assert {4, 11} - {order[0]} != {order[1]}
    assert errors.max() == pytest.approx(1, rel=0.01)  # with nothing left all of the variance is lost


def test_the_errors_are_the_curve_of_their_order(analysis: Analysis) -> None:
    for group in analysis.groups:
        errors = samples_of(analysis, Gathered(images())).judge("obs", {})[group.id]
        readings = readings_of(analysis, [group], {})[group.id]
        moments = gather(analysis.graph.model, [r.views for r in readings], images())
        curve = curve_of(np.argsort(errors), readings, moments)
        np.testing.assert_allclose(np.sort(errors), curve[1:], rtol=0.02)


def test_what_is_gone_already_is_taken_as_refitted(analysis: Analysis) -> None:
    group = analysis.groups[0]
    judge = samples_of(analysis, Gathered(images())).judge
    whole = np.argsort(judge("obs", {})[group.id])
    rest = judge("obs", alive_of(analysis.groups, {group.id: whole[:7].tolist()}))[group.id]
    assert sorted(whole[7:], key=lambda k: rest[k]) == whole[7:].tolist()


def test_the_unpruned_network_is_judged_once(analysis: Analysis) -> None:
    samples = samples_of(analysis, Gathered(images()))
    assert samples.source == "96 samples of noise"
    assert samples.judge("obs", {}) is samples.judge("obs", {})


@pytest.mark.parametrize("why", ["width"])
def test_consumers_that_are_not_refitted_count_as_uncorrelated(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = parse(
        """g (float[N, 3, 6, 5] x) => (float[N, 2, 6, 5] y)
        <float[9, 3, 1, 1] w1, float[2, 9, 3, 3] w2>
        { a = Conv (x, w1)
          r = Relu (a)
          y = Conv <auto_pad = "SAME_UPPER"> (r, w2) }"""
    )
    if why == "width":
        del model.graph.node[-1].attribute[:]
        model.graph.node[-1].attribute.append(helper.make_attribute("pads", [1, 1, 1, 1]))
        monkeypatch.setattr(obs, "WIDEST", 80)
    analysis = analyze(Graph(model), {"x": (4, 3, 6, 5)})
    x = np.random.default_rng(1).standard_normal((16, 3, 6, 5)).astype(np.float32)
    judge = samples_of(analysis, Gathered(in_batches({"x": x}, 4, "noise"))).judge
    np.testing.assert_allclose(judge("obs", {})[0], judge("activation", {})[0], rtol=1e-9)


def test_a_grouped_convolution_has_a_part_for_each_of_its_groups() -> None:
    model = parse(
        """g (float[N, 3, 6, 5] x) => (float[N, 4, 4, 3] y)
        <float[10, 3, 1, 1] w1, float[4, 5, 3, 3] w2>
        { a = Conv (x, w1)
          r = Relu (a)
          y = Conv <group = 2> (r, w2) }"""
    )
    analysis = analyze(Graph(model), {"x": (4, 3, 6, 5)})
    x = np.random.default_rng(1).standard_normal((64, 3, 6, 5)).astype(np.float32)
    found = samples_of(analysis, Gathered(in_batches({"x": x}, 4, "noise"))).judge("obs", {})
    assert set(found) == {g.id for g in analysis.groups}
    for group in analysis.groups:
        assert found[group.id].max() == pytest.approx(1, rel=0.01)

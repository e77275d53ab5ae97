"""Budgets: the promise holds, bounds are kept, and no more goes than has to."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from onnx_attnprune import surgery
from onnx_attnprune.errors import PromiseError
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import Analysis, alive_of, analyze
from onnx_attnprune.planning import (
    Kept,
    Losses,
    Settings,
    Uniform,
    allocate,
    channel_terms,
    first_within,
    grown,
    mac_terms,
    removed_by,
)
from onnx_attnprune.planning.budget_shares import _hull, time_terms
from onnx_attnprune.scoring import score
from tests.golden import nets
from tests.networks import networks
from tests.oracle import default_shapes, parse
from tests.planning.test_candidates import attention
from tests.small import cnn


def budget(**given: object) -> Settings:
    return Settings(ratio=None, **{"target_macs": 0.5, **given})  # type: ignore[arg-type]  # checked by Settings


def left(analysis: Analysis, kept: Kept) -> float:
    alive = alive_of(analysis.groups, removed_by(analysis, kept, score(analysis, "l2").normalized))
    return analysis.macs(alive) / analysis.macs({})


def straight(analysis: Analysis) -> Losses:
    """Losses that rise evenly, by one in each group."""
    return Losses(score(analysis, "l2").normalized, {g.id: np.linspace(0, 1, g.size + 1) for g in analysis.groups})


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyze(Graph(cnn()), {"x": (1, 3, 12, 10)})


def test_uniform_takes_the_same_share_up_to_the_cap(analysis: Analysis) -> None:
    path = Uniform(analysis, budget())
    shares = [[1 - kept[g.id] / g.size for g in analysis.groups] for kept in (path[0], path[255], path[-1])]
    assert shares[0] == [0, 0]
    assert shares[1] == pytest.approx([0.45, 0.45], abs=0.05)
    assert shares[2] == pytest.approx([0.9, 0.9], abs=0.03)
    assert path[-1] == path[len(path) - 1]
    with pytest.raises(IndexError):
        path[len(path)]


def test_the_first_point_within_is_the_first(analysis: Analysis) -> None:
    path: list[Kept] = [{0: n} for n in range(20, 0, -1)]
    for target in (0.99, 0.55, 0.5, 0.05):
        at = first_within(path, lambda kept: kept[0] / 20, target, "--target")
        assert path[at][0] / 20 <= target < (path[at - 1][0] / 20 if at else 1)
    with pytest.raises(PromiseError, match=r"--target can't be kept: .* leaves 0\.050"):
        first_within(path, lambda kept: kept[0] / 20, 0.04, "--target")


def test_room_that_is_left_over_is_used() -> None:
    kept, before = {0: 4, 1: 8, 2: 4}, {0: 6, 1: 8, 2: 8}
    assert grown(kept, before, lambda k: sum(k.values()) / 22, 18 / 22) == {0: 6, 1: 8, 2: 4}
    assert grown(kept, before, lambda k: sum(k.values()) / 22, 20 / 22) == {0: 6, 1: 8, 2: 4}
    assert grown(kept, before, lambda k: sum(k.values()) / 22, 1.0) == before


def test_the_group_shrinks_that_loses_least_for_what_it_saves(analysis: Analysis) -> None:
    losses, terms = straight(analysis), mac_terms(analysis)
    dear, cheap = analysis.groups[0], analysis.groups[1]
    curves = {dear.id: losses.curves[dear.id] * 100, cheap.id: losses.curves[cheap.id]}
    path = allocate(analysis, budget(), Losses(losses.scores, curves), terms, 0.5)
    assert path[0] == {dear.id: 20, cheap.id: 36}
    last_whole = max(k for k, kept in enumerate(path) if kept[dear.id] == 20)
    assert path[last_whole][cheap.id] == 4  # all that the cap allows, before the dear one gives any
    assert path[-1] == {dear.id: 2, cheap.id: 4}


def test_savings_are_those_at_the_widths_of_the_others(analysis: Analysis) -> None:
    first, second = analysis.groups
    # Losses such that the first goes when its price is that of the whole model, and comes later once its consumer is
    # narrow and saves less.
    curves = {first.id: np.linspace(0, 1.5, 21), second.id: np.linspace(0, 1, 37)}
    path = allocate(analysis, budget(), Losses(straight(analysis).scores, curves), mac_terms(analysis), 0.5)
    macs = [left(analysis, kept) for kept in path]
    assert macs == sorted(macs, reverse=True)
    for one, two in itertools.pairwise(path):
        slopes = {}
        for g in (first, second):
            for other in path:
                if other[g.id] < one[g.id]:
                    saved = left(analysis, one) - left(analysis, {**one, g.id: other[g.id]})
                    lost = curves[g.id][g.size - other[g.id]] - curves[g.id][g.size - one[g.id]]
                    slopes[g.id] = lost / saved
                    break
        moved = next(g.id for g in (first, second) if one[g.id] != two[g.id])
        assert slopes[moved] == pytest.approx(min(slopes.values()))


def test_bounds_of_an_allocation(analysis: Analysis) -> None:
    asked = budget(round_to=8, min_channels=9, max_ratio=0.7, layer_ratios=(("w1", 0.25),))
    path = allocate(analysis, asked, straight(analysis), mac_terms(analysis), 0.5)
    own, free = analysis.groups
    assert {kept[own.id] for kept in path} == {16}
    assert [kept[free.id] for kept in path] == [36, 32, 24, 16]
    only = allocate(analysis, budget(exclude=("w1",)), straight(analysis), mac_terms(analysis), 0.5)
    assert all(own.id not in kept for kept in only)


@pytest.mark.parametrize("make", [nets.resnet, nets.mobilenet, nets.shufflenet, nets.densenet, nets.unet])
def test_an_allocation_reaches_every_target(make: object) -> None:
    model = make()  # type: ignore[operator]  # one of the functions above
    analysis = analyze(Graph(model), default_shapes(model))
    path = allocate(analysis, budget(), straight(analysis), mac_terms(analysis), 0.5)
    before = 1.0
    for target in (0.8, 0.5, 0.3):
        share = left(analysis, path[first_within(path, lambda kept: left(analysis, kept), target, "")])
        assert share <= target < before
        before = share


@settings(
    max_examples=25, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip  # settings
@given(model=networks(), target=st.floats(0.02, 0.98), multiple=st.integers(1, 4), uniform=st.booleans())
def test_the_promise_holds(model: ModelProto, target: float, multiple: int, uniform: bool) -> None:
    shapes = default_shapes(model)
    analysis = analyze(Graph(model), shapes)
    if not analysis.groups or not analysis.macs({}):
        return
    asked = budget(target_macs=target, round_to=multiple, min_channels=2)
    path = Uniform(analysis, asked) if uniform else allocate(
        analysis, asked, straight(analysis), mac_terms(analysis), target
    )  # fmt: skip  # one choice
    try:
        kept = path[first_within(path, lambda k: left(analysis, k), target, "")]
    except PromiseError:
        assert left(analysis, path[-1]) > target
        return
    for g in analysis.groups:
        assert kept.get(g.id, g.size) >= min(2, g.size)
    removed = removed_by(analysis, kept, score(analysis, "l2").normalized)
    pruned = surgery.prune(analysis, alive_of(analysis.groups, removed))
    # Counted by a fresh analysis of the result, not by masks.
    assert analyze(Graph(pruned), shapes).macs({}) <= target * analysis.macs({})


def test_losses_are_made_convex() -> None:
    """Points above the line between their neighbours are passed over, also several in a row."""
    assert _hull(np.array([0, 1, 2, 3, 4]), np.array([0.0, 5.0, 4.0, 3.0, 4.0])) == [0, 4]
    assert _hull(np.array([0, 1, 2, 3]), np.array([0.0, 1.0, 3.0, 6.0])) == [0, 1, 2, 3]


def test_the_time_of_a_body_is_that_of_its_nodes() -> None:
    """A Loop's own time holds that of its turns, which would count twice."""
    model = parse(
        """g (float[N,6,3] x) => (float[N,6,2] y) <float[3,4] w, float[4,4] v, float[4,2] u, int64 turns = {2}>
        { h = MatMul (x, w)
          l = Loop (turns, "", h) <body = b (int64 i, bool go, float[P,Q,R] s) => (bool on, float[P,Q,R] next)
              { m = MatMul (s, v) next = Tanh (m) on = Identity (go) }>
          y = MatMul (l, u) }"""
    )
    found = analyze(Graph(model))
    by_op = {node.outputs[0]: node.index for node, _ in found.effects}
    seconds = dict.fromkeys(by_op.values(), 1.0) | {by_op["l"]: 9.0, by_op["m"]: 4.0}
    told = {axes for _, axes in time_terms(found, seconds)}
    assert len(told) == 1
    assert next(iter(told))[-1] == next(e for n, e in found.effects if n.outputs[0] == "m").macs[0][-1]


def test_a_head_counts_by_its_width_and_only_what_can_lose_some_counts() -> None:
    heads, plain = attention(4, 15), analyze(Graph(cnn()), {"x": (1, 3, 12, 10)})

    def sizes(analysis: Analysis = plain, **given: object) -> list[int]:
        return sorted(math.prod(a.size for a in axes) for _, axes in channel_terms(analysis, budget(**given)))

    assert set(sizes(heads, attention="heads")) == set(sizes(heads, attention="head-dims")) == {60}

    assert sizes() == [20, 36]
    assert sizes(round_to=32) == [36]
    assert sizes(layer_ratios=(("w1", 0.5),)) == [36]
    assert sizes(exclude=("b2",)) == [20]

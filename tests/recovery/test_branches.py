"""Layers in the branch of an If that the samples take are refitted where they stand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_attnprune import surgery
from onnx_attnprune.graph import Graph, Taken, inlined, nested
from onnx_attnprune.grouping import alive_of, analyze
from onnx_attnprune.recovery import Calibration, Gathered, guarded, samples_of
from onnx_attnprune.recovery.branches import branches_of, straightened, taken_of
from onnx_attnprune.recovery.guard import divergence
from tests.oracle import parse
from tests.recovery.helpers import run, stored

# Both Ifs go by the rate.
BRANCHED = """g (float[N, 3] x, int64 rate) => (float[N, 4] y)
<float[3, 6] w1, float[6, 5] w2, float[5, 4] w4, float[6, 4] w5> {
    a = MatMul (x, w1)
    limit = Constant <value = int64 {10}> ()
    fast = Greater (rate, limit)
    y = If (fast) <
        then_branch = then () => (float[N, 4] yt) {
            b = MatMul (a, w2)
            c = If (fast) <
                then_branch = inner () => (float[N, 5] d) <float[5] e = {1, -1, 2, -2, 0.5}> {
                    d = Add (b, e)
                },
                else_branch = other () => (float[N, 5] f) {
                    f = Neg (b)
                }
            >
            yt = MatMul (c, w4)
        },
        else_branch = slow () => (float[N, 4] ye) {
            ye = MatMul (a, w5)
        }
    >
}"""
GONE = (1, 4)


def samples(count: int, rates: tuple[int, ...] = (16,), seed: int = 0) -> tuple[dict[str, np.ndarray], ...]:  # type: ignore[type-arg]  # of two types
    rng = np.random.default_rng(seed)
    return tuple(
        {"x": rng.standard_normal((16, 3)).astype(np.float32), "rate": np.array(rates[k % len(rates)])}
        for k in range(count)
    )


def calibration(rates: tuple[int, ...] = (16,)) -> Calibration:
    return Calibration(samples(16, rates), "normal numbers", False)


@pytest.mark.parametrize("rate", [16, 4])
def test_the_branch_that_is_taken_is_refitted_in_its_place(rate: int) -> None:
    model = parse(BRANCHED)
    analysis = analyze(Graph(model))
    group = next(g for g in analysis.groups if g.size == 6)
    alive = alive_of(analysis.groups, {group.id: GONE})
    plain = surgery.prune(analysis, alive)
    found = guarded("sequential", analysis, alive, surgery.prune(analysis, alive), calibration((rate,)))
    assert (found.consumers, found.compensated) == (2, 1)
    assert "in a branch that not all samples take" in found.notes[0]
    onnx.checker.check_model(found.model, full_check=True)
    assert [n.op_type for n in found.model.graph.node] == [n.op_type for n in plain.graph.node]
    feeds = dict(samples(1, (rate,), seed=9)[0])
    original = run(model, feeds)
    before, after = (divergence([original], [run(m, feeds)]) for m in (plain, found.model))
    assert before > 0.01
    assert after < 1e-5
    other = dict(samples(1, (20 - rate,), seed=9)[0])  # what no sample has seen is as the cut left it
    np.testing.assert_array_equal(run(plain, other)["y"], run(found.model, other)["y"])


def test_a_branch_that_changes_from_run_to_run_stays() -> None:
    model = Graph(parse(BRANCHED)).model
    assert branches_of(model, samples(4, (16, 4))) == {}
    assert branches_of(model, samples(4)) == {"y": True, "c": True}
    assert branches_of(model, samples(4, (4,))) == {"y": False}


def test_what_is_unfolded_folds_back() -> None:
    model = Graph(parse(BRANCHED)).model
    taken: Taken = {"y": True, "c": True}
    straight = inlined(model, taken)
    onnx.checker.check_model(straight, full_check=True)
    assert not [n for n in straight.graph.node if n.op_type == "If"]
    assert nested(model, straight, taken) == model
    feeds = dict(samples(1)[0])
    np.testing.assert_array_equal(run(model, feeds)["y"], run(straight, feeds)["y"])


def test_criteria_see_the_branch_that_is_taken() -> None:
    model = parse(BRANCHED)
    analysis = analyze(Graph(model))
    group = next(g for g in analysis.groups if g.size == 6)
    given = calibration()
    assert straightened(analysis, {}) is analysis
    assert taken_of(analysis, given) == {"y": True, "c": True}
    costs = samples_of(analysis, Gathered(given)).judge("activation", {})[group.id]
    x = np.concatenate([f["x"] for f in given.runs])
    variance = (x @ stored(model, "w1")).var(0)
    parts = [variance * (stored(model, name) ** 2).sum(1) for name in ("w2", "w5")]  # both branches read the group
    np.testing.assert_array_equal(np.argsort(costs), np.argsort(sum(p / p.sum() for p in parts)))
    inner = next(g for g in analysis.groups if g.size == 5)
    costs = samples_of(analysis, Gathered(given)).judge("activation", {})[inner.id]  # read by the branch alone
    part = (x @ stored(model, "w1") @ stored(model, "w2")).var(0) * (stored(model, "w4") ** 2).sum(1)
    np.testing.assert_array_equal(np.argsort(costs), np.argsort(part))

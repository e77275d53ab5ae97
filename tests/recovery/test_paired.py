"""Couples of layers: the channels that are left become better ones, where that is nearer to the unpruned network."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from onnx_attnprune import surgery
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery import Calibration, Limits, guarded, paired, recover
from onnx_attnprune.recovery.guard import divergence
from onnx_attnprune.recovery.producers import Couple
from tests.oracle import parse
from tests.recovery.helpers import put, run, stored, without

DENSE = """g (float[N, 6] x) => (float[N, 4] y)
<float[6, 16] w1, float[16] b1, float[16, 5] w2, float[5, 4] w3> {
    a = MatMul(x, w1)
    b = Add(a, b1)
    c = Relu(b)
    d = MatMul(c, w2)
    e = Relu(d)
    y = MatMul(e, w3)
}"""
BLOCK = """g (float[N, 4, 7, 6] x) => (float[N, 5, 7, 6] y)
<float[9, 4, 3, 3] w1, float[4, 9, 3, 3] w2, float[5, 4, 1, 1] w3,
 float[9] s, float[9] b, float[9] m, float[9] v> {
    a = Conv<pads = [1, 1, 1, 1]>(x, w1)
    n = BatchNormalization(a, s, b, m, v)
    c = Relu(n)
    d = Conv<pads = [1, 1, 1, 1]>(c, w2)
    e = Add(x, d)
    f = Relu(e)
    y = Conv(f, w3)
}"""

# Within the couple of w1 and w2 lies another one, of u1 and u2.
MOBILE = """g (float[N, 4, 7, 6] x) => (float[N, 5, 7, 6] y)
<float[12, 4, 1, 1] w1, float[12, 1, 3, 3] wd, float[8, 12, 1, 1] u1, float[12, 8, 1, 1] u2, float[4, 12, 1, 1] w2,
 float[5, 4, 1, 1] w3> {
    a = Conv(x, w1)
    b = Relu(a)
    c = Conv<group = 12, pads = [1, 1, 1, 1]>(b, wd)
    d = HardSwish(c)
    p = GlobalAveragePool(d)
    q = Conv(p, u1)
    r = Relu(q)
    s = Conv(r, u2)
    t = HardSigmoid(s)
    e = Mul(d, t)
    f = Conv(e, w2)
    g = Add(x, f)
    h = Relu(g)
    y = Conv(h, w3)
}"""
POOLED = """g (float[N, 3, 8, 8] x) => (float[N, 5, 3, 3] y)
<float[9, 3, 3, 3] w1, float[6, 9, 1, 1] w2, float[5, 6, 1, 1] w3> {
    a = Conv(x, w1)
    b = Relu(a)
    c = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(b)
    d = Conv(c, w2)
    e = Relu(d)
    y = Conv(e, w3)
}"""


def calibration(model: ModelProto, runs: int, each: int, seed: int = 0) -> Calibration:
    """Normal samples of the shape of the model's input."""
    rng = np.random.default_rng(seed)
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    fed = tuple({"x": rng.standard_normal((each, *dims)).astype(np.float32)} for _ in range(runs))
    return Calibration(fed, "normal numbers", False)


def errors(model: ModelProto, removed: dict[str, list[int]], runs: int = 8, each: int = 128) -> dict[str, float]:
    """The divergence of the outputs on samples that no repair has seen, by method."""
    analysis, alive = without(model, removed)
    feeds = dict(calibration(model, 1, each, seed=9).runs[0])
    given, reference = calibration(model, runs, each), [run(model, feeds)]
    repaired = {
        name: recover(name, analysis, alive, surgery.prune(analysis, alive), given).model
        for name in ("sequential", "paired")
    }
    return {name: divergence(reference, [run(one, feeds)]) for name, one in repaired.items()}


def test_what_the_second_layer_lacks_can_be_made_by_the_first() -> None:
    """Units that are never below zero: one of them can say what five outputs need of two; the other one, as it is,
    can't."""
    model = parse(DENSE)
    put(model, "b1", np.full(16, 60.0))
    w2 = stored(model, "w2").copy()
    w2[2:] = 0
    w2[1] = w2[0]
    put(model, "w2", w2)
    found = errors(model, {"w1": list(range(1, 16))})
    assert found["paired"] < 1e-3 * found["sequential"]


@pytest.mark.parametrize(
    ("text", "removed"),
    [
        (DENSE, {"w1": [0, 3, 5, 6, 9, 11, 14]}),
        (BLOCK, {"w1": [0, 2, 5, 7]}),
        (MOBILE, {"w1": [0, 2, 5, 7, 8], "u1": [1, 4]}),
        (POOLED, {"w1": [0, 2, 5, 7]}),
    ],
    ids=["dense", "block", "depthwise", "pooled"],
)
def test_couples_are_nearer_to_the_original_than_layer_after_layer(text: str, removed: dict[str, list[int]]) -> None:
    model = parse(text)
    for name in {"v", "s"} & {t.name for t in model.graph.initializer}:
        put(model, name, np.abs(stored(model, name)) + 0.5)
    found = errors(model, removed, each=256 if text == DENSE else 32)
    assert found["paired"] < 0.9 * found["sequential"]


def test_a_weight_that_is_turned_before_it_is_read_is_fitted_too() -> None:
    text = DENSE.replace("float[6, 16] w1", "float[16, 6] w1")
    text = text.replace("a = MatMul(x, w1)", "t = Transpose<perm = [1, 0]>(w1) a = MatMul(x, t)")
    found = errors(parse(text), {"w1": [0, 3, 5, 6, 9, 11, 14]}, each=256)
    assert found["paired"] < 0.9 * found["sequential"]


def test_too_few_runs_to_hold_some_back_leave_the_sequential_fit() -> None:
    model = parse(DENSE)
    found = errors(model, {"w1": [0, 3, 5]}, runs=3)
    assert found["paired"] == found["sequential"] > 0


def test_weights_of_half_precision_are_left_to_the_sequential_fit() -> None:
    model = parse(DENSE.replace("float[", "float16["))
    analysis, alive = without(model, {"w1": [0, 3, 5]})
    given = calibration(model, 4, 64)
    halves = tuple({"x": feeds["x"].astype(np.float16)} for feeds in given.runs)
    both = [
        recover(name, analysis, alive, surgery.prune(analysis, alive), Calibration(halves, "normal numbers", False))
        for name in ("sequential", "paired")
    ]
    assert both[0].model == both[1].model
    assert "couples" not in both[1].method


def test_a_product_without_a_bias_is_given_one_sum_and_no_more() -> None:
    model = parse(DENSE)
    analysis, alive = without(model, {"w1": [0, 3, 5, 6, 9, 11, 14]})
    found = recover("paired", analysis, alive, surgery.prune(analysis, alive), calibration(model, 8, 64)).model
    assert [n.op_type for n in found.graph.node] == ["MatMul", "Add", "Relu", "MatMul", "Add", "Relu", "MatMul", "Add"]
    assert {t.name for t in found.graph.initializer} == {name for n in found.graph.node for name in n.input[1:]}


def test_a_couple_within_another_one_is_fitted_too() -> None:
    model = parse(MOBILE)
    analysis, alive = without(model, {"w1": [0, 2, 5, 7, 8], "u1": [1, 4]})
    told: list[str] = []
    given = calibration(model, 8, 16)
    recover("paired", analysis, alive, surgery.prune(analysis, alive), given, Limits(tell=told.append))
    assert told[-2:] == ["repair: couple 1 of 2", "repair: couple 2 of 2"]


def outer() -> tuple[Analysis, Couple]:
    """The couple of w1 and w2, of which five of twelve channels go."""
    model = parse(MOBILE)
    analysis, alive = without(model, {"w1": [0, 2, 5, 7, 8]})
    sized = paired._sized(analysis, alive, surgery.prune(analysis, alive), calibration(model, 8, 1), 1 << 30)
    return analysis, next(couple for couple, _ in sized)


def test_the_way_back_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine taps of the depthwise layer go over all places, and the functions before and behind it once each."""
    analysis, couple = outer()
    macs = 7 * 6 * (4 * 12 + 7 * 4) + paired.WAY_MACS * 7 * 6 * 12 * (1 + 9 + 1)
    for count in (8, 40):
        monkeypatch.setattr(paired, "MOST_MACS", (count + 0.5) * paired.PASSES * paired.ROUNDS * macs)
        assert paired.runs_for(analysis, couple, calibration(parse(MOBILE), 64, 1), 1 << 30) == count


def test_what_lies_between_is_held_of_one_run_at_a_time() -> None:
    analysis, couple = outer()
    ends = 4 * 7 * 6 * (4 + 12 + 12 + 4)
    beside = 2 * 4 * (7 * 6 * (12 + 12) + 12)  # what the depthwise layer reads and makes, and the gate, twice each
    for room, count in ((20 * ends + beside, 20), (20 * ends + beside - 4, 19)):
        assert paired.runs_for(analysis, couple, calibration(parse(MOBILE), 64, 1), room) == count


def test_it_says_how_many_couples_came_nearer_and_how_far_it_is() -> None:
    model = parse(DENSE)
    analysis, alive = without(model, {"w1": [0, 3, 5]})
    told: list[str] = []
    found = guarded(
        "paired", analysis, alive, surgery.prune(analysis, alive), calibration(model, 8, 64), Limits(tell=told.append)
    )
    assert found.method.endswith(", then couples of layers (1)")
    assert told[-1] == "repair: couple 1 of 1"
    assert "fit couples" in dict(found.parts)


def test_couples_that_move_the_outputs_away_are_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model = parse(DENSE)
    damaged: list[str] = []

    def damage(_analysis: Analysis, _alive: object, pruned: ModelProto, *_: object) -> int:
        put(pruned, "w3", -stored(pruned, "w3"))
        damaged.append("w3")
        return 1

    monkeypatch.setattr(paired, "_fit_couples", damage)
    analysis, alive = without(model, {"w1": [0, 3, 5]})
    given = calibration(model, 8, 128)
    found = {n: recover(n, analysis, alive, surgery.prune(analysis, alive), given) for n in ("sequential", "paired")}
    assert damaged
    np.testing.assert_array_equal(stored(found["paired"].model, "w3"), stored(found["sequential"].model, "w3"))
    assert "couples" not in found["paired"].method

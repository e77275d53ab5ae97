"""Couples of layers: the second reads what the first one makes, with functions of single numbers between at most."""

from __future__ import annotations

import pytest

from onnx_attnprune.recovery.producers import couples_of
from onnx_attnprune.recovery.sequential import ordered
from onnx_attnprune.recovery.targets import Flow
from tests.oracle import parse
from tests.recovery.helpers import without

DENSE = """g (float[N, 6] x) => (float[N, 4] y{more})
<float[6, 8] w1, float[8] b1, float[8, 5] w2, float[5, 4] w3, float[8, 4] w4, float[6, 8] w5> {{
    a = MatMul(x, w1)
    {between}
    e = MatMul(d, w2)
    f = Relu(e)
    y = MatMul(f, w3)
}}"""
IMAGES = """g (float[N, 3, 8, 8] x) => (float[N, 4, M, K] y)
<float[9, 3, 3, 3] w1, float[9, 1, 3, 3] wd, float[7, 9, 3, 3] w2, float[4, 7, 1, 1] w3> {{
    a = Conv(x, w1)
    {between}
    e = Conv(d, w2)
    f = Relu(e)
    y = Conv(f, w3)
}}"""
GELU = (
    "p = Add(a, b1) h = Constant<value_float = 0.5>() q = Erf(p) o = Constant<value_float = 1.0>() r = Add(q, o) "
    "s = Mul(p, r) d = Mul(s, h)"
)


def couples(text: str, removed: dict[str, list[int]] | None = None) -> list[tuple[str, str]]:
    """The results of both layers of every couple, where both of the first layers lose channels."""
    analysis, alive = without(parse(text), removed or {"w1": [1], "w2": [0, 2]})
    jobs = ordered(analysis, alive)
    flow = Flow(analysis, jobs)
    targets = [flow.target(k, job) for k, job in enumerate(jobs)]
    return [(c.made, c.second.consumer.node.outputs[0]) for c in couples_of(analysis, alive, flow, jobs, targets)]


@pytest.mark.parametrize(
    "between", ["d = Relu(a)", "b = Add(a, b1) d = Relu(b)", "d = Identity(a)", GELU, "s = Sigmoid(a) d = Mul(a, s)"]
)
def test_functions_of_single_numbers_may_lie_between(between: str) -> None:
    assert couples(DENSE.format(between=between, more="")) == [("a", "e"), ("e", "y")]


@pytest.mark.parametrize(
    ("between", "more"),
    [
        ("d = Relu(a) z = MatMul(d, w4)", ", float[N, 4] z"),  # another layer reads it
        ("s = Relu(x) t = MatMul(s, w5) d = Add(a, t)", ""),  # two layers make it
    ],
)
def test_nothing_else_may(between: str, more: str) -> None:
    assert "e" not in [second for _, second in couples(DENSE.format(between=between, more=more))]


@pytest.mark.parametrize(
    "between",
    ["b = MaxPool<kernel_shape = [2, 2]>(a) d = Relu(b)", "b = Relu(a) d = Conv<group = 9>(b, wd)"],
    ids=["pooling", "depthwise"],
)
def test_neighbours_may_not_mix(between: str) -> None:
    assert couples(IMAGES.format(between=between)) == [("e", "y")]


def test_places_may_not_mix() -> None:
    text = DENSE.format(between="d = Softmax<axis = 1>(a)", more="").replace("[N, 6]", "[N, 7, 6]")
    assert couples(text.replace("[N, 4] y", "[N, 7, 4] y")) == [("e", "y")]


def test_the_second_layer_sums_over_what_the_first_one_makes() -> None:
    """Not so here: one makes places, the other sums over channels, which a third one has made."""
    text = """g (float[N, 8, 6] x) => (float[N, 4, 5] y)
<float[7, 8, 1] t, float[6, 5] w, float[4, 7, 1] u> {
    p = Conv(x, t)
    q = MatMul(p, w)
    r = Relu(q)
    y = Conv(r, u)
}"""
    assert couples(text, {"t": [2]}) == []


def test_a_layer_that_loses_nothing_is_no_second_one() -> None:
    assert couples(DENSE.format(between="d = Relu(a)", more=""), {"w1": [1]}) == [("a", "e")]


def test_a_weight_that_others_read_stays() -> None:
    text = DENSE.format(between="d = Relu(a)", more=", float[N, 8] z").replace(
        "y = MatMul(f, w3)", "y = MatMul(f, w3) u = Relu(x) z = MatMul(u, w1)"
    )
    assert couples(text) == [("e", "y")]

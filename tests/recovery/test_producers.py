"""Couples of layers: the second reads what the first one makes, with functions of single numbers between at most."""

from __future__ import annotations

import pytest

from onnx_attnprune.recovery.between import Average, Depthwise, Largest, Link, Singles
from onnx_attnprune.recovery.producers import Couple, couples_of
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
<float[9, 3, 3, 3] w1, float[9, 1, 3, 3] wd, float[9, 3, 1, 1] wg,
 float[18, 1, 1, 1] wm, float[7, 9, 3, 3] w2, float[4, 7, 1, 1] w3> {{
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
    return [(c.made, c.second.consumer.node.outputs[0]) for c in found(text, removed)]


def found(text: str, removed: dict[str, list[int]] | None = None) -> list[Couple]:
    """Every couple."""
    analysis, alive = without(parse(text), removed or {"w1": [1], "w2": [0, 2]})
    return list(couples_of(analysis, alive))


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
    ("between", "kinds"),
    [
        ("b = MaxPool<kernel_shape = [2, 2]>(a) d = Relu(b)", [Singles, Largest]),
        ("b = MaxPool<kernel_shape = [2, 2], ceil_mode = 1>(a) d = Relu(b)", [Singles, Largest]),
        ("b = Relu(a) d = AveragePool<kernel_shape = [2, 2]>(b)", [Average, Singles]),
        ("b = Relu(a) d = Conv<group = 9>(b, wd)", [Depthwise, Singles]),
        ("b = Conv<group = 9>(a, wd) d = MaxPool<kernel_shape = [2, 2]>(b)", [Largest, Depthwise]),
        ("b = Relu(a) m = GlobalAveragePool(b) g = Sigmoid(m) d = Mul(b, g)", [Singles]),
    ],
    ids=["largest", "rounded up", "average", "depthwise", "two", "gate"],
)
def test_windows_over_single_channels_may_lie_between(between: str, kinds: list[type[Link]]) -> None:
    both = found(IMAGES.format(between=between))
    assert [(c.made, c.second.consumer.node.outputs[0]) for c in both] == [("a", "e"), ("e", "y")]
    assert [type(link) for link in both[0].way] == kinds


@pytest.mark.parametrize(
    "between",
    [
        "b = Relu(a) d = Conv<group = 3>(b, wg)",  # channels are summed
        "b = Relu(a) d = AveragePool<kernel_shape = [2, 2], ceil_mode = 1>(b)",
        "b = Relu(a) d = LpPool<kernel_shape = [2, 2]>(b)",
    ],
    ids=["grouped", "rounded up", "another"],
)
def test_other_windows_may_not(between: str) -> None:
    assert couples(IMAGES.format(between=between)) == [("e", "y")]


def test_channels_that_are_made_two_of_each_are_not_those_of_the_first_layer() -> None:
    text = IMAGES.replace("float[7, 9, 3, 3] w2", "float[7, 18, 3, 3] w2")
    assert couples(text.format(between="b = Relu(a) d = Conv<group = 9>(b, wm)")) == [("e", "y")]


def test_a_gate_is_left_as_it_is() -> None:
    text = IMAGES.format(between="b = Relu(a) m = GlobalAveragePool(b) g = Sigmoid(m) d = Mul(b, g)")
    assert found(text)[0].way == (Singles("a", "d", ("g",)),)
    assert sorted(found(text)[0].names) == ["a", "d", "e", "g", "x"]


def test_what_is_made_goes_nowhere_but_into_the_second_layer() -> None:
    """Here its mean also goes around the second layer."""
    text = IMAGES.format(between="d = Relu(a)").replace(
        "y = Conv(f, w3)", "m = ReduceMean<keepdims = 0>(d) z = Mul(f, m) y = Conv(z, w3)"
    )
    assert ("a", "e") not in couples(text)


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

"""The largest value over channels lets them go where no value is below zero."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from onnx_attnprune.graph import Constant, Graph, Node
from onnx_attnprune.ops import signs
from tests.oracle import assert_exact, assert_kept, net

FREE, HELD = {"w0": 4, "w": 5}, {"w0": 4}
HEAD = "a = Relu (h) "
ABOVE = {
    "Relu": "c = Relu (h)",
    "through a gate": HEAD + "s = Sigmoid (h) c = Mul (a, s)",
    "square": "c = Mul (h, h)",
    "even power": "c = Pow (h, two)",
    "power of what is above": HEAD + "c = Pow (a, three)",
    "pooled": HEAD + "m = MaxPool <kernel_shape=[2,2]> (a) c = Tanh (m)",
    "laid out anew": HEAD + "c = Transpose <perm=[0,1,3,2]> (a)",
    "a sum": HEAD + "b2 = Abs (h) c = Add (a, b2)",
    "a chain of sums": HEAD + "d = Add (a, a) e = Add (d, a) f = Add (e, d) c = Add (f, e)",
    "scaled": HEAD + "c = Mul (a, half)",
    "clipped": "c = Clip (h, zero)",
    "padded with zeros": HEAD + "c = Pad (a, pads)",
    "resized": HEAD + "c = Resize <mode=\"linear\"> (a, , scales)",
    "a float16": HEAD + "d = Cast <to=10> (a) c = Cast <to=1> (d)",
}  # fmt: skip  # a table
NOT_ZERO = {  # for a removed channel, so that it may be the largest
    "Sigmoid": "c = Sigmoid (h)",
    "padded with a number": HEAD + "c = Pad (a, pads, half)",
    "chosen": HEAD + "g = Greater (h, half) c = Where (g, a, zero)",
}
BELOW = {
    "as it is": "c = Identity (h)",
    "Tanh": "c = Tanh (h)",
    "Neg": HEAD + "c = Neg (a)",
    "a difference": HEAD + "b2 = Sigmoid (h) c = Sub (a, b2)",
    "one summand": HEAD + "c = Add (a, h)",
    "odd power": "c = Pow (h, three)",
    "scaled by less than zero": HEAD + "c = Mul (a, less)",
    "clipped below zero": "c = Clip (h, less)",
    "clipped from above": "c = Clip (h, , half)",
    "padded with less": HEAD + "c = Pad (a, pads, less)",
    "resized by cubes": HEAD + "c = Resize <mode=\"cubic\"> (a, , scales)",
    "chosen from both": HEAD + "g = Greater (h, half) c = Where (g, a, h)",
    "an integer": HEAD + "d = Cast <to=3> (a) c = Cast <to=1> (d)",
}  # fmt: skip  # a table
NUMBERS = """float two = {2}, float three = {3}, float half = {0.5}, float zero = {0}, float less = {-0.5},
int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}, float[4] scales = {1, 1, 2, 2}, int64[1] one = {1}, int64[2] space = {2, 3}"""


def with_largest(made: str) -> str:
    """The mean over space of `c`, and its largest value over channels."""
    return f"{made} k = ReduceMax <keepdims=1> (c, one) t = ReduceMean <keepdims=1> (c, space) q = Mul (t, k)"


@pytest.mark.parametrize("case", ABOVE)
def test_channels_go(case: str) -> None:
    assert_exact(net(with_largest(ABOVE[case]), NUMBERS, tail="y = Conv (q, v)"), FREE)


@pytest.mark.parametrize("case", BELOW | NOT_ZERO)
def test_channels_stay(case: str) -> None:
    model = net(with_largest((BELOW | NOT_ZERO)[case]), NUMBERS, tail="y = Conv (q, v)")
    assert_kept(assert_exact(model, HELD), "w", 0, "ReduceMax", "over channels")
    graph = Graph(model)
    assert signs.is_nonnegative("c", graph.makers.get, graph.constants.get) is (case in NOT_ZERO)


@pytest.mark.parametrize("op", sorted(signs.ALWAYS | signs.AS_FIRST | signs.AS_ALL))
def test_every_operator_is_in_one_list(op: str) -> None:
    assert [op in names for names in (signs.ALWAYS, signs.AS_FIRST, signs.AS_ALL)].count(True) == 1


def test_an_operator_of_another_domain_tells_nothing() -> None:
    proto = helper.make_node("Relu", ["x"], ["y"], domain="com.microsoft")
    assert not signs.is_nonnegative("y", {"y": Node(proto, 0)}.get, {}.get)
    assert signs.is_nonnegative("y", {"y": Node(helper.make_node("Relu", ["x"], ["y"]), 0)}.get, {}.get)


@pytest.mark.parametrize(("number", "above"), [(0.0, True), (-1.0, False)])
def test_a_constant_tells_by_its_numbers(number: float, above: bool) -> None:
    proto = helper.make_tensor("c", TensorProto.FLOAT, [2], [3.0, number])
    constant = Constant("c", (2,), TensorProto.FLOAT, proto, True)
    assert signs.is_nonnegative("c", {}.get, {"c": constant}.get) is above

"""Arithmetic on sizes: every operator that is followed element by element gives what onnx's own evaluator gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_attnprune.axes import Space
from onnx_attnprune.graph import Node
from onnx_attnprune.ops import FLOATS, FOLDS
from onnx_attnprune.ops.values import (
    Values,
    after,
    as_values,
    is_close_to_integer,
    now,
    numbers,
    size_of,
    terms,
    truncated_quotient,
)

INTS, MORE, ROOM = [7, -3, 12, 5], [2, 2, -5, 3], [[1, 2, 3], [4, 5, 6]]
FLOAT, INT, TRUTH = np.float32, np.int64, np.bool_

FOUR = helper.make_tensor("", TensorProto.INT64, [1], [4])

CASES: dict[str, tuple[str, list[tuple[Any, Any]], dict[str, Any]]] = {
    **{op: (op, [(INTS, INT), (MORE, INT)], {}) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min")},
    **{op: (op, [(INTS, INT), (MORE, INT)], {}) for op in ("Equal", "Greater", "Less")},
    **{op: (op, [(INTS, INT), (MORE, INT)], {}) for op in ("GreaterOrEqual", "LessOrEqual")},
    **{op: (op, [(INTS, INT)], {}) for op in ("Identity", "Neg", "Abs")},
    **{op: (op, [([2.4, -2.6, 5.0], FLOAT)], {}) for op in ("Floor", "Ceil", "Round")},
    "Sqrt": ("Sqrt", [([4.0, 9.0], FLOAT)], {}),
    "Reciprocal": ("Reciprocal", [([4.0, 0.5], FLOAT)], {}),
    "Pow": ("Pow", [(INTS, INT), ([2], INT)], {}),
    "Div of floats": ("Div", [([7.0, 3.0], FLOAT), ([2.0, 4.0], FLOAT)], {}),
    "Mod": ("Mod", [(INTS, INT), (MORE, INT)], {}),
    "Not": ("Not", [([True, False], TRUTH)], {}),
    "And": ("And", [([True, False, True], TRUTH), ([True, True, False], TRUTH)], {}),
    "Or": ("Or", [([True, False, False], TRUTH), ([True, True, False], TRUTH)], {}),
    "Where": ("Where", [([True, False, True, False], TRUTH), (INTS, INT), (MORE, INT)], {}),
    "Cast to float": ("Cast", [(INTS, INT)], {"to": 1}),
    "Cast to integer": ("Cast", [([2.7, -2.7], FLOAT)], {"to": 7}),
    "Cast to truth": ("Cast", [([2, 0], INT)], {"to": 9}),
    "Concat": ("Concat", [(INTS, INT), (MORE, INT)], {"axis": 0}),
    "Concat, second axis": ("Concat", [(ROOM, INT), (ROOM, INT)], {"axis": -1}),
    "Gather": ("Gather", [(INTS, INT), ([3, -4, 1], INT)], {}),
    "Gather one": ("Gather", [(INTS, INT), (2, INT)], {"axis": 0}),
    "Gather columns": ("Gather", [(ROOM, INT), ([2, 0], INT)], {"axis": 1}),
    "Slice": ("Slice", [(INTS, INT), ([1], INT), ([3], INT)], {}),
    "Slice from behind": ("Slice", [(INTS, INT), ([-2], INT), ([2**63 - 1], INT), ([0], INT)], {}),
    "Slice backwards": ("Slice", [(INTS, INT), ([-1], INT), ([-100], INT), ([0], INT), ([-1], INT)], {}),
    "Slice by steps": ("Slice", [(ROOM, INT), ([0], INT), ([3], INT), ([-1], INT), ([2], INT)], {}),
    "Squeeze": ("Squeeze", [([[3], [4]], INT), ([1], INT)], {}),
    "Squeeze all": ("Squeeze", [([[3]], INT)], {}),
    "Unsqueeze": ("Unsqueeze", [(5, INT), ([0], INT)], {}),
    "Unsqueeze in between": ("Unsqueeze", [(ROOM, INT), ([1, -1], INT)], {}),
    "Reshape": ("Reshape", [(ROOM, INT), ([0, -1], INT)], {}),
    "Reshape to one": ("Reshape", [(ROOM, INT), ([-1], INT)], {}),
    "Transpose": ("Transpose", [(ROOM, INT)], {}),
    "Transpose by order": ("Transpose", [([ROOM], INT)], {"perm": [1, 0, 2]}),
    "ConstantOfShape": ("ConstantOfShape", [([3], INT)], {"value": FOUR}),
    "Expand": ("Expand", [([5], INT), ([3], INT)], {}),
    "Range": ("Range", [(2, INT), (11, INT), (3, INT)], {}),
    "ReduceProd": ("ReduceProd", [(INTS, INT)], {"keepdims": 1}),
    "ReduceProd, plain": ("ReduceProd", [(INTS, INT)], {"keepdims": 0}),
    "ReduceSum": ("ReduceSum", [(INTS, INT)], {}),
    "ReduceMax": ("ReduceMax", [(INTS, INT)], {}),
    "ReduceMin": ("ReduceMin", [(INTS, INT)], {"keepdims": 0}),
}  # fmt: skip  # a table


def fold(op: str, operands: Sequence[Values], dtype: int = TensorProto.INT64, **attributes: Any) -> Values | None:
    """What a fold that has one result gives."""
    node = helper.make_node(op, ["a", "b", "c", "d", "e"][: len(operands)], ["y"], **attributes)
    found = FOLDS[op](Node(node, 0), operands, dtype)
    assert not isinstance(found, tuple)
    return found


@pytest.mark.parametrize("case", CASES)
def test_values(case: str) -> None:
    op, operands, attributes = CASES[case]
    arrays = [np.asarray(a, dtype=d) for a, d in operands]
    node = helper.make_node(op, [f"x{k}" for k in range(len(arrays))], ["y"], **attributes)
    dtype = helper.np_dtype_to_tensor_dtype(arrays[0].dtype)
    found = fold(op, [as_values(a) for a in arrays], dtype, **attributes)
    inputs = [
        helper.make_tensor_value_info(f"x{k}", helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for k, a in enumerate(arrays)
    ]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", TensorProto.INT64, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (want,) = ReferenceEvaluator(model).run(None, {f"x{k}": a for k, a in enumerate(arrays)})
    assert found is not None
    np.testing.assert_allclose(numbers(found).astype(float), np.asarray(want, float), rtol=1e-6)
    assert found.shape == np.shape(want)


def test_every_fold_is_tried() -> None:
    assert {op for op, _, _ in CASES.values()} | {"Flatten", "Split"} == set(FOLDS)


def test_split() -> None:
    """Into parts of given sizes, and into equal ones of which the last may be smaller."""
    for operands, attributes, want in (
        ([INTS, [1, 3]], {}, [[7], [-3, 12, 5]]),
        ([INTS], {"split": [3, 1]}, [[7, -3, 12], [5]]),
        ([[1, 2, 3]], {"num_outputs": 2}, [[1, 2], [3]]),
    ):
        node = Node(helper.make_node("Split", ["a", "b"][: len(operands)], ["y", "z"], axis=0, **attributes), 0)
        found = FOLDS["Split"](node, [as_values(o) for o in operands], TensorProto.INT64)
        assert isinstance(found, tuple)
        assert [part.tolist() for part in found] == want


def test_what_is_not_followed() -> None:
    """Folds of shapes that are sizes themselves, and of floats, give nothing: the rule has to say."""
    space = Space()
    late = as_values(np.array([size_of(space, space.var(5)), 2], object))
    for op, operands in (
        ("Gather", [as_values([1, 2]), late]),
        ("Slice", [as_values([1, 2]), late, late]),
        ("Reshape", [as_values([1, 2]), late]),
        ("ConstantOfShape", [late]),
        ("Expand", [as_values([1]), late]),
        ("Range", [late[:1].reshape(()), as_values(9), as_values(1)]),
        ("Flatten", [as_values([1, 2])]),
        ("ReduceSum", [as_values([[1, 2]])]),
    ):
        assert fold(op, operands) is None, op
    fill = numpy_helper.from_array(np.zeros(1, np.float32))
    assert fold("ConstantOfShape", [as_values([3])], value=fill) is None
    assert fold("ConstantOfShape", [as_values([3])]) is None


def test_terms_before_and_after_a_cut() -> None:
    """Half the channels, plus one: 4 of 6 channels, then 3 of 4."""
    space = Space()
    channels, batch = space.var(6), space.var(2, dynamic=True)
    half = fold("Div", [as_values(size_of(space, channels)), as_values(2)])
    assert half is not None
    plus = fold("Add", [half, as_values(1)])
    assert plus is not None
    (term,) = terms(plus)
    alive = {channels.id: np.array([1, 1, 0, 0, 1, 1], bool)}
    assert (now(term), after(term, space, alive), term.dynamic) == (4, 3, False)
    assert list(term.axes()) == [channels]
    late = fold("Add", [half, as_values(size_of(space, batch))])
    assert late is not None
    assert terms(late)[0].dynamic
    assert set(terms(late)[0].axes()) == {channels, batch}


@pytest.mark.parametrize(("a", "b", "quotient"), [(7, 2, 3), (-7, 2, -3), (7, -2, -3), (-7, -2, 3), (6, 3, 2)])
def test_integer_division_goes_towards_zero(a: int, b: int, quotient: int) -> None:
    assert truncated_quotient(a, b) == quotient


def test_floats_that_stand_for_integers() -> None:
    assert is_close_to_integer(3.0000001)
    assert not is_close_to_integer(3.01)
    assert not is_close_to_integer(float("inf"))
    assert {1, 10, 11, 16} == FLOATS

"""Differences between outputs: worked examples, and properties."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnx_attnprune.evaluate.equivalence import TOLERANCE, Difference, compare, within

Array = np.ndarray[Any, Any]


def difference(a: Any, b: Any) -> Difference:
    (one,) = compare(["y"], {"y": np.asarray(a)}, {"y": np.asarray(b)})
    return one


def f32(*values: Any) -> Array:
    return np.array(values, dtype=np.float32)


def test_by_hand() -> None:
    one = difference(f32(3, -4, 0), f32(3, -3, 0))
    assert (one.output, one.dtype, one.top1_agreement) == ("y", "float32", None)
    assert one.max_abs == 1
    assert one.max_rel == 0.25
    assert one.cosine == pytest.approx(21 / (5 * math.sqrt(18)))
    assert one.sqnr_db == pytest.approx(10 * math.log10(25))


def test_equal_is_no_difference() -> None:
    assert difference(f32(1, 2), f32(1, 2)) == Difference("y", "float32", 0, 0, pytest.approx(1), math.inf, None)
    assert difference(f32(0, 0), f32(0, 0)) == Difference("y", "float32", 0, 0, 1, math.inf, None)
    assert difference(np.zeros((0, 4)), np.zeros((0, 4))).max_rel == 0


def test_zero_on_one_side() -> None:
    lost = difference(f32(0, 2), f32(0, 0))
    assert (lost.max_rel, lost.cosine, lost.sqnr_db) == (1, 0, 0)
    new = difference(f32(0, 0), f32(0, 1))
    assert (new.max_abs, new.max_rel, new.cosine, new.sqnr_db) == (1, math.inf, 0, -math.inf)


def test_top1_agreement_of_scores() -> None:
    a = f32([0, 1, 0], [5, 4, 0], [0, 0, 2], [1, 0, 0])
    b = f32([0, 1, 0], [4, 5, 0], [0, 0, 9], [1, 0, 0])
    assert difference(a, b).top1_agreement == 0.75
    assert difference(a[:, :1], b[:, :1]).top1_agreement is None
    assert difference(a[None], b[None]).top1_agreement is None
    assert difference(a.astype(int), b.astype(int)).top1_agreement is None


@pytest.mark.parametrize(
    "got",
    [
        None,
        f32(1, 2, 3),
        f32(1, 2).reshape(2, 1),
        np.array([1.0, 2.0]),
        f32(1, np.nan),
        f32(1, np.inf),
    ],
)
def test_what_can_not_be_compared_is_infinitely_far(got: Array | None) -> None:
    reference = f32(1, 2)
    (one,) = compare(["y"], {"y": reference}, {} if got is None else {"y": got})
    assert one == Difference("y", "float32", math.inf, math.inf, 0.0, -math.inf, None)
    assert not within([one], 1e9)


def test_non_finite_values_of_both_do_not_count() -> None:
    a = f32(np.nan, np.inf, -np.inf, 4)
    one = difference(a, f32(np.nan, np.inf, -np.inf, 3))
    assert (one.max_abs, one.max_rel) == (1, 0.25)
    assert math.isinf(difference(a, f32(np.nan, -np.inf, np.inf, 4)).max_rel)
    assert math.isinf(difference(a, f32(np.nan, np.nan, -np.inf, 4)).max_rel)
    assert math.isinf(difference(a, f32(0, np.inf, -np.inf, 4)).max_rel)


def test_integers_and_booleans_by_share() -> None:
    one = difference(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 9]))
    assert (one.dtype, one.max_abs, one.max_rel) == ("int64", 5, 0.25)
    flags = difference(np.array([True, False]), np.array([True, True]))
    assert (flags.dtype, flags.max_abs, flags.max_rel) == ("bool", 1, 0.5)
    unsigned = difference(np.array([0], np.uint8), np.array([255], np.uint8))
    assert (unsigned.max_abs, unsigned.max_rel) == (255, 1)
    words = difference(np.array(["a", "b"], object), np.array(["a", "c"], object))
    assert words.max_rel == 0.5


def test_large_values_do_not_overflow() -> None:
    one = difference(np.array([1e300, -1e300]), np.array([1e300, -1e299]))
    assert one.max_rel == pytest.approx(0.9)
    assert math.isfinite(one.sqnr_db)
    assert math.isinf(difference(np.array([1.7e308]), np.array([-1.7e308])).max_rel)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_tolerances(dtype: Any) -> None:
    """One roundoff is inside, the size of a mistake is outside."""
    reference = np.array([1, 0.5, 0.25], dtype)
    limit = TOLERANCE[np.dtype(dtype).name]
    near = reference.copy()
    near[0] = np.nextafter(near[0], near.dtype.type(2))
    assert within([difference(reference, near)])
    far = (reference.astype(np.float64) * (1 + 2 * limit)).astype(dtype)
    assert not within([difference(reference, far)])
    assert within([difference(reference, far)], tolerance=3 * limit)
    assert not within([difference(reference, near)], tolerance=0)


def test_within_takes_the_worst() -> None:
    good, bad = difference(f32(1), f32(1)), difference(f32(1), f32(2))
    assert within([])
    assert within([good, good])
    assert not within([good, bad])


def test_integers_may_tip_over_here_and_there() -> None:
    many = np.zeros(1000, np.int64)
    few = many.copy()
    few[:10] = 1
    assert within([difference(many, few)], tolerance=1e-9)
    few[10] = 1
    assert not within([difference(many, few)], tolerance=1.0)


FLOATS = st.floats(-1e3, 1e3, width=32)


GROWN = st.sampled_from([4.0, 1024.0])  # exact, of subnormal numbers too


@given(pair=hnp.arrays(np.float32, (2, 3, 4), elements=FLOATS), factor=GROWN)
@settings(deadline=None)
def test_properties(pair: Array, factor: float) -> None:
    a, b = pair
    one, mirrored, scaled = difference(a, b), difference(b, a), difference(a * factor, b * factor)
    assert one.max_abs == float(np.abs(a.astype(float) - b.astype(float)).max())
    assert mirrored.max_abs == one.max_abs
    assert mirrored.cosine == pytest.approx(one.cosine)
    assert -1 <= one.cosine <= 1
    assert (one.max_abs == 0) == (one.sqnr_db == math.inf)
    assert one.top1_agreement == mirrored.top1_agreement
    assert scaled.max_rel == one.max_rel

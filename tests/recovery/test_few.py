"""The least-squares problem held as rows, against the same one held as moments."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_attnprune.recovery.few import MOST, Heap, rows_held
from onnx_attnprune.recovery.lacking import Lacking
from onnx_attnprune.recovery.solving import Posed, best, shrinkage, solve

ROWS, COLUMNS, OUTPUTS = 40, 23, 5


def both(rows: int = ROWS, seed: int = 0) -> tuple[Posed, Posed]:
    """One problem as moments and as rows, which come in two parts and about another mean than zero."""
    rng = np.random.default_rng(seed)
    drawn = (rng.standard_normal((rows, COLUMNS + OUTPUTS)) + np.arange(COLUMNS + OUTPUTS)).astype(np.float32)
    drawn[:, COLUMNS:] += drawn[:, :OUTPUTS] * 2
    moments, heap = Lacking(COLUMNS, OUTPUTS), Heap(COLUMNS + OUTPUTS)
    for part in (drawn[:11], drawn[11:]):
        moments.add(part)
        heap.add(part)
    return moments.problem(COLUMNS), heap.problem(COLUMNS)


@pytest.mark.parametrize("rows", [7, ROWS])
def test_rows_and_moments_pose_the_same_problem(rows: int) -> None:
    one, other = both(rows)
    assert other.rows == one.rows == rows
    assert other.trace == pytest.approx(one.trace, rel=1e-4)
    assert other.squares == pytest.approx(one.squares, rel=1e-4)
    assert shrinkage(other) == pytest.approx(shrinkage(one), rel=1e-3)
    np.testing.assert_allclose(other.mean, one.mean, rtol=1e-4)
    np.testing.assert_allclose(other.lack, one.lack, rtol=1e-4)
    np.testing.assert_allclose(solve(other, 0.1), solve(one, 0.1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("centred", [True, False])
def test_the_best_answer_is_the_same(centred: bool) -> None:
    (one, other), (seen, unseen) = both(), both(30, seed=1)
    first, second = best(one, seen, 1e-3, centred), best(other, unseen, 1e-3, centred)
    np.testing.assert_allclose(second.change, first.change, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(second.shift, first.shift, rtol=1e-3, atol=1e-3)
    assert (second.error, second.before) == pytest.approx((first.error, first.before), rel=1e-3)


def test_no_rows_are_a_problem_without_rows() -> None:
    assert Heap(COLUMNS + OUTPUTS).problem(COLUMNS).rows == 0


def test_rows_are_held_where_they_are_fewer_than_columns_or_moments_are_too_large() -> None:
    assert rows_held(rows=96, columns=25088, width=29184, groups=1, room=10**9) == 96
    assert rows_held(rows=1000, columns=100, width=150, groups=1, room=10**9) is None
    assert rows_held(rows=10**5, columns=9216, width=9999, groups=1, room=10**9) == MOST
    held = rows_held(rows=10**5, columns=9216, width=9999, groups=1, room=10**8)
    assert held is not None
    assert 0 < 4 * held * 9999 <= 10**8


def test_rows_of_two_problems_make_one() -> None:
    (one, other), (first, second) = both(), both(30, seed=1)
    whole, held = one.pooled(first), other.pooled(second)
    assert whole.rows == held.rows == ROWS + 30
    np.testing.assert_allclose(solve(held, 0.1), solve(whole, 0.1), rtol=1e-3, atol=1e-4)

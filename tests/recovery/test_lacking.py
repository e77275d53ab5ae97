"""The sums that a least-squares problem is gathered as."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_attnprune.recovery.lacking import Lacking, square_sum

COLUMNS, OUTPUTS = 4, 3


def test_the_problem_is_that_of_all_rows() -> None:
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((COLUMNS + OUTPUTS, COLUMNS + OUTPUTS))
    parts = [(rng.standard_normal((n, len(mixed))) @ mixed + 5 * n**0.1).astype(np.float32) for n in (30, 5000)]
    gathered = Lacking(COLUMNS, OUTPUTS)
    for part in parts:
        gathered.add(part)
    found, rows = gathered.problem(COLUMNS), np.concatenate(parts).astype(np.float64)
    covariance, mean = np.cov(rows.T, bias=True), rows.mean(0)
    assert found.rows == 5030
    np.testing.assert_allclose(found.mean, mean[:COLUMNS], rtol=1e-5)
    np.testing.assert_allclose(found.lack, mean[COLUMNS:], rtol=1e-5)
    np.testing.assert_allclose(found.covariance, covariance[:COLUMNS, :COLUMNS], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.cross, covariance[:COLUMNS, COLUMNS:], rtol=1e-3, atol=1e-3)
    assert found.spread == pytest.approx(np.trace(covariance[COLUMNS:, COLUMNS:]), rel=1e-4)


def test_no_rows_are_a_problem_without_rows() -> None:
    found = Lacking(COLUMNS, OUTPUTS).problem(COLUMNS)
    assert (found.rows, found.spread) == (0, 0.0)
    assert not found.mean.any()
    assert not found.covariance.any()


def test_squares_are_summed_over_rows_in_double_precision() -> None:
    rows = np.full((1 << 12, 3), 3000.1, np.float32)
    assert square_sum(rows) == pytest.approx((rows.astype(np.float64) ** 2).sum(), rel=1e-7)


def test_rows_that_come_one_by_one_are_the_same_problem() -> None:
    rows = np.random.default_rng(0).standard_normal((30, COLUMNS + OUTPUTS)).astype(np.float32) + 1
    at_once, one_by_one = Lacking(COLUMNS, OUTPUTS), Lacking(COLUMNS, OUTPUTS)
    at_once.add(rows)
    for row in rows:
        one_by_one.add(row[None])
    one, other = at_once.problem(COLUMNS), one_by_one.problem(COLUMNS)
    np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(one.cross, other.cross, rtol=1e-5, atol=1e-5)
    assert one.spread == pytest.approx(other.spread, rel=1e-5)

"""Systems of covariances are solved and inverted as NumPy does any, also where rounding has left one indefinite."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_attnprune.recovery.factored import BLOCK, inverted, solved
from onnx_attnprune.recovery.forms import Array


def covariance(columns: int, seed: int = 0) -> Array:
    rows = np.random.default_rng(seed).standard_normal((2 * columns, columns)) + np.arange(columns)
    return np.asarray(rows.T @ rows / len(rows))


@pytest.mark.parametrize("columns", [1, 7, BLOCK, BLOCK + 1, 2 * BLOCK + 9])
def test_it_is_the_solution(columns: int) -> None:
    system, wanted = covariance(columns), np.random.default_rng(1).standard_normal((columns, 5))
    found = solved(system, wanted)
    np.testing.assert_allclose(system @ found, wanted, rtol=1e-6, atol=1e-6)
    assert found.shape == wanted.shape


def test_what_is_given_stays_as_it_is() -> None:
    system, wanted = covariance(6), np.ones((6, 2))
    solved(system, wanted)
    np.testing.assert_array_equal(system, covariance(6))
    np.testing.assert_array_equal(wanted, 1)


def test_a_system_with_a_negative_direction_is_solved_too() -> None:
    system = covariance(6)
    system[2, 2] = -1.0
    wanted = np.random.default_rng(1).standard_normal((6, 3))
    np.testing.assert_allclose(solved(system, wanted), np.linalg.solve(system, wanted), rtol=1e-9)


def test_one_without_an_inverse_is_refused() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        solved(np.zeros((3, 3)), np.ones((3, 1)))
    with pytest.raises(np.linalg.LinAlgError):
        inverted(np.zeros((3, 3)))


@pytest.mark.parametrize("columns", [1, 7, BLOCK, BLOCK + 1, 2 * BLOCK + 9])
def test_it_is_the_inverse(columns: int) -> None:
    system = covariance(columns) + np.eye(columns)
    found = inverted(system)
    np.testing.assert_allclose(found @ system, np.eye(columns), atol=1e-6)
    np.testing.assert_array_equal(system, covariance(columns) + np.eye(columns))

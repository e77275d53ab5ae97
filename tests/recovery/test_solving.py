"""The least-squares problem of one group, on problems whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_attnprune.recovery.lacking import Lacking
from onnx_attnprune.recovery.rows import Array, Gathering
from onnx_attnprune.recovery.solving import ENOUGH, Problem, best, lost, settle, shrinkage, solve

COLUMNS, OUTPUTS = 6, 3


def drawn(rows: int, seed: int) -> tuple[Array, Array]:
    """Rows X about a mean of their own, and weights D."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, COLUMNS)) + np.arange(COLUMNS), rng.standard_normal((COLUMNS, OUTPUTS))


def problem_of(x: Array, t: Array) -> Problem:
    """The problem of rows X that lack T."""
    gathering = Lacking(COLUMNS, OUTPUTS)
    gathering.add(np.concatenate([x, t], axis=1).astype(np.float32))
    return gathering.problem(COLUMNS)


def exact(rows: int = 500, seed: int = 0) -> tuple[Problem, Array]:
    """A problem that a change and a shift of 2 solve without rest, and that change."""
    x, change = drawn(rows, seed)
    return problem_of(x, x @ change + 2.0), change


def test_what_can_be_found_is_found() -> None:
    problem, change = exact()
    answer = best(problem, None, 1e-9, centred=True)
    np.testing.assert_allclose(answer.change, change, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(answer.shift, 2.0, rtol=1e-2)
    assert answer.error < 1e-3 * answer.before


def test_the_error_is_the_mean_square() -> None:
    x, change = drawn(400, 1)
    lack = x @ change + np.random.default_rng(2).standard_normal((400, OUTPUTS))
    shift = np.arange(OUTPUTS) / 2
    error = problem_of(x, lack).error(change / 3, shift)
    assert error == pytest.approx(((x @ change / 3 + shift - lack) ** 2).sum(1).mean(), rel=1e-3)


def test_without_a_bias_the_fit_is_about_zero() -> None:
    x, change = drawn(400, 1)
    answer = best(problem_of(x, x @ change), None, 1e-9, centred=False)
    np.testing.assert_allclose(answer.change, change, rtol=1e-3, atol=1e-3)
    assert not answer.shift.any()


def test_what_is_lost_is_told_by_the_columns_that_stay() -> None:
    """A column that is the sum of two others is stood in for by both."""
    x, weight = drawn(500, 3)
    x[:, 5] = x[:, 0] + x[:, 1]
    gathering = Gathering(COLUMNS)
    gathering.add(x.astype(np.float32))
    kept = np.arange(COLUMNS) < 5
    answer = best(lost(gathering.moments(), kept, weight), None, 1e-9, centred=True)
    expected = np.zeros((5, OUTPUTS))
    expected[:2] = weight[5]
    np.testing.assert_allclose(answer.change, expected, atol=1e-3)


def test_the_judgement_is_of_unseen_rows() -> None:
    seen, change = exact()
    other, _ = exact(seed=9)  # of another law, which the change does not fit
    answer = settle(seen, other, change, centred=True)
    assert settle(seen, None, change, centred=True).error < 1e-2
    assert answer.error == pytest.approx(other.error(change, answer.shift))
    assert answer.error > 1.0
    np.testing.assert_allclose(answer.shift, seen.lack - seen.mean @ change)


def test_the_ridge_that_does_best_on_unseen_rows_is_taken() -> None:
    """Of a lack that is noise but for a trace, the larger ridge finds less, and errs less on other rows."""
    rng = np.random.default_rng(5)
    x, _ = drawn(60, 5)
    seen = problem_of(x, rng.standard_normal((60, OUTPUTS)))
    y, _ = drawn(4000, 6)
    unseen = problem_of(y, np.random.default_rng(7).standard_normal((4000, OUTPUTS)))
    alone, checked = best(seen, None, 1e-2, centred=True), best(seen, unseen, 1e-2, centred=True)
    assert np.linalg.norm(checked.change) < 0.5 * np.linalg.norm(alone.change)
    errors = [settle(seen, unseen, solve(seen, 1e-2 * step), centred=True).error for step in (1, 10, 100, 1000)]
    assert checked.error == pytest.approx(min(errors))


def test_few_rows_shrink() -> None:
    many, _ = exact(ENOUGH * COLUMNS)
    few, _ = exact(2 * COLUMNS)
    assert shrinkage(many) == 0.0
    assert shrinkage(few) > 0.01
    np.testing.assert_allclose(best(few, None, 1e-9, centred=True).change, solve(few, shrinkage(few)))


def test_a_large_ridge_leaves_the_weight_as_it_is() -> None:
    problem, _ = exact()
    assert np.abs(solve(problem, 1e9)).max() < 1e-6

"""A fit behind an activation: what shows of its error, and no more."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_attnprune.recovery.lacking import Lacking
from onnx_attnprune.recovery.rectified import Seen, bounded, together
from onnx_attnprune.recovery.solving import Problem, best, solve

LOW, HIGH = -0.5, 1.5


def rows(count: int, seed: int) -> Seen:
    """Rows of which a linear map tells a part of the target."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 7)).astype(np.float32)
    hidden = rng.standard_normal((count, 4)).astype(np.float32)
    mixed = np.random.default_rng(1).standard_normal((11, 5)).astype(np.float32)
    target = np.concatenate([x, hidden], axis=1) @ mixed
    return Seen(x, target, target)  # the present result is zero


def problem(seen: Seen) -> Problem:
    sums = Lacking(7, 5)
    sums.add(np.concatenate([seen.x, seen.lack], axis=1))
    return sums.problem(7)


def shown(seen: Seen, found: Problem) -> float:
    """The mean squared error behind a Clip, summed over the outputs."""
    change = solve(found, 1e-4)
    fitted = seen.x @ change + (found.lack - found.mean @ change)
    return float(((np.clip(fitted, LOW, HIGH) - np.clip(seen.target, LOW, HIGH)) ** 2).sum(1).mean())


def test_less_of_the_error_shows() -> None:
    seen, unseen, other = rows(400, 2), rows(400, 3), rows(4000, 4)
    plain = problem(seen), problem(unseen)
    fitted, checked = bounded(plain, (seen, unseen), (LOW, HIGH), 1e-4)
    assert shown(other, fitted) < 0.9 * shown(other, plain[0])
    assert checked is not None
    assert fitted.covariance is plain[0].covariance
    assert best(fitted, checked, 1e-4, True).error < best(*plain, 1e-4, True).error


def test_without_bounds_nothing_changes() -> None:
    seen = rows(50, 2)
    plain = problem(seen)
    fitted, unseen = bounded((plain, None), (seen, None), (-np.inf, np.inf), 1e-4)
    assert unseen is None
    np.testing.assert_allclose(fitted.cross, plain.cross, atol=1e-5)
    np.testing.assert_allclose(fitted.lack, plain.lack, atol=1e-5)
    assert fitted.spread == pytest.approx(plain.spread, rel=1e-5)


def test_no_round_makes_more_of_the_error_show() -> None:
    seen = rows(300, 5)
    lack, before = seen.lack, np.inf
    for _ in range(5):
        found = problem(Seen(seen.x, lack, seen.target))
        change = solve(found, 0.0)
        shift = found.lack - found.mean @ change
        lack = seen.shown(found.mean, LOW, HIGH).lacking(change, found.lack)
        error = float(((lack - seen.x @ change - shift) ** 2).sum())
        assert error <= before
        before = error


def test_problems_of_two_sets_of_rows_are_those_of_all_of_them() -> None:
    one, other = rows(30, 2), rows(70, 3)
    both, whole = problem(one).pooled(problem(other)), problem(together([one, other]))
    assert both.rows == whole.rows == 100
    for name in ("mean", "covariance", "lack", "cross", "spread"):
        np.testing.assert_allclose(getattr(both, name), getattr(whole, name), rtol=1e-4, atol=1e-5)

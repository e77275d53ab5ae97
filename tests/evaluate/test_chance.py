"""What samples can vouch for, against counts of how often it is so."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnx_attnprune.evaluate.chance import SURE, known_to, largest


def test_by_hand() -> None:
    """Two of ten got worse and one better: with the half samples, 3 + 1 of 12 changed, and the mean is 1 / 12."""
    differences = np.array([1.0, 1, -1] + [0] * 7)
    assert known_to(differences) == pytest.approx(SURE * math.sqrt((4 - 1 / 12) / 12 / 12))
    assert largest(differences) == pytest.approx(1 / 12 + known_to(differences))


def test_few_samples_without_a_difference_vouch_for_little() -> None:
    assert largest(np.zeros(32)) == pytest.approx(SURE / 34)
    assert largest(np.zeros(1000)) < 0.0013


@pytest.mark.parametrize(("count", "worse", "better"), [(100, 0.03, 0.02), (500, 0.02, 0.01), (1000, 0.01, 0.005)])
def test_it_is_so_in_nine_cases_of_ten(count: int, worse: float, better: float) -> None:
    rng = np.random.default_rng(1)
    drawn = rng.random((2000, count))
    held = [largest(1.0 * (row < worse) - (row > 1 - better)) >= worse - better for row in drawn]
    assert np.mean(held) == pytest.approx(0.9, abs=0.03)

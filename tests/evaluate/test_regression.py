"""Errors of values against numbers worked out by hand and scikit-learn's formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnx_attnprune.errors import DataError
from onnx_attnprune.evaluate.regression import Errors, Regression, fitting


def errors(values: np.ndarray, labels: np.ndarray, batch: int = 2) -> Regression:
    found = Errors(labels)
    for k in range(0, len(labels), batch):
        found.add(values[k : k + batch], labels[k : k + batch])
    return found.figures()


def test_by_hand() -> None:
    found = errors(np.array([1.0, 2, 3, 8]), np.array([1.0, 2, 3, 4]))
    assert (found.n, found.mae, found.rmse) == (4, 1.0, 2.0)
    assert found.r2 == pytest.approx(1 - 16 / 5)
    assert (found.main, found.measure) == (found.r2, "R2")


@pytest.mark.parametrize("batch", [1, 3, 50])
def test_batches_make_no_difference(batch: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.standard_normal((20, 3)) + np.array([1, 20, 300])
    values = labels + rng.standard_normal((20, 3))
    found = errors(values.astype(np.float32), labels, batch)
    total = ((labels - labels.mean(0)) ** 2).sum()
    assert found.r2 == pytest.approx(1 - ((values - labels) ** 2).sum() / total, abs=1e-5)
    assert found.n == 20


def test_labels_without_spread() -> None:
    labels = np.full(4, 3.0)
    assert errors(labels, labels).r2 == 1
    assert errors(labels + 1, labels).r2 == 0


def test_broken_values_are_no_figures() -> None:
    labels = np.array([1.0, 2])
    found = errors(np.array([np.nan, 2]), labels)
    assert math.isnan(found.r2)
    assert math.isnan(errors(np.array([np.inf, 2]), labels).main - 1) or errors(np.array([np.inf, 2]), labels).main < 0
    assert math.isnan(errors(np.array([np.nan, 3.0]), np.full(2, 3.0)).r2)


def test_shapes() -> None:
    column = fitting(np.zeros((4, 1), np.float16), np.zeros(4))
    assert column is not None
    assert (column.shape, column.dtype) == ((4,), np.float64)
    assert fitting(np.zeros((4, 2), np.float32), np.zeros((4, 2, 1))) is not None
    assert fitting(np.zeros((4, 2), np.float32), np.zeros(4)) is None
    assert fitting(np.zeros(4, np.int64), np.zeros(4)) is None
    with pytest.raises(DataError, match=r"values of shape \[2\] do not fit labels of shape \[3\]"):
        Errors(np.zeros(3)).add(np.zeros(2), np.zeros(3))
    with pytest.raises(DataError, match="no values"):
        Errors(np.zeros(3)).figures()

"""Errors of a model that gives values: mean absolute error, root of the mean squared error, R2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import DataError
from onnx_attnprune.evaluate.feeds import is_float

Array = NDArray[Any]


@dataclass(frozen=True)
class Regression:
    """Errors over `n` samples.

    mae: mean |y - label|. rmse: root of the mean (y - label)^2. r2: 1 - sum (y - label)^2 / sum (label - mean)^2, the
    mean taken of each place of a sample on its own; 1 is perfect, 0 no better than the mean. nan where outputs are.
    """

    measure: ClassVar[str] = "R2"
    n: int
    mae: float
    rmse: float
    r2: float

    @property
    def main(self) -> float:
        """The figure that a largest drop is one of."""
        return self.r2


class Errors:
    """Sums of errors over batches. `labels`: all of them, [n, ...], whose spread the errors are compared with."""

    def __init__(self, labels: Array) -> None:
        self._total = float(((labels - labels.mean(axis=0)) ** 2).sum())
        self._n = self._numbers = 0
        self._absolute = self._squared = 0.0
        self._off: list[Array] = []

    def add(self, outputs: Array, labels: Array) -> None:
        """Compare values with labels of the same shape, axes of size 1 left out. Raises DataError for another one."""
        values = fitting(outputs, labels)
        if values is None:
            raise DataError(f"values of shape {list(outputs.shape)} do not fit labels of shape {list(labels.shape)}")
        with np.errstate(over="ignore", invalid="ignore"):  # what a broken model gives: then the figures are nan or inf
            error = values - labels
            self._absolute += float(np.abs(error).sum())
            self._squared += float((error**2).sum())
            self._off.append((error**2).reshape(len(error), -1).sum(1))
        self._n += len(labels)
        self._numbers += labels.size

    def figures(self) -> Regression:
        """The errors so far. Raises DataError where nothing was compared."""
        if not self._numbers:
            raise DataError("there are no values to compare")
        if self._total:
            r2 = 1 - self._squared / self._total
        else:  # labels that are all the same: as scikit-learn says it
            r2 = 1.0 if self._squared == 0 else 0.0 if math.isfinite(self._squared) else math.nan
        return Regression(self._n, self._absolute / self._numbers, math.sqrt(self._squared / self._numbers), r2)

    def each(self) -> Array:
        """What each sample is worth of R2, which is their mean (of labels that are all the same: 1 each)."""
        off = np.concatenate(self._off)
        return 1 - len(off) * off / self._total if self._total else np.ones(len(off))


def fitting(outputs: Array, labels: Array) -> Array | None:
    """A float output in the shape of the labels, in float64; None where it has another, axes of size 1 left out."""
    sizes = [[size for size in array.shape[1:] if size != 1] for array in (outputs, labels)]
    if not is_float(outputs.dtype) or sizes[0] != sizes[1] or outputs.shape[:1] != labels.shape[:1]:
        return None
    return outputs.astype(np.float64).reshape(labels.shape)

"""Gathers the least-squares problem of a consumer as sums over its rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.recovery.rows import Blocks
from onnx_attnprune.recovery.solving import Problem


class Lacking:
    """Sums over rows of X and of what is lacking at them, T, in double precision, about the means of the first rows
    that come (see `rows.Gathering`). Of T's products with itself only the trace is asked for, so they are not made: a
    layer that makes four times as many channels as it reads would spend nine tenths of its time on them."""

    def __init__(self, columns: int, outputs: int) -> None:
        self._columns, self._blocks, self._rows = columns, Blocks(columns), 0
        self._sum, self._squares = np.zeros(columns + outputs), 0.0
        self._products, self._cross = np.zeros((columns, columns)), np.zeros((columns, outputs))

    def add(self, rows: NDArray[np.float32]) -> None:
        """Take in rows of X in the first columns and of T behind them."""
        self._rows += len(rows)
        for block in self._blocks.of(rows):
            self._sum_up(block)

    def _sum_up(self, block: NDArray[np.float32]) -> None:
        x, t = block[:, : self._columns], block[:, self._columns :]
        self._products += x.T @ x
        self._cross += x.T @ t
        self._squares += square_sum(t)
        self._sum += block.sum(0, dtype=np.float64)

    def problem(self, columns: int) -> Problem:
        """What X in the first `columns` columns has to make up for. What is held is handed over."""
        for block in self._blocks.rest():
            self._sum_up(block)
        count = max(self._rows, 1)
        away = self._sum / count
        mean = away + self._blocks.about
        x, t = away[:columns], away[columns:]
        covariance, cross = self._products, self._cross
        del self._products, self._cross
        for start in range(0, columns, 512):  # a part at a time: a large matrix beside this one is slow to touch
            part = slice(start, start + 512)
            covariance[part] /= count
            covariance[part] -= np.outer(x[part], x)
        cross /= count
        cross -= np.outer(x, t)
        spread = max(self._squares / count - float(t @ t), 0.0)
        return Problem(self._rows, mean[:columns], covariance, mean[columns:], cross, spread)


def square_sum(rows: NDArray[np.float32]) -> float:
    """The sum of all squares, those of a row in single precision and over rows in double."""
    return float(np.einsum("ij,ij->i", rows, rows).sum(dtype=np.float64))

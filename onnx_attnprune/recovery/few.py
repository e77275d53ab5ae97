"""The least-squares problem of a consumer with more columns than rows, or with too many columns for their moments.

With X and T about their means, n rows and the ridge r, (X^T X / n + r I)^-1 X^T T / n = X^T (X X^T / n + r I)^-1 T / n:
the same change of the weight, out of as many equations as there are rows. A dense layer behind a flattened image has
25,088 columns, whose moments take 5 GB, and one row a sample. Source: Saunders, Gammerman and Vovk, "Ridge regression
learning algorithm in dual variables" (1998).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.recovery.factored import solved
from onnx_attnprune.recovery.rows import Array

MOST = 4608  # rows that are held, of which the products with each other take 170 MB
SMALL = 1 << 26  # bytes of moments that are held in any case
BLOCK = 1024  # columns that are held in double precision at once


@dataclass(frozen=True, slots=True)
class Few:
    """Rows X [rows, columns] and what is lacking at them, T [rows, outputs], both about their means; `products` [rows,
    rows]: X X^T / rows."""

    x: NDArray[np.float32]
    t: Array
    mean: Array
    lack: Array
    products: Array

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.x)

    @property
    def trace(self) -> float:
        """Of the covariance of X."""
        return float(np.trace(self.products))

    @property
    def squares(self) -> float:
        """The sum of squares of the covariance of X."""
        return float(np.sum(self.products * self.products))

    def solved(self, ridge: float) -> Array:
        """The change [columns, outputs] that minimises the error plus the ridge."""
        system = self.products.copy()
        system.flat[:: len(system) + 1] += ridge
        dual = solved(system, self.t / max(self.rows, 1))
        change = np.empty((self.x.shape[1], dual.shape[1]))
        for start in range(0, len(change), BLOCK):
            change[start : start + BLOCK] = self.x[:, start : start + BLOCK].T.astype(np.float64) @ dual
        return change

    def error(self, change: Array, shift: Array) -> float:
        """The mean squared length of X D + b - T."""
        off = -self.t
        for start in range(0, len(change) if change.any() else 0, BLOCK):
            off += self.x[:, start : start + BLOCK].astype(np.float64) @ change[start : start + BLOCK]
        varying = float((off**2).sum()) / max(self.rows, 1)
        return varying + float(((self.mean @ change + shift - self.lack) ** 2).sum())

    def uncentred(self) -> Few:
        """The same about zero, for a consumer that can't be given a bias."""
        return _few(self.x + self.mean.astype(np.float32), self.t + self.lack, np.zeros_like(self.mean), 0 * self.lack)

    def pooled(self, other: Few) -> Few:
        """The problem of the rows of both."""
        heap = Heap(self.x.shape[1] + self.t.shape[1])
        for one in (self, other):
            heap.add(
                np.concatenate([one.x + one.mean, one.t + one.lack], axis=1, dtype=np.float32, casting="same_kind")
            )
        return heap.problem(self.x.shape[1])


def _few(x: NDArray[np.float32], t: Array, mean: Array, lack: Array) -> Few:
    products = np.zeros((len(x), len(x)))
    for start in range(0, x.shape[1], BLOCK):
        block = x[:, start : start + BLOCK].astype(np.float64)
        products += block @ block.T
    return Few(x, t, mean, lack, products / max(len(x), 1))


class Heap:
    """Gathers the rows of a problem themselves."""

    def __init__(self, width: int) -> None:
        self._parts: list[NDArray[np.float32]] = [np.empty((0, width), np.float32)]

    def add(self, rows: NDArray[np.float32]) -> None:
        """Take in rows of X in the first columns and of T behind them."""
        self._parts.append(rows)

    def problem(self, columns: int) -> Few:
        """What X in the first `columns` columns has to make up for. What is held is handed over."""
        together = np.concatenate(self._parts)
        self._parts = self._parts[:1]
        mean = together.mean(0, dtype=np.float64) if len(together) else np.zeros(together.shape[1])
        together -= mean.astype(np.float32)
        return _few(together[:, :columns], together[:, columns:].astype(np.float64), mean[:columns], mean[columns:])


def rows_held(rows: int, columns: int, width: int, groups: int, room: int) -> int | None:
    """How many rows to hold in place of their moments: all where they are fewer than columns, as many as fit into half
    of `room` bytes where the moments don't; None where moments are better.

    rows: that the fit sees and is checked on; width: columns of X and T together; groups: problems of that size.
    """
    if rows > columns and 16 * groups * columns * width <= max(room, SMALL):
        return None
    return min(rows, MOST, max(max(room, SMALL) // 2 // (4 * width * groups), 1))

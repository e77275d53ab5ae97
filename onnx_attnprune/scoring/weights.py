"""Sums over stored weights, slice by slice, in one pass over each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import Constant

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]
CHUNK = 1 << 17  # numbers worked on at a time: half a megabyte, which stays in a core's cache


class Weight:
    """One use of a constant as a criterion sees it: its numbers, times a factor for each position of each axis.

    A factor of 0 leaves a slice out (it was removed in an earlier step); a factor may also be the scale of a
    normalisation that follows. The numbers are read from the file's own bytes and never copied whole.
    """

    def __init__(self, constant: Constant, factors: Mapping[int, NDArray[np.float32]], wanted: Sequence[int]) -> None:
        self.constant, self.factors, self.wanted = constant, factors, tuple(sorted(set(wanted)))
        self._sums: dict[int, dict[int, Floats]] = {}

    def values(self) -> Matrix:
        """The numbers with their factors, as float32, in a copy where there are factors or the type is another."""
        array: Matrix = self.constant.array().astype(np.float32, copy=False)
        return _times(array, self.factors, 1, 0) if self.factors else array

    def counts(self, axis: int) -> Floats:
        """How many numbers that count lie on each position of an axis."""
        sizes = [self._alive(k) for k in range(len(self.constant.dims))]
        others = float(np.prod([s.sum() for k, s in enumerate(sizes) if k != axis]))
        return np.asarray(sizes[axis] * others, np.float64)

    def _alive(self, axis: int) -> BoolArray:
        factor = self.factors.get(axis)
        return np.ones(self.constant.dims[axis], bool) if factor is None else factor != 0

    def sums(self, axis: int, power: int) -> Floats:
        """The sum of |w| ** power over all but one axis; all wanted axes are done in the same pass."""
        if power not in self._sums:
            self._sums[power] = self._pass(power)
        return self._sums[power][axis]

    def _pass(self, power: int) -> dict[int, Floats]:
        dims = self.constant.dims
        array = self.constant.array()
        found = {k: np.zeros(dims[k]) for k in self.wanted}
        last = self.wanted[-1]
        tail = int(np.prod(dims[last + 1 :], dtype=np.int64))
        rows = max(1, CHUNK // max(1, int(np.prod(dims[1:], dtype=np.int64))))
        ones = np.ones(tail, np.float32)
        for start in range(0, dims[0], rows):
            part = array[start : start + rows].astype(np.float32, copy=False)
            part = np.abs(part) if power == 1 else np.square(part)
            part = _times(part, {k: np.abs(f) for k, f in self.factors.items()}, power, start, in_place=True)
            if tail > 1:
                part = (part.reshape(-1, tail) @ ones).reshape(part.shape[: last + 1])
            for k in self.wanted:
                sums = _all_but(part, k)
                if k == 0:
                    found[k][start : start + rows] = sums
                else:
                    found[k] += sums
        return found


def _times(
    array: Matrix, factors: Mapping[int, NDArray[np.float32]], power: int, start: int, in_place: bool = False
) -> Matrix:
    for k, factor in factors.items():
        part = factor[start : start + len(array)] if k == 0 else factor
        shaped = (part**power).reshape([-1 if n == k else 1 for n in range(array.ndim)])
        array = np.multiply(array, shaped, out=array) if in_place else array * shaped
    return array


def _all_but(array: Matrix, axis: int) -> NDArray[np.float32]:
    """Sums over every axis but one, by matrix products, which numpy does faster than short sums."""
    before = int(np.prod(array.shape[:axis], dtype=np.int64))
    size = array.shape[axis]
    after = int(np.prod(array.shape[axis + 1 :], dtype=np.int64))
    if after > 1:
        array = array.reshape(-1, after) @ np.ones(after, np.float32)
    out: NDArray[np.float32] = np.ones(before, np.float32) @ array.reshape(before, size)
    return out

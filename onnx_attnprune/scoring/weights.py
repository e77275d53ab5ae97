"""Sums over stored weights, position by position of an axis, in chunks that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import Constant

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]
CHUNK = 1 << 16  # numbers worked on at a time: 256 KiB, which stays in a core's cache
STEEPEST = 80.0  # softmax arguments are at least 0; exp(80) times any axis is still a float32


class Reader:
    """Gives the numbers of constants and holds on to the latest, because protobuf copies them at each access."""

    def __init__(self) -> None:
        self._latest: tuple[Constant, NDArray[np.generic]] | None = None

    def array(self, constant: Constant) -> NDArray[np.generic]:
        """The numbers as they are stored."""
        if self._latest is None or self._latest[0] is not constant:
            self._latest = None  # let go of the old ones before the new ones come
            self._latest = constant, constant.array()
        return self._latest[1]


class Weight:
    """One use of a constant as a criterion sees it, computed in float32 whatever it is stored as.

    wanted: the axes that groups lie on; their sums are made in the same pass. alive: by axis the positions that earlier
    steps left, where they removed any: the others are left out. scale: by axis the factor that a following
    normalisation applies. Sums are kept, so that a weight is read once however many groups it serves.
    """

    def __init__(
        self,
        constant: Constant,
        wanted: Sequence[int],
        alive: Mapping[int, BoolArray],
        scale: Mapping[int, Matrix],
        reader: Reader | None = None,
    ) -> None:
        self.constant, self.alive, self.scale = constant, alive, scale
        self._reader = reader or Reader()
        self.wanted = tuple(sorted(set(wanted)))
        self._sums: dict[int, dict[int, Floats]] = {}
        self._attention: dict[int, Floats] = {}

    @property
    def _array(self) -> NDArray[np.generic]:
        return self._reader.array(self.constant)

    @cached_property
    def _factors(self) -> dict[int, Matrix]:
        found = {k: mask.astype(np.float32) for k, mask in self.alive.items()}
        for k, scale in self.scale.items():
            found[k] = found[k] * scale if k in found else scale.astype(np.float32)
        return found

    def rows(self, axis: int) -> Matrix:
        """The numbers, scaled, as [positions of an axis, rest], without what is left out on the other axes."""
        array = self._array.astype(np.float32, copy=False)
        if self._factors:
            array = _times(array.copy(), self._factors, 0)
        for k, mask in self.alive.items():
            if k != axis:
                array = np.compress(mask, array, k)
        return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)

    @property
    def count(self) -> int:
        """How many numbers are left."""
        return prod(int(self.alive[k].sum()) if k in self.alive else d for k, d in enumerate(self.constant.dims))

    def sums(self, axis: int, power: int) -> Floats:
        """The sum of |w| ** power (power 1 or 2) over all but a wanted axis: [positions]."""
        if power not in self._sums:
            self._sums[power] = self._pass(np.abs if power == 1 else np.square)
        return self._sums[power][axis]

    def _pass(self, measure: Callable[[Matrix], Matrix]) -> dict[int, Floats]:
        dims, array = self.constant.dims, self._array
        found = {k: np.zeros(dims[k]) for k in self.wanted}
        factors = {k: measure(f) for k, f in self._factors.items()}
        rows = max(1, CHUNK // max(1, prod(dims[1:])))
        for start in range(0, dims[0], rows):
            part = _times(measure(array[start : start + rows].astype(np.float32, copy=False)), factors, start)
            part = _drop_tail(part, self.wanted[-1])
            for k in self.wanted:
                sums = _all_but(part, k)
                if k == 0:
                    found[k][start : start + rows] = sums
                else:
                    found[k] += sums
        return found

    def attention(self, axis: int) -> Floats:
        """What the positions of an axis get of the attention of everything on the other axes: [positions].

        Each line of the weight along the axis spreads softmax(|w| / rms(W)) over it; a position gets the sum of
        softmax * |w| over all lines. The rms is that of the whole weight.
        """
        if axis not in self._attention:
            self._attention[axis] = self._received(axis)
        return self._attention[axis]

    def _received(self, axis: int) -> Floats:
        size = self.constant.dims[axis]
        out = np.zeros(size)
        power = float(self.sums(axis, 2).sum())
        if not power > 0:
            return out
        sharpness = np.float32((self.count / power) ** 0.5)
        mask = self.alive.get(axis)
        for part in self._lines(axis):
            weight = np.multiply(part, sharpness)
            np.exp(np.minimum(weight, np.float32(STEEPEST), out=weight), out=weight)
            if mask is not None:
                weight *= mask[:, None]
            part *= weight
            total = np.ones(size, np.float32) @ weight  # [lines, after]
            part /= total[:, None, :]
            out += _all_but(part, 1)
        return out

    def _lines(self, axis: int) -> Iterator[Matrix]:
        """|w| in chunks of shape [before, positions, after], each with whole lines along the axis."""
        dims, rank = self.constant.dims, len(self.constant.dims)
        before, size, after = prod(dims[:axis]), dims[axis], prod(dims[axis + 1 :])
        whole = self._array.reshape(before, size, after)
        outer, own, inner = (self._factor(range(*span)) for span in ((0, axis), (axis, axis + 1), (axis + 1, rank)))
        rows, columns = max(1, CHUNK // (size * after)), max(1, min(after, CHUNK // size))
        for start in range(0, before, rows):
            for left in range(0, after, columns):
                part = np.abs(whole[start : start + rows, :, left : left + columns].astype(np.float32, copy=False))
                if outer is not None:
                    part *= outer[start : start + rows, None, None]
                if own is not None:
                    part *= own[:, None]
                if inner is not None:
                    part *= inner[left : left + columns]
                yield part

    def _factor(self, axes: range) -> Matrix | None:
        """The magnitudes of the factors of adjacent axes, flattened; None where there are none."""
        if not any(k in self._factors for k in axes):
            return None
        flat = np.ones(1, np.float32)
        for k in axes:
            flat = np.outer(flat, np.abs(self._factors.get(k, np.ones(self.constant.dims[k], np.float32)))).reshape(-1)
        return flat


def _times(part: Matrix, factors: Mapping[int, Matrix], start: int) -> Matrix:
    """Multiply rows from `start` on by the factors, in place."""
    for k, factor in factors.items():
        here = factor[start : start + len(part)] if k == 0 else factor
        part *= here.reshape([-1 if n == k else 1 for n in range(part.ndim)])
    return part


def _drop_tail(part: Matrix, last: int) -> Matrix:
    """Sum over the axes behind `last`, by a matrix product, which numpy does faster than short sums."""
    tail = prod(part.shape[last + 1 :])
    if tail == 1:
        return part.reshape(part.shape[: last + 1])
    return (part.reshape(-1, tail) @ np.ones(tail, np.float32)).reshape(part.shape[: last + 1])


def _all_but(part: Matrix, axis: int) -> Matrix:
    """Sums over every axis but one."""
    part = _drop_tail(part, axis)
    sums: Matrix = np.ones(prod(part.shape[:axis]), np.float32) @ part.reshape(-1, part.shape[axis])
    return sums

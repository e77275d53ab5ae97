"""Samples on the first axis, and an order in which every part of them lies evenly spread over all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Places = NDArray[np.int64]
GOLDEN = (5**0.5 - 1) / 2


class Rows(Protocol):
    """Samples on the first axis: an array, or something that makes one where it is sliced (images in a folder)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of samples, then the shape of one."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type."""

    def __len__(self) -> int: ...

    def __getitem__(self, which: slice | Places, /) -> Rows: ...

    def __array__(self) -> Array: ...

    def astype(self, dtype: Any, /) -> Rows:
        """The same samples in another element type."""


def evenly(count: int) -> Places:
    """The places of `count` samples in an order of which every part lies evenly spread over all of them.

    Place k comes at the fraction of k times the golden ratio, whose multiples fall evenly into every part of [0, 1)
    (three-distance theorem). So a part holds every class of a set that is sorted by class, and, unlike every n-th
    sample, of one whose classes take turns. A fixed rule, and no random draw, which would be fair only on average and
    might change with the release of numpy.
    """
    return np.argsort(np.arange(count) * GOLDEN % 1.0, kind="stable")


@dataclass(frozen=True)
class Reordered:
    """Some samples in an order of their own, fetched from where they lie when an array is made of them."""

    rows: Rows
    places: Places

    @property
    def shape(self) -> tuple[int, ...]:
        """[places, ...]."""
        return (len(self.places), *self.rows.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """As where they lie."""
        return self.rows.dtype

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, which: slice | Places, /) -> Rows:
        return Reordered(self.rows, self.places[which])

    def astype(self, dtype: Any, /) -> Rows:
        """The same samples in another element type."""
        return Reordered(self.rows.astype(dtype), self.places)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        found = np.asarray(self.rows[self.places])
        return found if dtype is None else found.astype(dtype)

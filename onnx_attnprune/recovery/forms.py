"""Weights as matrices: how the weight of a consumer is laid out, there and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Kind = Literal["conv", "spread", "rows", "columns", "gates", "states"]


@dataclass(frozen=True, slots=True)
class Form:
    """The layout of a weight that multiplies the rows of a consumer's input.

    conv: [outputs, inputs of a group, taps...]; spread: that of a transposed convolution, [inputs, outputs of a group,
    taps...]; rows: [inputs, outputs]; columns: [outputs, inputs]; gates: [directions, outputs, inputs], all directions
    of one input; states: the same, each direction with an input of its own. The result is `alpha` times the product.
    """

    kind: Kind
    groups: int = 1
    alpha: float = 1.0

    def matrix(self, weight: Array, groups: int | None = None) -> Array:
        """[groups, columns, outputs of a group]; `groups`: of a pruned weight, which may have fewer."""
        return np.asarray(self.alpha * _THERE[self.kind](weight, self.groups if groups is None else groups))

    def weight(self, matrix: Array, shape: tuple[int, ...]) -> Array:
        """The weight, of `shape`, whose matrix this is."""
        return np.asarray(_BACK[self.kind](matrix / self.alpha, shape))


def _conv(w: Array, groups: int) -> Array:
    return np.asarray(w.reshape(groups, w.shape[0] // groups, -1).transpose(0, 2, 1))


def _spread(w: Array, groups: int) -> Array:
    apart = w.reshape(groups, w.shape[0] // groups, w.shape[1], -1)  # g i o t
    return np.asarray(apart.transpose(0, 1, 3, 2).reshape(groups, -1, w.shape[1]))


def _from_spread(m: Array, shape: tuple[int, ...]) -> Array:
    taps = math.prod(shape[2:])
    return np.asarray(m.reshape(len(m), -1, taps, shape[1]).transpose(0, 1, 3, 2).reshape(shape))


_THERE: Mapping[Kind, Callable[[Array, int], Array]] = {
    "conv": _conv,
    "spread": _spread,
    "rows": lambda w, _: w[None],
    "columns": lambda w, _: w.T[None],
    "gates": lambda w, _: w.transpose(2, 0, 1).reshape(1, w.shape[2], -1),
    "states": lambda w, _: w.transpose(0, 2, 1),
}
_BACK: Mapping[Kind, Callable[[Array, tuple[int, ...]], Array]] = {
    "conv": lambda m, shape: m.transpose(0, 2, 1).reshape(shape),
    "spread": _from_spread,
    "rows": lambda m, _: m[0],
    "columns": lambda m, _: m[0].T,
    "gates": lambda m, shape: m[0].reshape(shape[2], shape[0], shape[1]).transpose(1, 2, 0),
    "states": lambda m, _: m.transpose(0, 2, 1),
}

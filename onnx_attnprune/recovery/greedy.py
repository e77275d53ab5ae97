"""The order in which the channels of a group go, the one that its consumers miss least first (see `obs`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.recovery.rows import Array

ROUNDS = 256  # a group with more channels loses several in each round, those that score least
PENDING = 256  # columns that are gone before a whole precision is computed anew, in one product instead of many


@dataclass(frozen=True, slots=True)
class Part:
    """The columns of one consumer's rows that belong to a group: as many of each of `channels`, next to each other.

    precision [columns, columns]: of the inverse covariance. weight [columns, outputs]: scaled, so that an error of 1
    is all that the consumer gives. Columns that stand in only to make channels equally wide weigh nothing.
    """

    channels: NDArray[np.int64]
    precision: Array
    weight: Array

    @property
    def width(self) -> int:
        """Columns a channel."""
        return len(self.weight) // max(len(self.channels), 1)


def part_of(precision: Array, weight: Array, owner: NDArray[np.int64]) -> Part:
    """The part of a group in one consumer; `owner` [columns]: the channel of each, all of them the group's."""
    channels, counts = np.unique(owner, return_counts=True)
    width = int(counts.max())
    place = np.concatenate([np.arange(n) for n in counts])
    columns = np.empty(len(owner), np.int64)
    columns[np.argsort(owner, kind="stable")] = np.repeat(np.arange(len(channels)) * width, counts) + place
    total = len(channels) * width
    if total == len(owner):
        order = np.argsort(columns)
        if (order == np.arange(total)).all():  # as convolutions have them: a large matrix is not copied
            return Part(channels, precision, weight)
        return Part(channels, precision[np.ix_(order, order)], weight[order])
    wide, heavy = np.eye(total), np.zeros((total, weight.shape[1]))
    wide[np.ix_(columns, columns)] = precision
    heavy[columns] = weight
    return Part(channels, wide, heavy)


class Going:
    """A part whose channels go one after another.

    Of the precision only the blocks of single channels are held as they are now. The whole is what it was some rounds
    ago, less the products of each of `_gone` with its own transpose: that of 4608 columns takes 170 MB, which not every
    round should touch. A round of the columns P adds G_:P L^-T, where L is the Cholesky factor of G_PP.
    """

    def __init__(self, part: Part) -> None:
        self._width, self._precision, self._channels = part.width, part.precision, part.channels
        self._weight, self._left = part.weight.copy(), np.ones(len(part.channels), bool)
        count, width = len(part.channels), part.width
        self._blocks = part.precision.reshape(count, width, count, width)[np.arange(count), :, np.arange(count)].copy()
        self._gone: list[Array] = []  # [columns, columns of a round]

    @property
    def channels(self) -> NDArray[np.int64]:
        """Those that are left."""
        return self._channels[self._left]

    def costs(self) -> Array:
        """The error that each channel that is left would add alone, [channels]: tr(W_j^T (G_jj)^-1 W_j)."""
        weight = self._weight.reshape(len(self._channels), self._width, self._weight.shape[1])
        squares = weight @ weight.swapaxes(1, 2)
        return np.asarray((np.linalg.inv(self._blocks) * squares).sum((1, 2)))[self._left]

    def without(self, gone: NDArray[np.int64]) -> float:
        """Let some channels go and refit the others; gives back the error that this adds."""
        mine = np.isin(self._channels, gone) & self._left
        if not mine.any():
            return 0.0
        out = np.flatnonzero(np.repeat(mine, self._width))
        across = self._precision[out]  # it is symmetric, and rows lie one behind the other
        for one in self._gone:
            across -= one[out] @ one.T
        lower = np.linalg.cholesky(across[:, out])
        outputs = self._weight.shape[1]
        solved = np.linalg.solve(lower, np.hstack([self._weight[out], across]))
        error, taken = solved[:, :outputs], np.ascontiguousarray(solved[:, outputs:].T)
        self._weight -= taken @ error
        by_channel = taken.reshape(-1, self._width, len(out))
        self._blocks -= by_channel @ by_channel.swapaxes(1, 2)
        self._left &= ~mine
        self._weight[out], self._blocks[mine] = 0.0, np.eye(self._width)
        self._gone.append(taken)
        if sum(one.shape[1] for one in self._gone) >= PENDING:
            self._settle()
        return float((error**2).sum())

    def _settle(self) -> None:
        """Compute what is left of the precision, and drop the rest."""
        left = np.flatnonzero(np.repeat(self._left, self._width))
        gone = np.concatenate(self._gone, axis=1)[left]
        precision = gone @ gone.T  # NumPy knows that it is symmetric, and computes one half
        for start in range(0, len(left), PENDING):
            part = slice(start, start + PENDING)
            np.subtract(self._precision[left[part]].take(left, axis=1), precision[part], out=precision[part])
        self._precision, self._weight, self._blocks = precision, self._weight[left], self._blocks[self._left]
        self._channels, self._gone = self.channels, []
        self._left = np.ones(len(self._channels), bool)


def greedy(parts: Sequence[Part], size: int) -> tuple[NDArray[np.int64], Array]:
    """The order in which the channels of the parts go, and the error that each adds when it does.

    A group with more than ROUNDS channels loses several in each round; their error is shared out by what each would
    have added alone. Channels that no part has are not in the order. size: of the group.
    """
    order: list[int] = []
    added: list[float] = []
    left = np.unique(np.concatenate([p.channels for p in parts])) if parts else np.empty(0, np.int64)
    at_once, going = -(-len(left) // ROUNDS), [Going(part) for part in parts]
    while len(left):
        costs = np.zeros(size)
        for one in going:
            costs[one.channels] += one.costs()
        gone = left[np.argsort(costs[left], kind="stable")[:at_once]]
        error, alone = sum(one.without(gone) for one in going), np.maximum(costs[gone], 0)
        order += gone.tolist()
        added += (error * alone / alone.sum() if alone.sum() > 0 else np.full(len(gone), error / len(gone))).tolist()
        left = left[~np.isin(left, gone)]
    return np.array(order, np.int64), np.maximum(np.array(added), 0.0)

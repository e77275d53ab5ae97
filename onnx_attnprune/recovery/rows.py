"""What a consumer sees: rows of its input, one a position that it computes an output for.

A convolution becomes a matrix product over its patches (im2col): a row holds the input channels of one group times the
taps of the kernel, channel outermost, as the weight has them. Zero padding is part of the rows, so that a fit on them
is right at the borders too. Positions are drawn at random: a fit needs some ten rows a column, not every position.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.recovery.consumers import Consumer

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class View:
    """How a consumer reads its data operand; consumers that read one tensor in one way share their moments.

    data: name of the tensor. kernel, strides, pads, dilations: of a convolution, per spatial axis (pads: all starts,
    then all ends), empty for a matrix product. groups: the input channels fall into this many equal parts.
    """

    data: str
    channels: int
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    groups: int = 1

    @property
    def columns(self) -> int:
        """Columns of one group's rows."""
        return self.channels // self.groups * math.prod(self.kernel)


def view_of(consumer: Consumer, weight: NDArray[Any]) -> View | None:
    """How the consumer reads its data; None for an operator whose patches are not plain windows."""
    node, data = consumer.node, consumer.node.inputs[consumer.linear.data]
    channels = len(consumer.removed)
    if consumer.channel == -1:
        return View(data, channels)
    kernel = weight.shape[2:]
    if node.op == "ConvTranspose" or node.attr("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    rank = len(kernel)
    pads = (
        tuple(node.attr("pads") or (0,) * 2 * rank) if node.attr("auto_pad", "NOTSET") == "NOTSET" else (0,) * 2 * rank
    )
    return View(
        data, channels, tuple(kernel), tuple(node.attr("strides") or (1,) * rank), pads,
        tuple(node.attr("dilations") or (1,) * rank), int(node.attr("group", 1)),
    )  # fmt: skip  # in the order of the fields


def rows_of(view: View, x: NDArray[Any], wanted: int, rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """About `wanted` rows of each group, [rows, columns], from a batch `x` of the data tensor."""
    if not view.kernel:
        flat = x.reshape(-1, x.shape[-1])
        chosen = _some(len(flat), wanted, rng)
        yield np.ascontiguousarray(flat[chosen], np.float32)
        return
    rank = len(view.kernel)
    padded = np.pad(x, [(0, 0), (0, 0), *zip(view.pads[:rank], view.pads[rank:], strict=True)])
    extents = [(k - 1) * d + 1 for k, d in zip(view.kernel, view.dilations, strict=True)]
    counts = [(n - e) // s + 1 for n, e, s in zip(padded.shape[2:], extents, view.strides, strict=True)]
    chosen = _some(len(x) * math.prod(counts), wanted, rng)
    image, *position = np.unravel_index(chosen, (len(x), *counts))
    taps = np.indices(view.kernel).reshape(rank, -1)
    index: list[Any] = [image[:, None, None], np.arange(x.shape[1])[None, :, None]]
    for k in range(rank):
        start = position[k] * view.strides[k]
        index.append(start[:, None, None] + (taps[k] * view.dilations[k])[None, None, :])
    patches = padded[tuple(index)].astype(np.float32)  # [rows, channels, taps]
    width = x.shape[1] // view.groups
    for g in range(view.groups):
        yield patches[:, g * width : (g + 1) * width].reshape(len(chosen), -1)


def _some(count: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if count <= wanted:
        return np.arange(count)
    return np.sort(rng.choice(count, wanted, replace=False))


@dataclass(frozen=True, slots=True)
class Moments:
    """First and second moments of a group's rows: mean [columns], covariance [columns, columns], how many rows."""

    mean: Array
    covariance: Array
    rows: int


class Gathering:
    """Sums of rows and of their outer products, in double precision, about the mean of the first rows that come.

    About zero, a channel whose mean is large beside its spread would lose that spread to rounding.
    """

    def __init__(self, columns: int) -> None:
        self._about: NDArray[np.float32] | None = None
        self._sum, self._products, self._rows = np.zeros(columns), np.zeros((columns, columns)), 0

    def add(self, rows: NDArray[np.float32]) -> None:
        """Take in some rows. Products of single precision are summed in double precision, block by block."""
        for start in range(0, len(rows), 4096):
            block = rows[start : start + 4096]
            if self._about is None:
                self._about = block.mean(0)
            block = block - self._about
            self._products += block.T @ block
            self._sum += block.sum(0, dtype=np.float64)
        self._rows += len(rows)

    def moments(self) -> Moments:
        """The moments of all rows so far."""
        count = max(self._rows, 1)
        mean = self._sum / count
        about = 0.0 if self._about is None else self._about.astype(np.float64)
        return Moments(mean + about, self._products / count - np.outer(mean, mean), self._rows)


def pooled(parts: Sequence[Sequence[tuple[Moments, Moments]]]) -> list[tuple[Moments, Moments]]:
    """The moments of several sets of rows taken together, group by group."""
    if len(parts) == 1:
        return list(parts[0])
    return [(_pool([p[0] for p in column]), _pool([p[1] for p in column])) for column in zip(*parts, strict=True)]


def _pool(parts: Sequence[Moments]) -> Moments:
    total = max(sum(p.rows for p in parts), 1)
    mean = sum((p.rows / total * p.mean for p in parts), np.zeros_like(parts[0].mean))
    second = sum(
        (p.rows / total * (p.covariance + np.outer(p.mean, p.mean)) for p in parts), np.zeros_like(parts[0].covariance)
    )
    return Moments(mean, second - np.outer(mean, mean), sum(p.rows for p in parts))

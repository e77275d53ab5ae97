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

from onnx_attnprune.graph import Node
from onnx_attnprune.recovery.consumers import Consumer

Array = NDArray[np.float64]
BLOCK = 4096  # rows whose products are summed in single precision
SPARSE = 2  # where fewer than one of so many positions is wanted, the others are not brought into order first


@dataclass(frozen=True, slots=True)
class View:
    """How a consumer reads its data operand; consumers that read one tensor in one way share their moments.

    data: name of the tensor. kernel, strides, pads, dilations: of a convolution, per spatial axis (pads: all starts,
    then all ends), empty for a matrix product. groups: the input channels fall into this many equal parts. spread: the
    strides of a transposed convolution, whose input is taken apart by them first. order: the axes of the data in the
    order in which the last ones are channels, where they are not so already. same: padding by the size of the data, the
    odd one at the end ("upper") or at the start ("lower"). zero: what is taken off the data first.
    """

    data: str
    channels: int
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    groups: int = 1
    spread: tuple[int, ...] = ()
    order: tuple[int, ...] = ()
    same: str = ""
    zero: float = 0.0

    @property
    def columns(self) -> int:
        """Columns of one group's rows."""
        return self.channels // self.groups * math.prod(self.kernel)

    @property
    def bytes(self) -> int:
        """What the moments of seen and of unseen rows take."""
        return 16 * self.groups * self.columns**2

    @property
    def taps(self) -> int:
        """Columns that belong to one channel."""
        return math.prod(self.kernel)


def view_of(consumer: Consumer, weight: NDArray[Any]) -> View | None:
    """How the consumer reads its data; None for an operator whose patches are not plain windows."""
    node, channels = consumer.node, len(consumer.removed)
    if consumer.returns:
        order = () if node.attr("layout", 0) else (0, 2, 1, 3)  # directions stand before the batch
        return View(consumer.source, channels, groups=len(weight), order=order)
    if consumer.channel == -1:
        return View(consumer.source, channels)
    if node.op == "ConvTranspose" and node.attr("auto_pad", "NOTSET").startswith("SAME_"):
        return None
    kernel, groups = tuple(weight.shape[2:]), int(node.attr("group", 1))
    view = windows_of(node, consumer.source, channels, kernel, groups)
    if node.op != "ConvTranspose":
        return view
    if node.attr("output_shape") is not None:
        return None
    strides, pads, dilations, ones = view.strides, view.pads, view.dilations, (1,) * len(kernel)
    extra = node.attr("output_padding") or (0,) * len(kernel)
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    starts = [r - p for r, p in zip(reach, pads[: len(kernel)], strict=True)]
    ends = [r - p + e for r, p, e in zip(reach, pads[len(kernel) :], extra, strict=True)]
    # The weight's first tap meets the last position of a window.
    return View(
        consumer.source, channels, kernel, ones, (*starts, *ends), tuple(-d for d in dilations), groups, strides
    )


def windows_of(node: Node, data: str, channels: int, kernel: tuple[int, ...], groups: int) -> View:
    """How a convolution, or pooling, goes over its data, by the attributes of the node."""
    ones, auto = (1,) * len(kernel), node.attr("auto_pad", "NOTSET")
    pads = tuple(node.attr("pads") or ()) if auto == "NOTSET" else ()
    return View(
        data, channels, kernel, tuple(node.attr("strides") or ones), pads or (0,) * 2 * len(kernel),
        tuple(node.attr("dilations") or ones), groups,
        same=auto.removeprefix("SAME_").lower() if auto.startswith("SAME_") else "",
    )  # fmt: skip  # in the order of the fields


def rows_of(view: View, x: NDArray[Any], wanted: int, rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """About `wanted` rows of each group, [rows, columns], from a batch `x` of the data tensor."""
    yield from rows_at(view, x, some(positions(view, x.shape), wanted, rng))


def positions(view: View, shape: Sequence[int]) -> int:
    """How many positions a consumer computes an output for, from data of a shape."""
    if not view.kernel:
        return math.prod(shape) // max(view.channels, 1)
    return shape[0] * math.prod(_counts(view, _padded_sizes(view, shape[2:])))


def pads_around(view: View, space: Sequence[int]) -> tuple[list[int], list[int]]:
    """Zeros before and behind each spatial axis of the data, taken apart already."""
    rank = len(view.kernel)
    if not view.same:
        return list(view.pads[:rank]), list(view.pads[rank:])
    reach = [(k - 1) * d + 1 for k, d in zip(view.kernel, view.dilations, strict=True)]
    total = [max((-(-n // s) - 1) * s + e - n, 0) for n, s, e in zip(space, view.strides, reach, strict=True)]
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return (less, more) if view.same == "upper" else (more, less)


def _padded_sizes(view: View, space: Sequence[int]) -> list[int]:
    apart = [(n - 1) * s + 1 for n, s in zip(space, view.spread or (1,) * len(space), strict=True)]
    starts, ends = pads_around(view, apart)
    return [n + a + b for n, a, b in zip(apart, starts, ends, strict=True)]


def _counts(view: View, sizes: Sequence[int]) -> list[int]:
    extents = [(k - 1) * abs(d) + 1 for k, d in zip(view.kernel, view.dilations, strict=True)]
    return [(n - e) // s + 1 for n, e, s in zip(sizes, extents, view.strides, strict=True)]


def rows_at(view: View, x: NDArray[Any], chosen: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    """The rows of each group at some positions, [rows, columns], in the order of the result's positions."""
    if not view.kernel:
        flat = (x.transpose(view.order) if view.order else x).reshape(-1, view.channels)[chosen].astype(np.float32)
        flat -= view.zero
        width = view.channels // view.groups
        for g in range(view.groups):
            yield np.ascontiguousarray(flat[:, g * width : (g + 1) * width])
        return
    rank = len(view.kernel)
    if view.taps == 1 and not view.spread and not any(view.pads) and not view.zero:
        yield from _single(view, x, chosen)
        return
    padded = _padded(view, np.moveaxis(x, 1, -1))
    image, *position = np.unravel_index(chosen, (len(x), *_counts(view, padded.shape[1:-1])))
    starts = [p * s for p, s in zip(position, view.strides, strict=True)]
    width = x.shape[1] // view.groups
    patches = np.empty((view.groups, len(chosen), width, view.taps), np.float32)
    for tap, place in enumerate(np.ndindex(*view.kernel)):
        # Windows of a negative dilation run backwards, from their last position.
        first = [(k - 1) * -d if d < 0 else 0 for k, d in zip(view.kernel, view.dilations, strict=True)]
        at = (image, *(starts[k] + first[k] + place[k] * view.dilations[k] for k in range(rank)))
        patches[..., tap] = padded[at].reshape(-1, view.groups, width).swapaxes(0, 1)
    for g in range(view.groups):
        yield patches[g].reshape(len(chosen), -1)


def _single(view: View, x: NDArray[Any], chosen: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    """The rows of each group where each is made of one position of the data."""
    image, *position = np.unravel_index(chosen, (len(x), *_counts(view, x.shape[2:])))
    starts = [p * s for p, s in zip(position, view.strides, strict=True)]
    flat = _picked(x, np.ravel_multi_index((image, *starts), (len(x), *x.shape[2:])))
    for part in np.split(flat, view.groups, axis=1):
        yield np.ascontiguousarray(part, np.float32)


def _padded(view: View, x: NDArray[Any]) -> NDArray[np.float32]:
    """The data with channels last, taken apart by the strides of a transposed convolution, and zeros around it."""
    sizes, spread = _padded_sizes(view, x.shape[1:-1]), view.spread or (1,) * len(view.kernel)
    starts, _ = pads_around(view, x.shape[1:-1])
    out = np.zeros((len(x), *sizes, x.shape[-1]), np.float32)
    inner, outer = [slice(None)], [slice(None)]
    for size, start, step, count in zip(sizes, starts, spread, x.shape[1:-1], strict=True):
        inside = [k for k in range(count) if 0 <= start + k * step < size]  # negative pads cut off
        inner.append(slice(inside[0], inside[-1] + 1))
        outer.append(slice(start + inside[0] * step, start + inside[-1] * step + 1, step))
    out[tuple(outer)] = x[tuple(inner)].astype(np.float32) - view.zero if view.zero else x[tuple(inner)]
    return out


def some(count: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Some of `count` places, in their order: all, or `wanted` drawn at random."""
    if count <= wanted:
        return np.arange(count)
    return np.sort(rng.choice(count, wanted, replace=False))


def results_in(view: View, shape: Sequence[int]) -> int:
    """How many positions a consumer's result of a shape has."""
    return math.prod(shape) // max(shape[1 if view.kernel else -1], 1)


def results_at(view: View, y: NDArray[Any], chosen: NDArray[np.int64]) -> NDArray[np.float32]:
    """The numbers of a consumer's result, or of a tensor like it, at some positions: [rows, outputs]."""
    if view.kernel:
        return np.ascontiguousarray(_picked(y, chosen), np.float32)
    return np.ascontiguousarray(y.reshape(-1, y.shape[-1])[chosen], np.float32)


def _picked(x: NDArray[Any], chosen: NDArray[np.int64]) -> NDArray[Any]:
    """The channels, on the second axis, at some positions: [positions, channels]."""
    space = math.prod(x.shape[2:])
    if SPARSE * len(chosen) > len(x) * space:
        return np.asarray(np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])[chosen])
    image, place = np.divmod(chosen, space)
    return np.asarray(x.reshape(len(x), x.shape[1], space)[image, :, place])


@dataclass(frozen=True, slots=True)
class Moments:
    """First and second moments of a group's rows: mean [columns], covariance [columns, columns], how many rows."""

    mean: Array
    covariance: Array
    rows: int


class Blocks:
    """Brings rows together into blocks, about the mean of the first rows that come, whose products are then summed.

    About zero, a column whose mean is large beside its spread would lose that spread to rounding. Rows that are fewer
    than `columns` wait for others: to add their products up takes longer than to make them.
    """

    def __init__(self, columns: int) -> None:
        self._least = min(columns, BLOCK)
        self._about: NDArray[np.float32] | None = None
        self._waiting: list[NDArray[np.float32]] = []

    @property
    def about(self) -> Array | float:
        """What the rows of all blocks are short of: [columns]; 0 where none has come."""
        return 0.0 if self._about is None else self._about.astype(np.float64)

    def of(self, rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """The blocks that are complete with some more rows, which are held until then and must not change."""
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) >= self._least:
            yield from self.rest()

    def rest(self) -> Iterator[NDArray[np.float32]]:
        """The blocks of all rows that wait."""
        if not self._waiting:
            return
        rows = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        self._waiting = []
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            if self._about is None:
                self._about = block.mean(0)
            yield block - self._about


class Gathering:
    """Sums of rows and of their outer products, in double precision."""

    def __init__(self, columns: int) -> None:
        self._blocks, self._rows = Blocks(columns), 0
        self._sum, self._products = np.zeros(columns), np.zeros((columns, columns))

    def add(self, rows: NDArray[np.float32]) -> None:
        """Take in some rows. Products of single precision are summed in double precision, block by block."""
        self._rows += len(rows)
        for block in self._blocks.of(rows):
            self._sum_up(block)

    def _sum_up(self, block: NDArray[np.float32]) -> None:
        self._products += block.T @ block
        self._sum += block.sum(0, dtype=np.float64)

    def moments(self) -> Moments:
        """The moments of all rows so far."""
        for block in self._blocks.rest():
            self._sum_up(block)
        count = max(self._rows, 1)
        mean = self._sum / count
        covariance = self._products / count
        for start in range(0, len(mean), 512):  # a part at a time: a large matrix beside this one is slow to touch
            covariance[start : start + 512] -= np.outer(mean[start : start + 512], mean)
        return Moments(mean + self._blocks.about, covariance, self._rows)

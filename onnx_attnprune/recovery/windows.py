"""What is said of the results of windows, brought back to the numbers that the windows lay on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from onnx_attnprune.recovery.rectified import Rows
from onnx_attnprune.recovery.rows import View, pads_around

Place = tuple[slice, ...]


def spread_back(view: View, lack: Rows, weight: Rows, shape: Sequence[int]) -> Rows:
    """What each number of a consumer's data, of a `shape`, has to do with what its result is lacking: the product of
    `lack`, of the result's shape, with the transposed weight [columns, outputs], brought back to where it was read.

    For a consumer without groups that is no transposed convolution.
    """
    if not view.kernel:
        return np.asarray(lack.reshape(-1, lack.shape[-1]) @ weight.T).reshape(shape)
    rows, by_tap = np.moveaxis(lack, 1, -1), weight.reshape(shape[1], view.taps, -1)
    return brought_back(view, shape, lack.shape, (rows @ by_tap[:, tap].T for tap in range(view.taps)))


def brought_back(view: View, shape: Sequence[int], result: Sequence[int], by_tap: Iterable[Rows]) -> Rows:
    """For data of a `shape` the sums of what each tap of all windows says of the number that it lies on.

    by_tap: [samples, *space of the result, channels] for each tap. result: the shape of the windows' result.
    """
    whole = np.zeros((shape[0], *_sizes(view, shape, result), shape[1]), np.float32)
    for at, said in zip(_places(view, result), by_tap, strict=True):
        whole[at] += said
    return np.ascontiguousarray(np.moveaxis(whole[_inner(view, shape)], -1, 1))


def under_taps(view: View, x: Rows, result: Sequence[int], beyond: float) -> Iterator[Rows]:
    """The numbers of the data `x` that each tap of all windows lies on, [samples, *space of the result, channels];
    `beyond`: what is read outside of the data."""
    whole = np.full((len(x), *_sizes(view, x.shape, result), x.shape[1]), beyond, np.float32)
    whole[_inner(view, x.shape)] = np.moveaxis(x, 1, -1)
    for at in _places(view, result):
        yield whole[at]


def _sizes(view: View, shape: Sequence[int], result: Sequence[int]) -> list[int]:
    """Of the data with what lies before it, as far as the data or the windows go; those of pooling that rounds its
    result up go further than its padding."""
    starts, _ = pads_around(view, shape[2:])
    ways = zip(shape[2:], starts, result[2:], view.kernel, view.strides, view.dilations, strict=True)
    return [max(a + n, (count - 1) * s + (k - 1) * d + 1) for n, a, count, k, s, d in ways]


def _inner(view: View, shape: Sequence[int]) -> Place:
    starts, _ = pads_around(view, shape[2:])
    return (slice(None), *(slice(a, a + n) for a, n in zip(starts, shape[2:], strict=True)))


def _places(view: View, result: Sequence[int]) -> Iterator[Place]:
    """Where the windows' taps lie, tap by tap."""
    for place in np.ndindex(*view.kernel):
        ways = zip(place, view.dilations, view.strides, result[2:], strict=True)
        yield (slice(None), *(slice(p * d, p * d + (n - 1) * s + 1, s) for p, d, s, n in ways))

"""The way back from the results of windows to what they lay on is the transpose of the way there."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_attnprune.recovery.rows import View, rows_of
from onnx_attnprune.recovery.windows import brought_back, spread_back, under_taps

ALL = 10**6


@pytest.mark.parametrize(
    ("strides", "pads", "dilations", "same"),
    [((1, 1), (0, 0, 0, 0), (1, 1), ""), ((2, 3), (1, 0, 2, 1), (1, 1), ""), ((1, 2), (2, 1, 2, 1), (2, 1), ""),
     ((2, 3), (0, 0, 0, 0), (1, 1), "upper"), ((2, 1), (0, 0, 0, 0), (1, 1), "lower")],
)  # fmt: skip  # a case a line
def test_what_is_lacking_goes_back_to_where_it_was_read(
    strides: tuple[int, ...], pads: tuple[int, ...], dilations: tuple[int, ...], same: str
) -> None:
    """For all x and t: <t, x W> = <t W', x>."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 9, 11)).astype(np.float32)
    view = View("x", 6, (3, 2), strides, pads, dilations, same=same)
    weight = rng.standard_normal((view.columns, 5)).astype(np.float32)
    (rows,) = rows_of(view, x, ALL, rng)
    y = rows @ weight
    sizes = [-(-n // s) for n, s in zip((9, 11), strides, strict=True)]
    if not same:
        ways = zip((9, 11), (3, 2), strides, pads[:2], pads[2:], dilations, strict=True)
        sizes = [(n + a + b - (k - 1) * d - 1) // s + 1 for n, k, s, a, b, d in ways]
    t = rng.standard_normal((2, 5, *sizes)).astype(np.float32)
    back = spread_back(view, t, weight, x.shape)
    assert back.shape == x.shape
    assert float((back * x).sum()) == pytest.approx(float((np.moveaxis(t, 1, -1).reshape(-1, 5) * y).sum()), rel=1e-4)


def test_the_same_for_a_matrix_product() -> None:
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((2, 3, 6)).astype(np.float32), rng.standard_normal((2, 3, 5)).astype(np.float32)
    weight = rng.standard_normal((6, 5)).astype(np.float32)
    back = spread_back(View("x", 6), t, weight, x.shape)
    assert float((back * x).sum()) == pytest.approx(float((t * (x @ weight)).sum()), rel=1e-4)


def test_each_tap_says_something_of_the_number_that_it_lies_on() -> None:
    """A row of windows of two, two apart, one zero before and, since their number is rounded up, one behind."""
    view = View("x", 1, (2,), (2,), (1, 0), (1,))
    x = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 4)
    taps = list(under_taps(view, x, (1, 1, 3), beyond=-9))
    assert [tap.ravel().tolist() for tap in taps] == [[-9, 2, 4], [1, 3, -9]]
    back = brought_back(view, x.shape, (1, 1, 3), taps)
    assert back.ravel().tolist() == [1, 2, 3, 4]

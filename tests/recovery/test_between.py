"""The way back through what lies between two layers: slopes of single numbers, and the transpose of windows."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_attnprune import surgery
from onnx_attnprune.graph import with_outputs
from onnx_attnprune.recovery.between import Back, Link
from onnx_attnprune.recovery.mending import Mender
from onnx_attnprune.recovery.segments import Held
from tests.oracle import parse
from tests.recovery.helpers import run, stored, without
from tests.recovery.test_producers import found

GONE = {"w1": [1, 4], "w2": [0]}
TEXT = """g (float[3, 2, 11, 9] x) => (float[3, 5, M, K] y)
<float[7, 2, 1, 1] w1, float[7, 1, 3, 2] wd, float[6, 7, 1, 1] w2, float[5, 6, 1, 1] w3> {
    a = Conv(x, w1)
    BETWEEN
    e = Conv(d, w2)
    f = Relu(e)
    y = Conv(f, w3)
}"""


def opened(between: str) -> tuple[tuple[Link, ...], list[Back], Held]:
    """What lies between, the ways back through it in one run of the pruned model, and what this holds."""
    text = TEXT.replace("BETWEEN", between)
    analysis, alive = without(parse(text), GONE)
    pruned = surgery.prune(analysis, alive)
    couple = found(text, GONE)[0]
    assert couple.made == "a"
    feeds = {"x": np.random.default_rng(0).standard_normal((3, 2, 11, 9)).astype(np.float32)}
    held = run(with_outputs(pruned, [n for n in couple.names if n != "x"]), feeds) | feeds
    mender = Mender(analysis, alive, pruned)
    return couple.way, [link.opened(pruned, mender)(held) for link in couple.way], held


@pytest.mark.parametrize(
    "window",
    [
        "Conv<group = 7>(a, wd)",
        "Conv<group = 7, strides = [2, 3], pads = [1, 0, 2, 1], dilations = [2, 1]>(a, wd)",
        "Conv<group = 7, auto_pad = \"SAME_LOWER\", strides = [1, 2]>(a, wd)",
        "AveragePool<kernel_shape = [3, 2]>(a)",
        "AveragePool<kernel_shape = [3, 2], strides = [2, 1], pads = [1, 0, 2, 1]>(a)",
        "AveragePool<kernel_shape = [3, 2], strides = [2, 1], pads = [1, 0, 2, 1], count_include_pad = 1>(a)",
        "AveragePool<kernel_shape = [4, 2], strides = [2, 3], auto_pad = \"SAME_UPPER\">(a)",
        "MaxPool<kernel_shape = [3, 2]>(a)",
        "MaxPool<kernel_shape = [3, 2], strides = [2, 3], pads = [1, 0, 2, 1]>(a)",
        "MaxPool<kernel_shape = [3, 2], strides = [3, 2], ceil_mode = 1>(a)",
        "MaxPool<kernel_shape = [2, 3], dilations = [3, 1], strides = [1, 2]>(a)",
    ],
)  # fmt: skip  # a case a line
def test_the_way_back_is_the_transpose_of_the_way_there(window: str) -> None:
    """For windows f and all t: <t, f(a)> = <back(t), a>; the maximum is a sum too, with one number in it."""
    _, (back,), held = opened(f"d = {window}")
    t = np.random.default_rng(1).standard_normal(held["d"].shape).astype(np.float32)
    there = back(t)
    assert there.shape == held["a"].shape
    for channel in range(5):  # each by itself
        expected = float((t * held["d"])[:, channel].sum())
        assert float((there * held["a"])[:, channel].sum()) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_of_equal_numbers_the_first_is_taken_for_the_largest() -> None:
    """And none of those beyond the border, which are no zeros."""
    pool = "MaxPool<kernel_shape = [2, 2], strides = [2, 2], pads = [1, 1, 0, 0]>"
    _, (back, _), held = opened(f"b = Relu(a) d = {pool}(b)")
    ones = np.ones_like(held["d"])
    assert (held["d"][:, :, 0, 0] == 0).any()
    assert (held["d"][:, :, 1:, 1:] == 0).any()  # whole windows of zeros
    assert back(ones).sum() == ones.sum()


def test_slopes_are_those_of_the_functions() -> None:
    _, (back,), held = opened("b = Tanh(a) d = Mul(b, b)")
    t = np.random.default_rng(1).standard_normal(held["a"].shape).astype(np.float32)
    tanh = np.tanh(held["a"])
    np.testing.assert_allclose(back(t), t * 2 * tanh * (1 - tanh**2), atol=2e-3)


def test_a_gate_is_a_factor_that_stays() -> None:
    _, (back,), held = opened("m = GlobalAveragePool(a) g = Sigmoid(m) d = Mul(a, g)")
    ones = np.ones_like(held["a"])
    np.testing.assert_allclose(back(ones), ones * held["g"], rtol=1e-3)


def test_the_weight_of_a_depthwise_layer_is_the_one_of_now() -> None:
    """That of the channels which are left, and as it stands in the pruned model."""
    text = TEXT.replace("BETWEEN", "d = Conv<group = 7>(a, wd)")
    model = parse(text)
    analysis, alive = without(model, GONE)
    pruned = surgery.prune(analysis, alive)
    (link,) = found(text, GONE)[0].way
    shapes = {"a": (1, 5, 3, 2), "d": (1, 5, 1, 1)}
    held = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    back = link.opened(pruned, Mender(analysis, alive, pruned))(held)
    kept = np.delete(stored(model, "wd"), GONE["w1"], axis=0)
    np.testing.assert_allclose(back(np.ones((1, 5, 1, 1), np.float32))[0], kept[:, 0])

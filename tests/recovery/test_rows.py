"""Rows of a consumer's input: the patches that a convolution sees, and their moments."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from onnx_attnprune.recovery.rows import BLOCK, Blocks, Gathering, View, results_at, rows_at, rows_of, some
from onnx_attnprune.runtime import Session

ALL = 10**6


@pytest.mark.parametrize(
    ("groups", "strides", "pads", "dilations"),
    [(1, (1, 1), (0, 0, 0, 0), (1, 1)), (1, (2, 3), (1, 0, 2, 1), (1, 1)), (3, (1, 2), (2, 1, 2, 1), (2, 1))],
)
def test_rows_times_the_weight_are_the_convolution(
    groups: int, strides: tuple[int, ...], pads: tuple[int, ...], dilations: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 9, 11)).astype(np.float32)
    w = rng.standard_normal((12, 6 // groups, 3, 2)).astype(np.float32)
    view = View("x", 6, (3, 2), strides, pads, dilations, groups)
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=strides, pads=pads, dilations=dilations, group=groups)
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in (("x", x), ("w", w))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )  # fmt: skip  # inputs in a row
    y = ReferenceEvaluator(helper.make_model(graph)).run(None, {"x": x, "w": w})[0]
    found = [
        rows @ w[g * 12 // groups : (g + 1) * 12 // groups].reshape(12 // groups, -1).T
        for g, rows in enumerate(rows_of(view, x, ALL, rng))
    ]
    expected = np.moveaxis(y, 1, -1).reshape(-1, 12)
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("same", ["upper", "lower"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_padding_by_size_is_onnx_s(same: str, strides: tuple[int, ...]) -> None:
    """Even kernels need an odd number of zeros, of which one end gets one more."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 9, 8)).astype(np.float32)
    w = rng.standard_normal((5, 3, 4, 2)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=strides, auto_pad=f"SAME_{same.upper()}")
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in (("x", x), ("w", w))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )  # fmt: skip  # inputs in a row
    y = Session(helper.make_model(graph, ir_version=8)).run({"x": x, "w": w})["y"]
    (rows,) = rows_of(View("x", 3, (4, 2), strides, (0, 0, 0, 0), (1, 1), same=same), x, ALL, rng)
    expected = np.moveaxis(y, 1, -1).reshape(-1, 5)
    np.testing.assert_allclose(rows @ w.reshape(5, -1).T, expected, rtol=1e-4, atol=1e-4)


def test_groups_of_a_product_read_their_own_channels() -> None:
    """As the directions of a recurrent layer do."""
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    first, second = rows_of(View("x", 6, groups=2), x, ALL, np.random.default_rng(0))
    np.testing.assert_array_equal(first, x[:, :3])
    np.testing.assert_array_equal(second, x[:, 3:])


def test_fewer_rows_are_rows_of_all() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 5, 7)).astype(np.float32)
    (rows,) = rows_of(View("x", 7), x, 4, rng)
    assert rows.shape == (4, 7)
    assert all(any(np.array_equal(r, s) for s in x.reshape(-1, 7)) for r in rows)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
@pytest.mark.parametrize("wanted", [5, ALL])
def test_rows_of_one_position_each_are_the_channels_there(groups: int, strides: tuple[int, ...], wanted: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 6, 5, 7)).astype(np.float32)
    view = View("x", 6, (1, 1), strides, (0, 0, 0, 0), (1, 1), groups)
    every = np.moveaxis(x, 1, -1)[:, :: strides[0], :: strides[1]].reshape(-1, 6)
    chosen = some(len(every), wanted, np.random.default_rng(1))
    found = np.concatenate(list(rows_at(view, x, chosen)), axis=1)
    np.testing.assert_array_equal(found, every[chosen])


@pytest.mark.parametrize("wanted", [5, ALL])
def test_results_are_those_of_the_positions(wanted: int) -> None:
    y = np.random.default_rng(0).standard_normal((2, 6, 5, 7)).astype(np.float32)
    chosen = some(2 * 5 * 7, wanted, np.random.default_rng(1))
    found = results_at(View("x", 3, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)), y, chosen)
    np.testing.assert_array_equal(found, np.moveaxis(y, 1, -1).reshape(-1, 6)[chosen])


def test_moments_are_those_of_numpy_and_add_up_over_parts() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((n, 4)).astype(np.float32) + n for n in (5000, 30)]
    alone = Gathering(4)
    alone.add(parts[0])
    one = alone.moments()
    np.testing.assert_allclose(one.covariance, np.cov(parts[0].T.astype(np.float64), bias=True), rtol=1e-3, atol=1e-2)
    both = Gathering(4)
    for part in parts:
        both.add(part)
    whole = both.moments()
    together = np.concatenate(parts).astype(np.float64)
    np.testing.assert_allclose(whole.mean, together.mean(0), rtol=1e-5)
    np.testing.assert_allclose(whole.covariance, np.cov(together.T, bias=True), rtol=1e-3)
    assert whole.rows == 5030


def test_few_rows_wait_for_others() -> None:
    rows = np.arange(24, dtype=np.float32).reshape(6, 4)
    blocks = Blocks(4)
    assert list(blocks.of(rows[:2])) == []
    (block,) = blocks.of(rows[2:5])
    assert len(block) == 5
    assert list(blocks.of(rows[5:])) == []
    (last,) = blocks.rest()
    np.testing.assert_array_equal(np.concatenate([block, last]) + blocks.about, rows)
    assert list(blocks.rest()) == []


def test_many_rows_come_in_blocks_about_the_mean_of_the_first() -> None:
    rows = np.random.default_rng(0).standard_normal((BLOCK + 7, 3)).astype(np.float32)
    blocks = Blocks(3)
    found = list(blocks.of(rows))
    assert [len(block) for block in found] == [BLOCK, 7]
    np.testing.assert_allclose(blocks.about, rows[:BLOCK].mean(0), rtol=1e-6)


def test_moments_of_few_rows_at_a_time_are_those_of_all() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32) + 3
    gathered = Gathering(8)
    for start in range(0, 50, 3):
        gathered.add(rows[start : start + 3])
    np.testing.assert_allclose(gathered.moments().covariance, np.cov(rows.T.astype(np.float64), bias=True), rtol=1e-4)

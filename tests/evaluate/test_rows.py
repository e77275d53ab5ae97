"""Samples in an order of which every part lies evenly spread over all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx_attnprune.evaluate.data import Dataset
from onnx_attnprune.evaluate.rows import Reordered, evenly
from tests.evaluate.test_images import load, pixels, put


@pytest.mark.parametrize(("count", "part"), [(300, 256), (512, 256), (1024, 256), (10_000, 256), (999, 64), (8, 5)])
def test_every_part_shows_all_of_them(count: int, part: int) -> None:
    order = evenly(count)
    assert sorted(order) == list(range(count))
    for start in (0, (count - part) // 2, count - part):
        found = order[start : start + part]
        # Sorted by class; classes that take turns; twice as many samples of one class as of others.
        for classes in (
            np.arange(count) * 4 // count,
            np.arange(count) % 4,
            np.minimum(np.arange(count) * 5 // count, 3),
        ):
            share, wanted = (np.bincount(classes[p], minlength=4) / len(p) for p in (found, np.arange(count)))
            assert np.abs(share - wanted).max() <= 3 / part


def test_the_order_is_always_the_same() -> None:
    assert evenly(10).tolist() == [0, 5, 2, 7, 4, 9, 1, 6, 3, 8]


def test_samples_in_another_order() -> None:
    rows = Reordered(np.arange(12.0).reshape(4, 3), np.array([3, 0, 2]))
    assert (rows.shape, rows.dtype, len(rows)) == ((3, 3), np.dtype(np.float64), 3)
    np.testing.assert_array_equal(np.asarray(rows), [[9, 10, 11], [0, 1, 2], [6, 7, 8]])
    np.testing.assert_array_equal(np.asarray(rows[1:]), [[0, 1, 2], [6, 7, 8]])
    np.testing.assert_array_equal(np.asarray(rows[np.array([2])].astype(np.int32)), [[6, 7, 8]])
    assert np.asarray(rows.astype(np.int32)).dtype == np.int32
    assert np.asarray(rows, np.float32).dtype == np.float32


def test_a_dataset_keeps_rows_and_labels_together() -> None:
    labels = np.arange(50)
    data = Dataset({"x": labels[:, None] * 2.0, "ids": labels * 3}, labels, 50)
    for found, size in ((data.spread(), 50), (data.drawn(20), 20), (data.spread().part(slice(30, None)), 20)):
        assert found.labels is not None
        assert (found.size, len(found.labels)) == (size, size)
        np.testing.assert_array_equal(np.asarray(found.feeds["x"])[:, 0], found.labels * 2)
        np.testing.assert_array_equal(np.asarray(found.feeds["ids"]), found.labels * 3)
    drawn = data.drawn(20).labels
    assert drawn is not None
    assert (np.diff(drawn) > 0).all()
    assert drawn.max() > 45
    assert data.drawn(50) is data


def test_of_images_only_those_are_decoded_that_are_asked_for(tmp_path: Path) -> None:
    for k in range(10):
        put(tmp_path, f"{k}.png", np.full_like(pixels(), 20 * k))
    (tmp_path / "7.png").write_text("no image")
    found = np.asarray(load(tmp_path).spread().part(slice(None, 3)).feeds["image"])
    assert [round(255 * float(image.max())) for image in found] == [0, 100, 40]

"""Outputs of two models over many samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from onnx_attnprune.evaluate import drift
from onnx_attnprune.evaluate.data import Dataset
from onnx_attnprune.evaluate.drift import drift_at, drift_on
from onnx_attnprune.evaluate.equivalence import compare

Array = np.ndarray[Any, Any]
X = np.random.default_rng(0).standard_normal((10, 5)).astype(np.float32)


class Model:
    """A session whose outputs are the input times a number, turned around, and counted."""

    def __init__(self, factor: float) -> None:
        self.factor = np.float32(factor)
        self.rows: list[int] = []

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        x = feeds["x"]
        self.rows.append(len(x))
        return {"y": x * self.factor, "turned": x.T * self.factor, "count": np.asarray(len(x))}


def data(size: int = 10) -> Dataset:
    return Dataset({"x": X[:size]}, None, size, "some/data.npz")


def y_of(found: drift.Drift) -> Any:
    return next(d for d in found.outputs if d.output == "y")


@pytest.mark.parametrize("fixed", [None, 4])
def test_all_samples_count_once(fixed: int | None) -> None:
    before, after = Model(1), Model(1.5)
    found = drift_on(Fixed(before), Fixed(after), data(), 3, fixed)  # type: ignore[arg-type]  # a stand-in
    assert (found.samples, found.inputs) == (10, "10 samples of data.npz")
    assert y_of(found) == compare(["y"], {"y": X}, {"y": X * np.float32(1.5)})[0]
    assert before.rows == after.rows == ([3, 3, 3, 1] if fixed is None else [4, 4, 4])


class Fixed:
    """Only the output that has the samples on its first axis."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": self.model.run(feeds)["y"]}


def test_outputs_that_can_not_be_joined() -> None:
    found = drift_on(Model(1), Model(2), data(6), 3, None)  # type: ignore[arg-type]  # a stand-in
    assert {d.output: d.max_abs for d in found.outputs}["count"] == 0
    assert found.samples == 3  # a scalar has no samples to join on: the first run has to do


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "MOST_BYTES", 2 * 2 * X[:2].nbytes)
    found = drift_on(Fixed(Model(1)), Fixed(Model(2)), data(), 2, None)  # type: ignore[arg-type]  # a stand-in
    assert found.samples == 4


def test_one_run() -> None:
    found = drift_at(Model(1), Model(2), {"x": X[:3]}, "these")  # type: ignore[arg-type]  # a stand-in
    assert (found.samples, found.inputs, len(found.outputs)) == (3, "these", 3)

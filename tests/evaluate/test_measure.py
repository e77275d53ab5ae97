"""Both models measured side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnx_attnprune.errors import DataError
from onnx_attnprune.evaluate.data import Dataset, rows
from onnx_attnprune.evaluate.feeds import InputSpec
from onnx_attnprune.evaluate.measure import Given, Measured, Setup, accuracy_of, measure
from tests.small import cnn, saved

SHAPES = {"x": (2, 3, 12, 10)}
SINGLE = {"x": (1, 3, 12, 10)}
SPECS = (InputSpec("x", np.dtype(np.float32), ("N", 3, 12, 10)),)


def data(samples: int, labels: bool = True) -> Dataset:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, 3, 12, 10)).astype(np.float32)
    return Dataset({"x": x}, rng.integers(0, 7, samples) if labels else None, samples, "some/data.npz")


def given(dataset: Dataset | None, single: Mapping[str, tuple[int, ...]] = SINGLE) -> Given:
    return Given(SPECS, SHAPES, single, {}, dataset)


def measured(folder: Path, what: Given, seconds: float = 0.0, in_float32: bool = False) -> tuple[Measured, list[str]]:
    stages: list[str] = []

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        stages.append(name)
        yield

    one, two = saved(cnn(), folder, "a.onnx"), saved(cnn(seed=1), folder, "b.onnx")
    return measure(one, two, None, what, Setup("cpu", 1, seconds, in_float32), stage), stages


def test_without_data(tmp_path: Path) -> None:
    found, stages = measured(tmp_path, given(None))
    assert stages == ["drift"]
    assert found.accuracy is found.speed is None
    assert (found.drift.inputs, found.drift.samples) == ("random inputs (2x3x12x10)", 2)
    assert found.drift.outputs[0].cosine < 0.999
    assert found.notes == ()


def test_with_data(tmp_path: Path) -> None:
    found, stages = measured(tmp_path, given(data(70)), 0.001)
    assert stages == ["accuracy", "latency"]
    assert found.accuracy is not None
    assert (found.accuracy.before.n, found.accuracy.after.n, found.accuracy.data) == (70, 70, "some/data.npz")
    assert found.accuracy.before != found.accuracy.after
    assert (found.drift.inputs, found.drift.samples) == ("64 samples of data.npz", 64)
    assert found.speed is not None
    assert found.speed.shapes == SINGLE
    assert found.speed.before.runs >= 5


def test_samples_without_labels(tmp_path: Path) -> None:
    what = replace(given(None), unlabelled=data(9, labels=False))
    found, stages = measured(tmp_path, what, 0.001)
    assert stages == ["drift", "latency"]
    assert found.accuracy is None
    assert (found.drift.inputs, found.drift.samples) == ("9 samples of data.npz", 9)


def test_a_batch_of_one_that_the_model_does_not_take(tmp_path: Path) -> None:
    found, _ = measured(tmp_path, given(None, {"x": (1, 4, 12, 10)}), 0.001)
    assert found.speed is not None
    assert found.speed.shapes == SHAPES


def test_copies_say_nothing_of_latency(tmp_path: Path) -> None:
    found, stages = measured(tmp_path, given(data(5)), 1.0, in_float32=True)
    assert stages == ["accuracy"]
    assert found.speed is None
    assert found.notes == ("no latency: ONNX Runtime has no bfloat16 kernels here",)


def test_accuracy_of_a_model_in_memory(tmp_path: Path) -> None:
    found, _ = measured(tmp_path, given(data(9)))
    assert found.accuracy is not None
    assert accuracy_of(cnn(), given(data(9)), Setup("cpu", 1, 0.0, False), tmp_path) == found.accuracy.before
    with pytest.raises(DataError, match="no array labels"):
        accuracy_of(cnn(), given(data(9, labels=False)), Setup("cpu", 1, 0.0, False), tmp_path)


def test_rows() -> None:
    array = np.arange(3)
    assert rows(array, 2).tolist() == [0, 1]
    assert rows(array, 3).tolist() == [0, 1, 2]
    assert len(rows(array, 7)) == 7

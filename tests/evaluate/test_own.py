"""Metrics of the user's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx_attnprune.errors import DataError, SettingsError
from onnx_attnprune.evaluate.own import Metric, metric_of, own_figures

LABELS = np.arange(3)


def mean_score(outputs: Any, labels: Any) -> float:
    return float(outputs["y"].mean() + labels.max())


def test_a_number_and_a_dict() -> None:
    found = own_figures(Metric("m:auc", mean_score), {"y": np.ones((3, 2))}, LABELS)
    assert (found.n, found.values, found.measure, found.main) == (3, {"auc": 3.0}, "auc", 3.0)
    found = own_figures(Metric("m", lambda *_: {"iou": np.float32(0.5), "dice": np.array([True])}), {}, LABELS)
    assert (found.values, found.measure, found.main) == ({"iou": 0.5, "dice": 1.0}, "iou", 0.5)


def test_by_name_and_as_it_is() -> None:
    assert metric_of(None) is None
    found = metric_of("tests.evaluate.test_own:mean_score")
    assert found is not None
    assert (found.name, found.function.__name__) == ("tests.evaluate.test_own:mean_score", "mean_score")
    given = metric_of(mean_score)
    assert given is not None
    assert given.name.endswith("test_own:mean_score")
    with pytest.raises(SettingsError, match="--metric accuracy: is not of the form MODULE:FUNCTION"):
        metric_of("accuracy")
    with pytest.raises(SettingsError, match="has no 'nothing'"):
        metric_of("tests.evaluate.test_own:nothing")


def raising(outputs: Any, labels: Any) -> float:
    raise ValueError(f"{len(labels)} labels")


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (raising, "own:f: raised ValueError: 3 labels"),
        (lambda outputs: 1.0, "own:f: raised TypeError"),
        (lambda *_: None, "own:f: f is a NoneType, and not a number"),
        (lambda *_: {"a": "b"}, "own:f: a is a str, and not a number"),
        (lambda *_: np.zeros(2), "own:f: f is a ndarray, and not a number"),
        (lambda *_: {}, "own:f: gives no value"),
    ],
)
def test_what_is_no_metric(function: Any, told: str) -> None:
    with pytest.raises(DataError) as caught:
        own_figures(Metric("own:f", function), {}, LABELS)
    assert told in str(caught.value)

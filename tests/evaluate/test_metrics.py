"""Accuracy figures against numbers worked out by hand, and properties that hold for any scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnx_attnprune.errors import DataError
from onnx_attnprune.evaluate.classification import classify
from onnx_attnprune.evaluate.data import Dataset
from onnx_attnprune.evaluate.metrics import evaluate, scores_of

Array = np.ndarray[Any, Any]


def one_hot(predicted: Sequence[int], classes: int) -> Array:
    return np.eye(classes, dtype=np.float32)[list(predicted)]


def test_by_hand() -> None:
    """Hits per class 2 of 3, 1 of 2, 1 of 2; claims 2, 2, 2; class 3 is predicted once and never a label."""
    labels = np.array([0, 0, 0, 1, 1, 2, 2])
    result = classify(one_hot([0, 0, 1, 1, 2, 2, 3], 4), labels)
    assert (result.n, result.top5) == (7, None)
    assert result.top1 == pytest.approx(4 / 7)
    assert result.precision == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert result.recall == pytest.approx((2 / 3 + 1 / 2 + 1 / 2) / 3)
    assert result.f1 == pytest.approx((4 / 5 + 1 / 2 + 1 / 2) / 3)


def test_a_class_that_is_never_predicted_has_precision_zero() -> None:
    result = classify(one_hot([0, 0, 0, 0], 3), np.array([0, 0, 1, 2]))
    assert result.precision == pytest.approx((1 / 2) / 3)
    assert result.recall == pytest.approx(1 / 3)
    assert result.f1 == pytest.approx((2 / 3) / 3)


def test_top5_starts_at_six_classes() -> None:
    scores = np.array([[6, 5, 4, 3, 2, 1]] * 6, np.float32)
    result = classify(scores, np.arange(6))
    assert (result.top1, result.top5) == (pytest.approx(1 / 6), pytest.approx(5 / 6))
    assert classify(scores[:5, :5], np.arange(5)).top5 is None


def test_ties_go_to_the_lowest_index_as_in_argmax() -> None:
    flat = np.zeros((6, 6), np.float32)
    result = classify(flat, np.arange(6))
    assert (result.top1, result.top5) == (pytest.approx(1 / 6), pytest.approx(5 / 6))


def test_nan_is_wrong() -> None:
    scores = one_hot([0, 1, 0], 6)
    scores[0, 0] = scores[2, 4] = np.nan
    result = classify(scores, np.array([0, 1, 0]))
    assert (result.top1, result.top5) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert result.recall == pytest.approx(1 / 2)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_float_types(dtype: Any) -> None:
    assert classify(one_hot([1, 0], 2).astype(dtype), np.array([1, 1])).top1 == 0.5


@pytest.mark.parametrize(
    ("scores", "labels", "reason"),
    [
        (np.zeros((2, 3)), [0, 3], r"label 3 is out of range: the model tells 3 classes apart \(0 to 2\)"),
        (np.zeros((2, 3)), [0, -1], "label -1 is out of range"),
        (np.zeros((2, 3)), [0], r"scores of shape \[2, 3\] do not fit labels of shape \[1\]"),
        (np.zeros((2, 3, 4)), [0, 1], "do not fit"),
        (np.zeros((0, 3)), [], "no samples"),
    ],
)
def test_what_can_not_be_classified(scores: Array, labels: list[int], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        classify(scores, np.array(labels, dtype=np.int64))


@given(data=st.data(), n=st.integers(1, 20), classes=st.integers(2, 9))
@settings(deadline=None)
def test_properties(data: st.DataObject, n: int, classes: int) -> None:
    scores = data.draw(hnp.arrays(np.float32, (n, classes), elements=st.floats(-4, 4, width=16)))
    labels = data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    result = classify(scores, labels)
    assert result.top1 == pytest.approx(float(np.mean(scores.argmax(axis=1) == labels)))
    if result.top5 is not None:
        by_sort = np.argsort(-scores, axis=1, kind="stable")[:, :5]
        assert result.top5 == pytest.approx(float(np.mean((by_sort == labels[:, None]).any(axis=1))))
        assert result.top1 <= result.top5
    for share in (result.top1, result.precision, result.recall, result.f1):
        assert 0 <= share <= 1
    order = np.random.default_rng(0).permutation(n)
    shuffled = classify(scores[order], labels[order])
    assert shuffled.f1 == pytest.approx(result.f1)
    assert classify(scores * 2, labels) == result
    perfect = classify(one_hot(labels.tolist(), classes), labels)
    assert (perfect.top1, perfect.precision, perfect.recall, perfect.f1) == (1, 1, 1, 1)


def test_scores_are_the_first_output_that_looks_like_it() -> None:
    outputs = {
        "features": np.zeros((4, 3, 2), np.float32),
        "best": np.zeros((4, 5), np.int64),
        "loss": np.zeros((4, 1), np.float32),
        "other batch": np.zeros((3, 5), np.float32),
        "logits": np.zeros((4, 5), np.float32),
        "aux": np.zeros((4, 5), np.float32),
    }
    assert scores_of(outputs, 4) == "logits"
    with pytest.raises(
        DataError, match=r"a float array \[9, classes\]; there is: features float32\[4, 3, 2\], best int64"
    ):
        scores_of(outputs, 9)


class Fake:
    """A session of fixed batch 4 that scores the class in `x` highest and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str] | None] = []

    def run(self, feeds: Mapping[str, Array], output_names: Sequence[str] | None = None) -> dict[str, Array]:
        self.asked.append(output_names)
        x = feeds["x"]
        outputs = {"wide": np.zeros((len(x), 2, 2), np.float32), "scores": one_hot(x.tolist(), 7)}
        return outputs if output_names is None else {name: outputs[name] for name in output_names}


@pytest.mark.parametrize("fixed", [None, 4])
def test_evaluate_drops_the_padding(fixed: int | None) -> None:
    session = Fake()
    x = np.array([0, 1, 2, 3, 4, 5])
    labels = np.array([0, 1, 2, 3, 4, 0])
    result = evaluate(session, Dataset({"x": x}, labels, 6), batch_size=4, fixed_batch=fixed)
    assert result == classify(one_hot(x.tolist(), 7), labels)
    assert session.asked == [None, ["scores"]]


def test_evaluate_needs_labels() -> None:
    with pytest.raises(DataError, match="no array labels"):
        evaluate(Fake(), Dataset({"x": np.arange(2)}, None, 2), batch_size=1)

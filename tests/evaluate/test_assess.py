"""What is measured follows from the labels, and which output from their shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from onnx_attnprune.errors import DataError
from onnx_attnprune.evaluate.classification import Classification, Confusion, Tally, class_rows
from onnx_attnprune.evaluate.data import Dataset
from onnx_attnprune.evaluate.metrics import assess
from onnx_attnprune.evaluate.own import Metric, Own
from onnx_attnprune.evaluate.regression import Regression

Array = np.ndarray[Any, Any]


class Fixed:
    """A session that gives the rows of some outputs which the feed asks for."""

    def __init__(self, **outputs: Array) -> None:
        self.outputs = outputs

    def run(self, feeds: Mapping[str, Array], output_names: Sequence[str] | None = None) -> dict[str, Array]:
        names = list(self.outputs) if output_names is None else output_names
        return {name: self.outputs[name][feeds["x"]] for name in names}


def data(labels: Array | None, size: int = 6) -> Dataset:
    return Dataset({"x": np.arange(size)}, labels, size, "some.npz")


SCORES = np.random.default_rng(0).standard_normal((6, 7)).astype(np.float32)
LABELS = np.array([0, 3, 3, 6, 1, 0])


def test_the_kind_of_labels_decides() -> None:
    session = Fixed(wide=SCORES[:, :4].reshape(6, 2, 2), logits=SCORES, values=SCORES[:, :3].astype(np.float64))
    found = assess(session, data(LABELS), 4)
    assert isinstance(found.figures, Classification)
    assert found.figures.n == 6
    floats = assess(session, data(SCORES[:, :3].astype(np.float64)), 4)
    assert floats.confusion is None
    assert floats.figures == Regression(6, 0.0, 0.0, 1.0)
    with pytest.raises(DataError, match=r"some.npz: has no array labels"):
        assess(session, data(None), 4)


def test_a_metric_sees_everything_at_once() -> None:
    seen: list[Any] = []

    def metric(outputs: Mapping[str, Array], labels: Array) -> float:
        seen.append(({name: array.shape for name, array in outputs.items()}, labels.tolist()))
        return 0.25

    session = Fixed(a=SCORES, b=SCORES[:, :2])
    found = assess(session, data(LABELS), 4, metric=Metric("m:f", metric))
    assert found.figures == Own(6, {"f": 0.25})
    assert seen == [({"a": (6, 7), "b": (6, 2)}, LABELS.tolist())]


def test_a_padded_batch_counts_no_sample_twice() -> None:
    whole = assess(Fixed(y=SCORES), data(LABELS), 6)
    assert assess(Fixed(y=SCORES), data(LABELS), 1, fixed_batch=4) == whole
    labels = SCORES.astype(np.float64) + 1
    assert assess(Fixed(y=SCORES), data(labels), 1, fixed_batch=4).figures.n == 6


def test_confusion() -> None:
    scores = np.eye(4, dtype=np.float32)[[0, 0, 2, 1, 3, 3]]
    scores[5, 0] = np.nan
    found = assess(Fixed(y=scores), data(np.array([0, 1, 2, 1, 2, 3])), 4).confusion
    assert found == Confusion(4, ((0, 0, 1), (1, 0, 1), (1, 1, 1), (2, 2, 1), (2, 3, 1), (3, -1, 1)))
    assert found.matrix().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 1, 1), (6, 1, 1, 7), (6, 1, 7)])
@pytest.mark.parametrize("column", [False, True])
def test_axes_of_size_one_do_not_matter(shape: tuple[int, ...], column: bool) -> None:
    labels = LABELS[:, None] if column else LABELS
    session = Fixed(y=SCORES.reshape(shape))
    assert assess(session, data(labels), 4) == assess(Fixed(y=SCORES), data(LABELS), 4)


def test_a_class_for_every_place() -> None:
    scores = np.random.default_rng(1).standard_normal((2, 7, 3, 4)).astype(np.float32)
    labels = scores.argmax(1)
    labels[0, 0, :2] = 0
    right = float((scores.argmax(1) == labels).mean())
    images = assess(Fixed(y=scores), data(labels, 2), 1).figures
    texts = assess(Fixed(y=np.moveaxis(scores, 1, -1)), data(labels, 2), 1).figures
    chosen = assess(Fixed(y=scores.argmax(1)), data(labels, 2), 1).figures
    assert isinstance(images, Classification)
    assert (images.n, images.top1) == (24, right)
    assert texts == images
    assert chosen.main == right
    assert isinstance(chosen, Classification)
    assert (images.top5 is not None, chosen.top5) == (True, None)


def test_places_and_classes_that_look_alike() -> None:
    with pytest.raises(DataError, match="may be on axis 1 or 2: say how to compare with --metric"):
        class_rows(np.zeros((2, 7, 7), np.float32), np.zeros((2, 7), np.int64))


@pytest.mark.parametrize(
    ("outputs", "labels", "told"),
    [
        (
            SCORES[:, :1],
            LABELS,
            r"of int64\[samples\]: they need the scores of a classifier.* y float32\[4, 1\]",
        ),
        (SCORES > 0, LABELS, "y bool"),
        (
            SCORES,
            LABELS / 2,
            r"a float output of the labels' shape \[samples\] \(labels that are classes are int",
        ),
        (SCORES, LABELS + 1, r"label 7 is out of range: the model tells 7 classes apart"),
        (LABELS, LABELS - 1, "label -1 is out of range: classes count from 0"),
    ],
)
def test_labels_that_no_output_fits(outputs: Array, labels: Array, told: str) -> None:
    with pytest.raises(DataError, match=told):
        assess(Fixed(y=outputs), data(labels), 4)


def test_classes_that_no_label_has() -> None:
    tally = Tally()
    tally.add(np.array([0, 9, 1]), np.array([0, 1, 1]))
    found = tally.figures()
    assert (found.top1, found.recall) == (pytest.approx(2 / 3), pytest.approx(3 / 4))


def test_a_metric_needs_outputs_of_one_shape() -> None:
    class Growing(Fixed):
        def run(self, feeds: Mapping[str, Array], output_names: Sequence[str] | None = None) -> dict[str, Array]:
            return {"y": np.zeros((len(feeds["x"]), 1 + int(feeds["x"][0])))}

    with pytest.raises(DataError, match="different batches have different shapes"):
        assess(Growing(), data(LABELS), 4, metric=Metric("m", lambda *_: 0.0))


def test_what_each_sample_is_worth() -> None:
    rng = np.random.default_rng(2)
    values, labels = rng.standard_normal((6, 3)), rng.standard_normal((6, 3))
    for outputs, truth in ((SCORES, LABELS), (values, labels)):
        found = assess(Fixed(y=outputs.astype(np.float32)), data(truth), 4)
        assert found.each is not None
        assert found.each.shape == (6,)
        assert found.each.mean() == pytest.approx(found.figures.main)
    places = np.array([[0, 1], [1, 1]] * 3)
    scores = np.eye(3, dtype=np.float32)[np.array([[0, 1], [1, 0]] * 3)]
    assert assess(Fixed(y=scores), data(places), 4).each.tolist() == [1.0, 0.5] * 3  # type: ignore[union-attr]  # it is there

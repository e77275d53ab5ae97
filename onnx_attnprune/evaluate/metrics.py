"""Accuracy of a classifier: top-1, top-5, and macro-averaged precision, recall and F1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import DataError
from onnx_attnprune.evaluate.data import Dataset, batches
from onnx_attnprune.evaluate.feeds import is_float
from onnx_attnprune.runtime import Session

Array = NDArray[Any]

_FEWEST_FOR_TOP5 = 6  # with five classes or fewer everything is in the top 5


@dataclass(frozen=True)
class Classification:
    """Shares in [0, 1] over `n` samples; `top5` is None with fewer than six classes.

    Precision, recall and F1 are computed per class and averaged over the classes that occur among the labels, each
    with the same weight; a class that is never predicted has precision 0.
    """

    n: int
    top1: float
    top5: float | None
    precision: float
    recall: float
    f1: float


def classify(scores: Array, labels: Array) -> Classification:
    """Compares `scores` of shape [n, classes], higher is likelier, with integer `labels` of shape [n].

    Among equal scores the class of the lowest index comes first, as in argmax. A sample whose scores hold nan counts
    as wrong. Raises DataError when shapes do not fit, n is 0, or a label has no score.
    """
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise DataError(f"scores of shape {list(scores.shape)} do not fit labels of shape {list(labels.shape)}")
    n, classes = scores.shape
    if n == 0:
        raise DataError("there are no samples to classify")
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        wrong = int(labels.min() if labels.min() < 0 else labels.max())
        raise DataError(f"label {wrong} is out of range: the model tells {classes} classes apart (0 to {classes - 1})")
    ranks, predicted = _rank(scores, labels)
    precision, recall, f1 = _macro(predicted, labels, classes)
    top5 = float(np.mean(ranks < 5)) if classes >= _FEWEST_FOR_TOP5 else None
    return Classification(n, float(np.mean(ranks == 0)), top5, precision, recall, f1)


def _rank(scores: Array, labels: Array) -> tuple[Array, Array]:
    """The place of the right class among the scores (0 is the best), and the predicted class (-1 for nan)."""
    classes = scores.shape[1]
    right = np.take_along_axis(scores, labels[:, None], axis=1)
    before = (scores == right) & (np.arange(classes) < labels[:, None])
    ranks = np.sum((scores > right) | before, axis=1)
    broken = np.isnan(scores).any(axis=1)
    return np.where(broken, classes, ranks), np.where(broken, -1, np.argmax(scores, axis=1))


def _macro(predicted: Array, labels: Array, classes: int) -> tuple[float, float, float]:
    actual = np.bincount(labels, minlength=classes)
    claimed = np.bincount(predicted[predicted >= 0], minlength=classes)
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    occurs = actual > 0
    precision = hits[occurs] / np.maximum(claimed[occurs], 1)
    recall = hits[occurs] / actual[occurs]
    # 2 p r / (p + r), written so that it can't divide by zero
    f1 = 2 * hits[occurs] / (claimed[occurs] + actual[occurs])
    return float(np.mean(precision)), float(np.mean(recall)), float(np.mean(f1))


def scores_of(outputs: Mapping[str, Array], rows: int) -> str:
    """The name of the first output that is float of shape [rows, classes] with two classes or more.

    Raises DataError, with the shapes that are there, if none is.
    """
    for name, array in outputs.items():
        if array.ndim == 2 and array.shape[0] == rows and array.shape[1] > 1 and is_float(array.dtype):
            return name
    there = ", ".join(f"{name} {array.dtype.name}{list(array.shape)}" for name, array in outputs.items())
    raise DataError(f"no output holds the scores of a classifier, a float array [{rows}, classes]; there is: {there}")


def evaluate(session: Session, dataset: Dataset, batch_size: int, fixed_batch: int | None = None) -> Classification:
    """Runs `session` over labelled data, batch by batch (see `batches`), and keeps nothing but the scores.

    Raises DataError when the data has no labels or no output holds scores, ModelError when a run fails.
    """
    if dataset.labels is None:
        raise DataError("the evaluation data has no array labels")
    name: str | None = None
    parts = []
    for batch in batches(dataset, batch_size, fixed_batch):
        outputs = session.run(batch.feeds, None if name is None else [name])
        if name is None:
            name = scores_of(outputs, len(next(iter(batch.feeds.values()))))
        parts.append(outputs[name][: batch.size])
    return classify(np.concatenate(parts), dataset.labels)

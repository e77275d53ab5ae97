"""Accuracy of a classifier: top-1, top-5, macro-averaged precision, recall and F1, and the confusion matrix."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import DataError
from onnx_attnprune.evaluate.feeds import is_float

Array = NDArray[Any]

_FEWEST_FOR_TOP5 = 6  # with five classes or fewer everything is in the top 5
BROKEN = -1  # the class that is predicted by scores that hold nan


@dataclass(frozen=True)
class Classification:
    """Shares in [0, 1] over `n` labels; `top5` is None with fewer than six classes, or where the model gives no scores.

    Precision, recall and F1 are computed per class and averaged over the classes that occur among the labels, each
    with the same weight; a class that is never predicted has precision 0.
    """

    measure: ClassVar[str] = "top-1"
    n: int
    top1: float
    top5: float | None
    precision: float
    recall: float
    f1: float

    @property
    def main(self) -> float:
        """The figure that a largest drop is one of."""
        return self.top1


@dataclass(frozen=True)
class Confusion:
    """How often which class was taken for which: (label, predicted, count), in their order, those that occur.

    predicted is -1 where the scores hold nan.
    """

    classes: int
    cells: tuple[tuple[int, int, int], ...]

    def matrix(self) -> NDArray[np.int64]:
        """The counts [label, predicted]; scores that hold nan are left out."""
        found = np.zeros((self.classes, self.classes), np.int64)
        for label, predicted, count in self.cells:
            if predicted != BROKEN:
                found[label, predicted] = count
        return found


class Tally:
    """Counts right and wrong over batches."""

    def __init__(self) -> None:
        self._n = self._classes = self._top5 = 0
        self._ranked = True
        self._cells: Counter[tuple[int, int]] = Counter()
        self._right: list[Array] = []

    def add(self, outputs: Array, labels: Array) -> None:
        """Compare scores [n, classes, ...] or chosen classes [n, ...] with labels [n, ...].

        Among equal scores the class of the lowest index comes first, as in argmax; scores that hold nan count as wrong.
        Raises DataError when shapes do not fit, or a label has no score.
        """
        found = class_rows(outputs, labels)
        if found is None:
            raise DataError(f"scores of shape {list(outputs.shape)} do not fit labels of shape {list(labels.shape)}")
        scores, flat = found
        if not len(flat):
            return
        if scores.ndim == 1:
            self._ranked, predicted = False, scores.astype(np.int64)
            self._classes = max(self._classes, int(max(predicted.max(), flat.max())) + 1)
            _refuse_unknown(flat, None)
        else:
            self._classes = scores.shape[1]
            _refuse_unknown(flat, self._classes)
            ranks, predicted = _rank(scores, flat)
            self._top5 += int(np.sum(ranks < 5))
        self._n += len(flat)
        self._right.append((predicted == flat).reshape(len(labels), -1).mean(1))
        pairs, counts = np.unique(np.stack([flat, predicted]), axis=1, return_counts=True)
        for label, guess, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
            self._cells[label, guess] += count

    def figures(self) -> Classification:
        """The shares so far. Raises DataError where nothing was compared."""
        if not self._n:
            raise DataError("there are no samples to classify")
        actual, claimed, hits = (np.zeros(self._classes, np.int64) for _ in range(3))
        for (label, guess), count in self._cells.items():
            actual[label] += count
            if 0 <= guess < self._classes:
                claimed[guess] += count
            if label == guess:
                hits[label] += count
        ranked = self._ranked and self._classes >= _FEWEST_FOR_TOP5
        return Classification(
            self._n,
            int(hits.sum()) / self._n,
            self._top5 / self._n if ranked else None,
            *_macro(actual, claimed, hits),
        )

    def each(self) -> Array:
        """The share of right answers of each sample so far."""
        return np.concatenate(self._right)

    def confusion(self) -> Confusion:
        """The confusion matrix so far."""
        cells = sorted((label, guess, count) for (label, guess), count in self._cells.items())
        return Confusion(self._classes, tuple(cells))


def classify(scores: Array, labels: Array) -> Classification:
    """The figures of scores [n, classes] against labels [n] (see `Tally.add`). Raises DataError."""
    tally = Tally()
    tally.add(scores, labels)
    return tally.figures()


def class_scores(array: Array) -> Array | None:
    """A float array as [n, classes], axes of size 1 behind the first left out; None for what is no scores."""
    if not is_float(array.dtype) or array.ndim < 2:
        return None
    sizes = [size for size in array.shape[1:] if size != 1]
    return array.reshape(len(array), sizes[0]) if len(sizes) == 1 else None


def class_rows(outputs: Array, labels: Array) -> tuple[Array, Array] | None:
    """Outputs as scores [rows, classes], or as chosen classes [rows], with the label of each row; None where they don't
    fit. For labels [n, ...] the classes stand on any one axis of the outputs behind the first (images: the second,
    texts: the last).

    Raises DataError where it may be either of two.
    """
    wanted = (len(labels), *(size for size in labels.shape[1:] if size != 1))
    shape = (*outputs.shape[:1], *(size for size in outputs.shape[1:] if size != 1))
    plain = outputs.reshape(shape)
    if not is_float(outputs.dtype):
        fits = np.issubdtype(outputs.dtype, np.integer) and shape == wanted
        return (plain.reshape(-1), labels.reshape(-1)) if fits else None
    axes = [k for k in range(1, len(shape)) if shape[:k] + shape[k + 1 :] == wanted]
    if not axes:
        return None
    if len(axes) > 1:
        raise DataError(
            f"the classes of {list(outputs.shape)} for labels {list(labels.shape)} may be on axis {axes[0]} or "
            f"{axes[1]}: say how to compare with --metric MODULE:FUNCTION"
        )
    return np.moveaxis(plain, axes[0], -1).reshape(-1, shape[axes[0]]), labels.reshape(-1)


def _refuse_unknown(labels: Array, classes: int | None) -> None:
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or (classes is not None and highest >= classes):
        wrong = lowest if lowest < 0 else highest
        known = "" if classes is None else f": the model tells {classes} classes apart (0 to {classes - 1})"
        raise DataError(f"label {wrong} is out of range{known or ': classes count from 0'}")


def _rank(scores: Array, labels: Array) -> tuple[Array, Array]:
    """The place of the right class among the scores (0 is the best), and the predicted class (-1 for nan)."""
    classes = scores.shape[1]
    right = np.take_along_axis(scores, labels[:, None], axis=1)
    before = (scores == right) & (np.arange(classes) < labels[:, None])
    ranks = np.sum((scores > right) | before, axis=1)
    broken = np.isnan(scores).any(axis=1)
    return np.where(broken, classes, ranks), np.where(broken, BROKEN, np.argmax(scores, axis=1))


def _macro(actual: Array, claimed: Array, hits: Array) -> tuple[float, float, float]:
    occurs = actual > 0
    precision = hits[occurs] / np.maximum(claimed[occurs], 1)
    recall = hits[occurs] / actual[occurs]
    # 2 p r / (p + r), written so that it can't divide by zero
    f1 = 2 * hits[occurs] / (claimed[occurs] + actual[occurs])
    return float(np.mean(precision)), float(np.mean(recall)), float(np.mean(f1))

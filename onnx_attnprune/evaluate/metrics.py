"""How good a model is on labelled samples: the kind of the labels says what is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import DataError
from onnx_attnprune.evaluate.classification import Classification, Confusion, Tally, class_rows, class_scores
from onnx_attnprune.evaluate.data import Dataset, batches
from onnx_attnprune.evaluate.feeds import is_float
from onnx_attnprune.evaluate.own import Metric, Own, own_figures
from onnx_attnprune.evaluate.regression import Errors, Regression, fitting

Array = NDArray[Any]

Figures = Classification | Regression | Own


class Runs(Protocol):
    """What is evaluated: a session, or what runs like one."""

    def run(self, feeds: Mapping[str, Array], output_names: Sequence[str] | None = None) -> dict[str, Array]:
        """The outputs by name (all, or those named)."""


@dataclass(frozen=True)
class Assessment:
    """The figures of a model, and for a classifier which classes it takes for which.

    each: what each sample is worth, whose mean is the main figure; None where only all samples together tell it.
    """

    figures: Figures
    confusion: Confusion | None = None
    each: Array | None = field(default=None, compare=False)


def evaluate(
    session: Runs, dataset: Dataset, batch_size: int, fixed_batch: int | None = None, metric: Metric | None = None
) -> Figures:
    """The figures of `assess`."""
    return assess(session, dataset, batch_size, fixed_batch, metric).figures


def assess(
    session: Runs, dataset: Dataset, batch_size: int, fixed_batch: int | None = None, metric: Metric | None = None
) -> Assessment:
    """Run `session` over labelled data, batch by batch (see `batches`), and compare what it gives with the labels.

    With a metric of the user's own that says what is measured, else the labels: integers are classes, floats are
    values. Raises DataError when there are no labels or no output fits them, ModelError when a run fails.
    """
    if dataset.labels is None:
        raise DataError(f"{dataset.source}: has no array labels to compare with")
    if metric is not None:
        outputs, labels = all_outputs(session, dataset, batch_size, fixed_batch), dataset.labels
        return Assessment(own_figures(metric, outputs, labels))
    found: Errors | Tally = Errors(dataset.labels) if is_float(dataset.labels.dtype) else Tally()
    try:
        for scores, labels in _compared(session, dataset, batch_size, fixed_batch):
            found.add(scores, labels)
    except DataError as error:
        raise DataError(f"{dataset.source}: {error}") from error
    if isinstance(found, Errors):
        return Assessment(found.figures(), each=found.each())
    return Assessment(found.figures(), found.confusion(), found.each())


def scores_of(outputs: Mapping[str, Array], rows: int) -> str:
    """The name of the first float output [rows, classes], axes of size 1 left out, with two classes or more.

    Raises DataError, with the shapes that are there, if none is.
    """
    for name, array in outputs.items():
        if len(array) == rows and class_scores(array) is not None:
            return name
    raise DataError(
        f"no output holds the scores of a classifier, a float array [{rows}, classes]; there is: {there(outputs)}"
    )


def _compared(
    session: Runs, dataset: Dataset, batch_size: int, fixed_batch: int | None
) -> Iterator[tuple[Array, Array]]:
    """For each batch what the output that fits the labels holds, and the labels; padding left out."""
    assert dataset.labels is not None
    name: str | None = None
    start = 0
    for batch in batches(dataset, batch_size, fixed_batch):
        outputs = session.run(batch.feeds, None if name is None else [name])
        labels = dataset.labels[start : start + batch.size]
        if name is None:
            outputs = {key: array[: batch.size] for key, array in outputs.items() if array.ndim}
            name = _fitting(outputs, labels)
        yield outputs[name][: batch.size], labels
        start += batch.size


def _fitting(outputs: Mapping[str, Array], labels: Array) -> str:
    """The name of the output that the labels are compared with."""
    if is_float(labels.dtype):
        names = [name for name, array in outputs.items() if fitting(array, labels) is not None]
        wanted = f"a float output of the labels' shape {_samples(labels)} (labels that are classes are integers)"
    else:
        scores = [name for name, array in outputs.items() if is_float(array.dtype) and class_rows(array, labels)]
        names = scores or [name for name, array in outputs.items() if class_rows(array, labels)]
        wanted = f"the scores of a classifier, a float output {_samples(labels, 'classes')}, or its choice, an integer "
        wanted += f"output {_samples(labels)}"
    if names:
        return names[0]
    raise DataError(
        f"no output fits the labels of {labels.dtype.name}{_samples(labels)}: they need {wanted}; there is: "
        f"{there(outputs)} (a function of your own can judge any outputs: --metric MODULE:FUNCTION)"
    )


def all_outputs(session: Runs, dataset: Dataset, batch_size: int, fixed_batch: int | None = None) -> dict[str, Array]:
    """Every output over all samples. Raises DataError where batches give different shapes."""
    parts: dict[str, list[Array]] = {}
    for batch in batches(dataset, batch_size, fixed_batch):
        for name, array in session.run(batch.feeds).items():
            parts.setdefault(name, []).append(array[: batch.size] if array.ndim else array[None])
    try:
        return {name: np.concatenate(found) for name, found in parts.items()}
    except ValueError as error:
        raise DataError("the outputs of different batches have different shapes: no metric can take them") from error


def _samples(labels: Array, more: str = "") -> str:
    return "[" + ", ".join(["samples", *map(str, labels.shape[1:]), *([more] if more else [])]) + "]"


def there(outputs: Mapping[str, Array]) -> str:
    """Outputs with their types and shapes, for an error."""
    return ", ".join(f"{name} {array.dtype.name}{list(array.shape)}" for name, array in outputs.items())

"""Evaluation and calibration data: one array of samples per input and, where there are any, labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import DataError, SettingsError
from onnx_attnprune.evaluate.feeds import InputSpec, is_float
from onnx_attnprune.evaluate.rows import Places, Reordered, Rows, evenly
from onnx_attnprune.evaluate.runs import are_runs, as_runs

Array = NDArray[Any]

LABELS = "labels"


@dataclass(frozen=True)
class Dataset:
    """`feeds[input]` has shape [size, ...] and the input's type. whole: each row is all that one run takes of an input,
    and has no axis of samples beside its own.

    labels: int64 or float64 of shape [size, ...] (of any numeric type for a metric of the user's own), or None.
    source: where the samples are from, as the user gave it. about: what else there is to say of how they were read.
    """

    feeds: Mapping[str, Rows]
    labels: Array | None
    size: int
    source: str = "data"
    about: str = ""
    whole: bool = False

    @property
    def name(self) -> str:
        """The source without the folders in front of it."""
        return Path(self.source).name

    def in_float32(self) -> Dataset:
        """The same samples with float32 for bfloat16."""
        feeds = {n: a.astype(np.float32) if a.dtype.name == "bfloat16" else a for n, a in self.feeds.items()}
        return replace(self, feeds=feeds)

    def part(self, which: slice) -> Dataset:
        """Some of the samples."""
        feeds = {name: rows[which] for name, rows in self.feeds.items()}
        labels = None if self.labels is None else self.labels[which]
        return replace(self, feeds=feeds, labels=labels, size=len(range(*which.indices(self.size))))

    def spread(self) -> Dataset:
        """The same samples in an order of which every part lies evenly spread over all (see `evenly`).

        Files are often sorted, by class or by name: their first samples show nothing of the others.
        """
        return self._at(evenly(self.size))

    def drawn(self, count: int) -> Dataset:
        """At most `count` samples, evenly spread over all, in the order in which they lie here."""
        return self if self.size <= count else self._at(np.sort(evenly(self.size)[:count]))

    def _at(self, places: Places) -> Dataset:
        feeds: dict[str, Rows] = {name: Reordered(rows, places) for name, rows in self.feeds.items()}
        labels = None if self.labels is None else self.labels[places]
        return replace(self, feeds=feeds, labels=labels, size=len(places))

    def run(self, place: int) -> dict[str, Array]:
        """What one run of a dataset of whole runs takes."""
        return {name: np.asarray(np.asarray(rows[place : place + 1])[0]) for name, rows in self.feeds.items()}

    def first(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        """One run of shapes of our choice: as many samples as they say, repeated where there are fewer."""
        return self.run(0) if self.whole else {n: rows(array, shapes[n][0]) for n, array in self.feeds.items()}

    def shape(self, name: str, batch: int) -> tuple[int, ...]:
        """The shape of an input in a run of `batch` samples."""
        given = self.feeds[name].shape[1:]
        return given if self.whole else (batch, *given)


@dataclass(frozen=True)
class Batch:
    """Arrays to feed in one run; only the first `size` rows count, those after them are padding."""

    feeds: dict[str, Array]
    size: int


def gathered(
    arrays: Mapping[str, Array], labels: Array | None, specs: Sequence[InputSpec], source: str, about: str = ""
) -> Dataset:
    """A dataset of the arrays that a model with the inputs `specs` needs, each brought to the type of its input.

    An array is cast to the type of its input when that loses nothing but precision: any real type to a float type, an
    integer type to an integer type that holds all of its values; nothing else is cast to or from a boolean. All sizes
    that the model fixes must agree, except the first: `batches` sees to that one. Arrays of a model whose inputs don't
    all count samples are whole runs (see `runs`).

    Raises DataError, in one line that names the source and the array.
    """
    needed = [spec.name for spec in specs]
    if missing := [name for name in needed if name not in arrays]:
        raise DataError(
            f"{source}: no array {listed(missing)}; the model needs {listed(needed)}, there is {listed(arrays)}"
        )
    if extra := [name for name in arrays if name not in needed]:
        raise DataError(
            f"{source}: the model has no input {listed(extra)}; it needs {listed(needed)} (and may have labels)"
        )
    if are_runs(arrays, specs):
        if labels is not None:
            raise DataError(f"{source}: labels need a first axis that counts samples in every array of inputs")
        runs, size = as_runs(arrays, specs, source)
        cast = {spec.name: _cast(runs[spec.name], spec.dtype, f"{source}: array {spec.name}") for spec in specs}
        return Dataset(cast, None, size, source, about, whole=True)
    feeds = {spec.name: _fit(arrays[spec.name], spec, f"{source}: array {spec.name}") for spec in specs}
    counts = {name: len(array) for name, array in feeds.items()}
    if labels is not None:
        labels = _labels(labels, f"{source}: {LABELS}")
        counts[LABELS] = len(labels)
    if len(set(counts.values())) > 1:
        lengths = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(f"{source}: the arrays have different numbers of samples: {lengths}")
    size = next(iter(counts.values()), 0)
    if size == 0:
        raise DataError(f"{source}: there are no samples")
    return Dataset(feeds, labels, size, source, about)


def _fit(array: Array, spec: InputSpec, told: str) -> Array:
    """`array` in the type of the input, after a look at its shape and values."""
    if spec.shape is not None:
        fixed = zip(array.shape[1:], spec.shape[1:], strict=False)
        if array.ndim != len(spec.shape) or any(isinstance(want, int) and have != want for have, want in fixed):
            expected = ", ".join("?" if not isinstance(size, int) else str(size) for size in spec.shape[1:])
            raise DataError(f"{told} has shape {list(array.shape)}, the model takes [samples, {expected}]")
    elif array.ndim == 0:
        raise DataError(f"{told} is a scalar; its first dimension must count the samples")
    if np.issubdtype(array.dtype, np.floating) and array.size:
        largest = array.max()  # nan, where there is one
        if np.isnan(largest) or np.isposinf(largest):  # a mask may hold -inf
            raise DataError(f"{told} holds {'nan' if np.isnan(largest) else 'infinity'}")
    return _cast(array, spec.dtype, told)


def _cast(array: Array, dtype: np.dtype[Any], told: str) -> Array:
    have = array.dtype
    integer = np.issubdtype(have, np.integer)
    if is_float(dtype) and (integer or have == np.bool_ or np.issubdtype(have, np.floating)):
        with np.errstate(over="ignore"):  # the next lines tell it as an error of the data
            cast = array.astype(dtype, copy=False)
        if np.issubdtype(have, np.floating) and have.itemsize <= dtype.itemsize:
            return cast
        if not np.array_equal(np.isinf(cast), np.isinf(array)):
            raise DataError(f"{told} holds values that {dtype.name} can't hold")
        return cast
    if np.issubdtype(dtype, np.integer) and integer:
        limits = np.iinfo(dtype)
        if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
            raise DataError(f"{told} holds values that {dtype.name} can't hold")
        return array.astype(dtype, copy=False)
    if have == dtype:
        return array
    raise DataError(f"{told} is {have.name}, the model takes {dtype.name}; that is no safe conversion")


def _labels(array: Array, told: str) -> Array:
    if array.ndim == 0 or not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        raise DataError(f"{told}: must be numbers, one row per sample, not {array.dtype.name} of {list(array.shape)}")
    if np.issubdtype(array.dtype, np.complexfloating):
        raise DataError(f"{told}: complex numbers can't be compared with")
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise DataError(f"{told}: hold nan or infinity")
        return array.astype(np.float64)
    return array.astype(np.int64)


def fixed_batch(specs: Sequence[InputSpec], data: Dataset | None) -> int | None:
    """The first size that the inputs fix for some samples, or None where it is free, or where there are none, or whole
    runs. Raises DataError where they fix different ones."""
    if data is None or data.whole:
        return None
    firsts = {spec.shape[0] for spec in specs if spec.shape}
    fixed = {size for size in firsts if isinstance(size, int)}
    if len(fixed) > 1:
        raise DataError(f"the inputs of the model have different first sizes: {listed(map(str, sorted(fixed)))}")
    return next(iter(fixed), None)


def batches(dataset: Dataset, batch_size: int, fixed_batch: int | None = None) -> Iterator[Batch]:
    """The samples in order, `batch_size` at a time, and what is left over as a smaller last batch.

    A model whose first dimension is fixed gets exactly `fixed_batch` rows every time: the last batch is filled up by
    repeating its own rows. Whole runs come one by one. Raises SettingsError for a size below 1.
    """
    if dataset.whole:
        for k in range(dataset.size):
            feeds = dataset.run(k)
            yield Batch(feeds, next((len(a) for a in feeds.values() if a.ndim), 1))
        return
    rows = batch_size if fixed_batch is None else fixed_batch
    if rows < 1:
        raise SettingsError(f"the batch size must be at least 1, not {rows}")
    for start in range(0, dataset.size, rows):
        feeds = {name: np.asarray(array[start : start + rows]) for name, array in dataset.feeds.items()}
        size = min(rows, dataset.size - start)
        if fixed_batch is not None and size < rows:
            feeds = {name: array[np.arange(rows) % size] for name, array in feeds.items()}
        yield Batch(feeds, size)


def rows(samples: Rows, count: int) -> Array:
    """The first samples as an array; where there are fewer, they are repeated."""
    found = np.asarray(samples[:count])
    return found if len(found) == count else found[np.arange(count) % len(found)]


def listed(names: Any) -> str:
    """Names for people."""
    return ", ".join(names) or "none"

"""Samples that a function of the user's own yields."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from onnx_attnprune.errors import DataError
from onnx_attnprune.evaluate.callables import name_of, raising_told
from onnx_attnprune.evaluate.data import Array, Dataset, gathered
from onnx_attnprune.evaluate.feeds import InputSpec
from onnx_attnprune.evaluate.given import array_of, kind_of
from onnx_attnprune.evaluate.runs import are_runs


def load_yielded(
    function: Callable[..., Any], specs: Sequence[InputSpec], *, labelled: bool, most: int | None, name: str = ""
) -> Dataset:
    """The samples that a function yields when it is called without arguments, gathered into arrays.

    It yields feeds, a dict of input name to an array whose first axis counts samples, or, for a model whose inputs
    don't all count samples, what one run takes; with `labelled` pairs (feeds, labels), and without it pairs may come
    too. most: stop asking after so many samples (None: take all that come).
    Raises DataError, in one line that names the function, for anything that does not fit.
    """
    name = name or name_of(function)
    parts: list[dict[str, Array]] = []
    labels: list[Array] = []
    size = 0
    for number, item in enumerate(_items(function, name), 1):
        told = f"{name}: item {number}"
        feeds, label = _split(item, labelled, told, {s.name for s in specs if s.shape == ()})
        if {s.name for s in specs} == set(feeds) and are_runs(feeds, specs):  # the item is what one run takes
            feeds = {key: array[None] for key, array in feeds.items()}
        count = gathered(feeds, label, specs, told).size
        parts.append(feeds)
        if label is not None:
            labels.append(label)
        size += count
        if most is not None and size >= most:
            break
    if not parts:
        raise DataError(f"{name}: yields nothing")
    arrays = {key: _joined([p[key] for p in parts], f"{name}: array {key}") for key in parts[0]}
    found = _joined(labels, f"{name}: labels") if labels else None
    dataset = gathered(arrays, found, specs, name)
    return dataset if most is None else dataset.part(slice(None, most))


def _items(function: Callable[..., Any], name: str) -> Iterator[Any]:
    with raising_told(name):
        found = function()
    if isinstance(found, (str, bytes, Mapping)) or not isinstance(found, Iterable):
        raise DataError(f"{name}: returns {kind_of(found)}, and not something that yields batches")
    with raising_told(name):
        iterator = iter(found)
    while True:
        with raising_told(name):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


def _split(item: Any, labelled: bool, told: str, single: Collection[str]) -> tuple[dict[str, Array], Array | None]:
    """The feeds and, where they are wanted, the labels of one item. single: names of inputs that are one number."""
    pair = isinstance(item, (tuple, list)) and len(item) == 2
    if labelled and not pair:
        raise DataError(f"{told} is {kind_of(item)}; evaluation needs pairs (feeds, labels)")
    feeds = item[0] if pair else item
    if not isinstance(feeds, Mapping):
        raise DataError(f"{told}: the feeds are {kind_of(feeds)}, and not a dict of input name to array")
    return (
        {str(key): array_of(value, f"{told}: array {key}", str(key) in single) for key, value in feeds.items()},
        array_of(item[1], f"{told}: labels") if labelled else None,
    )


def _joined(parts: Sequence[Array], told: str) -> Array:
    try:
        return np.concatenate(parts)
    except ValueError as error:
        shapes = " and ".join(sorted({str(list(p.shape[1:])) for p in parts})[:2])
        raise DataError(f"{told} has samples of different shapes: {shapes}") from error

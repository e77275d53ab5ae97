"""Whole runs: data of models whose inputs don't all count samples on their first axis (a state, a rate, a sequence)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import DataError
from onnx_attnprune.evaluate.feeds import InputSpec

Array = NDArray[Any]


def are_runs(arrays: Mapping[str, Array], specs: Sequence[InputSpec]) -> bool:
    """True where the arrays can't be samples that any number of goes into a run.

    That is so where an input is a single number, where inputs fix different first sizes, and where the batch stands
    behind the first axis of one of them. Where some inputs fix a first size and others leave it free, it is so if an
    array has an axis more than its input (which then counts runs), or another number of rows than the others.
    """
    known = [(s.shape, arrays[s.name]) for s in specs if s.shape is not None]
    if any(not shape for shape, _ in known):
        return True
    firsts = {shape[0] for shape, _ in known}
    fixed = {first for first in firsts if isinstance(first, int)}
    named = {first for first in firsts if isinstance(first, str)}
    if len(fixed) > 1 or any(size in named for shape, _ in known for size in shape[1:]):
        return True
    mixed = len(fixed) == 1 and firsts != fixed
    return mixed and (len({len(a) for _, a in known if a.ndim}) > 1 or any(a.ndim > len(s) for s, a in known))


def as_runs(arrays: Mapping[str, Array], specs: Sequence[InputSpec], source: str) -> tuple[dict[str, Array], int]:
    """Every array with runs on an axis of its own in front, and how many there are.

    An array of the rank of its input is shared by all runs where its first size is the one that the input fixes; where
    that is free or 1 each row is a run. Raises DataError.
    """
    found = {s.name: _in_front(arrays[s.name], s, f"{source}: array {s.name}") for s in specs}
    counts = {name: len(a) for name, a in found.items() if len(a) != 1}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(f"{source}: the arrays have different numbers of runs: {told}")
    size = next(iter(counts.values()), 1)
    return {name: np.broadcast_to(a, (size, *a.shape[1:])) for name, a in found.items()}, size


def _in_front(array: Array, spec: InputSpec, told: str) -> Array:
    stated = spec.shape
    if stated is None:
        raise DataError(f"{told}: the model does not state the rank of that input")
    if array.ndim == len(stated) and stated and array.shape[0] != stated[0]:
        array = array[:, None]  # each row is a run
    elif array.ndim == len(stated):
        array = array[None]
    fixed = zip(array.shape[1:], stated, strict=False)
    if array.ndim != len(stated) + 1 or any(isinstance(want, int) and have != want for have, want in fixed):
        expected = ", ".join("?" if not isinstance(size, int) else str(size) for size in stated)
        raise DataError(
            f"{told} has shape {list(array.shape)} with runs in front, the model takes [{expected}] in a run"
        )
    return array

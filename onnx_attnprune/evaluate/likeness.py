"""How far a network still says what another said: the same choices, or the same values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import DataError
from onnx_attnprune.evaluate.chance import largest
from onnx_attnprune.evaluate.feeds import is_float
from onnx_attnprune.evaluate.metrics import there

Array = NDArray[Any]
Outputs = Mapping[str, Array]

AGREEMENT = "agreement with the original's largest output"
LIKENESS = "R2 against the original's outputs"
LOGS = "R2 against the logarithms of the original's probabilities"
LEAST = 1e-7  # of a probability; smaller ones are rounding in float32
KEPT = 0.97  # of the answers, or of a correlation: what a network that still is of use has in common with another
MOST_CHOICES = 1_000_000  # integers past this are no choice among classes


@dataclass(frozen=True)
class Said:
    """What a network says of samples by one output: of each sample the place of the largest value on the last axis
    (int64, [n] or [n, places]), or its values (float64, [n, ...]) where no choice can be read off them. logs: these are
    the logarithms of probabilities, of which the small ones would not count otherwise."""

    output: str
    labels: Array
    logs: bool = False

    @property
    def chooses(self) -> bool:
        """Whether it is a choice that is compared."""
        return not is_float(self.labels.dtype)


@dataclass(frozen=True)
class Likeness:
    """How like a network is to another: 1 where it says the same. measure: AGREEMENT, LIKENESS or LOGS. each: the share
    of each sample in `main`, which is their mean (None: only all of them together tell it). enough: what `main` is at
    least of a network that still is of use."""

    measure: str
    main: float
    each: Array | None
    enough: float

    @property
    def least(self) -> float | None:
        """What `main` is at least on other samples, in nine cases of ten; None where that is not known."""
        return None if self.each is None else 1 - largest(1 - self.each)

    @property
    def off(self) -> float:
        """How much is missing, 1 being as much as may."""
        return (1 - self.main) / (1 - self.enough) if math.isfinite(self.main) else math.inf


def said(outputs: Outputs, rows: int) -> list[Said]:
    """What outputs over so many samples say, each output that says anything of every sample.

    A float output [n, classes] or [n, places, classes] is a choice where its largest value stands out, and does not
    (nearly) always lie in the same place: an answer that never changes tells nothing of a network. So is an output of
    integers.
    Raises DataError, with the shapes that are there, where no output has anything to compare.
    """
    found = []
    for name, array in outputs.items():
        if not array.ndim or len(array) != rows or not array.size:
            continue
        if _chooses(array):
            found.append(Said(name, _choice(array)))
        elif is_float(array.dtype):
            logs = _probable(array)
            values = _values(array, logs)
            if np.isfinite(values).all() and np.ptp(values, 0).any():
                found.append(Said(name, values, logs))
    if not found:
        raise DataError(f"no output says of each sample something that could be compared; there is: {there(outputs)}")
    return found


def likeness(reference: Sequence[Said], outputs: Outputs) -> Likeness:
    """How like outputs are to what another network said of the same samples: of several outputs the least like one."""
    return max((_alike(one, outputs.get(one.output)) for one in reference), key=lambda found: found.off)


def _alike(one: Said, array: Array | None) -> Likeness:
    count = len(one.labels)
    if one.chooses:
        choice = None if array is None or not array.ndim else _choice(array)
        same = choice == one.labels if choice is not None and choice.shape == one.labels.shape else np.zeros((count, 1))
        each = np.asarray(same, np.float64).reshape(count, -1).mean(1)
        return Likeness(AGREEMENT, float(each.mean()), each, KEPT - 0.5 / one.labels.size)  # nearest to KEPT of so many
    if array is None or array.shape != one.labels.shape:
        each = np.zeros(count)
    else:
        off = ((_values(array, one.logs) - one.labels) ** 2).reshape(count, -1).sum(1)
        each = 1 - count * off / ((one.labels - one.labels.mean(0)) ** 2).sum()
    return Likeness(LOGS if one.logs else LIKENESS, float(each.mean()), each, KEPT**2)


def _probable(array: Array) -> bool:
    """Whether the values on the last axis are probabilities that make one together."""
    if array.shape[-1] < 2 or not (array >= 0).all():
        return False
    return bool(np.allclose(array.astype(np.float64).sum(-1), 1, atol=1e-3))


def _values(array: Array, logs: bool) -> Array:
    values = array.astype(np.float64)
    return np.log(np.maximum(values, LEAST)) if logs else values


def _choice(array: Array) -> Array:
    """The place of the largest value on the last axis, -1 for nan; integers are choices already."""
    if not is_float(array.dtype):
        return array.astype(np.int64)
    return np.where(np.isnan(array).any(-1), -1, array.argmax(-1))


def _chooses(array: Array) -> bool:
    if is_float(array.dtype):
        classes = array.shape[-1]
        if array.ndim not in (2, 3) or classes < 2 or not np.isfinite(array).all():
            return False
        scores = array.reshape(-1, classes).astype(np.float64)
        best = np.partition(scores, -2, axis=-1)
        # About the gap between the two largest of so many normal numbers; a classifier is twice as sure.
        noise = scores.std(axis=-1) / math.sqrt(2 * math.log(classes))
        if np.median(best[:, -1] - best[:, -2] - 2 * noise) <= 0:
            return False
    elif array.dtype.kind not in "iub" or array.min() < 0 or array.max() >= MOST_CHOICES:
        return False
    _, counts = np.unique(_choice(array), return_counts=True)
    return bool(counts.max() < KEPT * counts.sum())

"""How far the outputs of two models are apart, and how far they may be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.evaluate.classification import class_scores
from onnx_attnprune.evaluate.feeds import is_float

Array = NDArray[Any]

TOLERANCE: Mapping[str, float] = MappingProxyType(
    # Of the largest reference value. Two models that are equal on paper differ by rounding alone: removing channels
    # changes the order of the sums. u is the unit roundoff, the relative error of one operation; errors add up over
    # the terms of a sum and the layers of a network, while a wrong cut errs by about as much as the output itself.
    {
        "float64": 1e-9,  # u = 1.1e-16; some 10 million u: room is free here, a mistake is far larger still
        "float32": 1e-3,  # u = 6.0e-8; some 16 000 u, for sums of thousands of terms in a hundred layers
        "float16": 2e-2,  # u = 4.9e-4: some 40 u; kernels sum in float32, each layer rounds once
        "bfloat16": 1e-1,  # u = 3.9e-3: some 25 u, for the same reason
    }
)
_SHARE = 1e-2  # of integers or booleans that may differ: they come from argmax and comparisons, where ties tip over


@dataclass(frozen=True)
class Difference:
    """How one output differs from its reference.

    `max_abs` is the largest |a - b|, `max_rel` that over the largest |a|, `cosine` the similarity of the flattened
    arrays, `sqnr_db` the energy of a over that of a - b in decibels (inf where they are equal). For integers and
    booleans `max_rel` is the share of values that differ. `top1_agreement` is the share of rows with the same largest
    score, for float outputs [n, classes] only (axes of size 1 left out). What can't be compared (another shape or type,
    a missing output, new nan or inf) has `max_abs` and `max_rel` inf, `cosine` 0 and `sqnr_db` -inf. `dtype` is the
    reference's.
    """

    output: str
    dtype: str
    max_abs: float
    max_rel: float
    cosine: float
    sqnr_db: float
    top1_agreement: float | None


def compare(names: Sequence[str], reference: Mapping[str, Array], got: Mapping[str, Array]) -> tuple[Difference, ...]:
    """One Difference per name; `reference` must have all names. Non-finite values that both have are no difference."""
    return tuple(_difference(name, reference[name], got.get(name)) for name in names)


def within(differences: Sequence[Difference], tolerance: float | None = None) -> bool:
    """Whether every `max_rel` is at most `tolerance`, or without one at most what TOLERANCE says of its type.

    Pass the tolerance of the weights' type where it is coarser than that of the outputs. Integers and booleans may
    always differ in 1 % of their places.
    """
    return all(difference.max_rel <= _allowed(difference, tolerance) for difference in differences)


def _allowed(difference: Difference, tolerance: float | None) -> float:
    if difference.dtype not in TOLERANCE:
        return _SHARE
    return TOLERANCE[difference.dtype] if tolerance is None else tolerance


def _difference(name: str, reference: Array, got: Array | None) -> Difference:
    dtype = reference.dtype.name
    incomparable = Difference(name, dtype, math.inf, math.inf, 0.0, -math.inf, None)
    if got is None or got.shape != reference.shape or got.dtype != reference.dtype:
        return incomparable
    if not (is_float(reference.dtype) or reference.dtype.kind in "iub"):
        share = _share(reference, got)  # strings: they have no distance
        return Difference(name, dtype, share, share, 1.0 - share, _decibels(1.0, share), None)
    a, b = reference.astype(np.float64), got.astype(np.float64)
    if not is_float(reference.dtype):
        return Difference(name, dtype, _largest(a - b), _share(reference, got), *_alike(a, b), None)
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(b[finite]).all():
        return incomparable
    scores = [class_scores(array) for array in (reference, got)]
    agreement = None if scores[0] is None or scores[1] is None or not len(a) else _top1(scores[0], scores[1])
    a, b = a[finite], b[finite]
    with np.errstate(over="ignore"):  # the difference of two large float64 may be inf, and then it is
        max_abs = _largest(a - b)
    scale = _largest(a)
    max_rel = max_abs / scale if scale else (math.inf if max_abs else 0.0)
    return Difference(name, dtype, max_abs, max_rel, *_alike(a, b), agreement)


def _largest(array: Array) -> float:
    return float(np.max(np.abs(array), initial=0.0))


def _share(a: Array, b: Array) -> float:
    return float(np.mean(a != b)) if a.size else 0.0


def _top1(a: Array, b: Array) -> float:
    return float(np.mean(np.argmax(a, axis=1) == np.argmax(b, axis=1)))


def _alike(a: Array, b: Array) -> tuple[float, float]:
    """Cosine and signal to noise in decibels; both arrays are scaled first, so that no square overflows or vanishes."""
    scale = max(_largest(a), _largest(b))
    if scale == 0.0:
        return 1.0, math.inf
    a, b = a.ravel() / scale, b.ravel() / scale
    power_a, power_b = float(a @ a), float(b @ b)
    cosine = float(a @ b) / math.sqrt(power_a * power_b) if power_a and power_b else 0.0
    noise = a - b
    return max(-1.0, min(1.0, cosine)), _decibels(power_a, float(noise @ noise))


def _decibels(signal: float, noise: float) -> float:
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal else -math.inf

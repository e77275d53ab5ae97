"""What is known, without data, of how the numbers of a tensor are distributed.

A `Law` gives mean and variance as profiles: arrays of the tensor's rank whose sizes are 1 on every axis along which the
numbers are alike (the batch, space) and whole on the others (channels). nan says that a number is not known; arithmetic
carries it along, so that what rests on an unknown channel is unknown and what does not stays known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LARGEST = 1 << 22  # elements of a profile that is still followed
LARGEST_GRID = 1 << 24  # elements of a table of values that is still kept

# Expectations over a standard normal variable are sums over a fine even grid. The trapezoidal rule is exact to rounding
# for smooth functions under a Gaussian; at a kink, of which activations are full, its error is a hundredth of that of
# Gauss-Hermite nodes of the same cost, because those lie ever farther apart.
GRID: Array = np.linspace(-8.0, 8.0, 257)
WEIGHTS: Array = np.exp(-0.5 * GRID**2)
WEIGHTS /= WEIGHTS.sum()


@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """Mean and variance profiles of a tensor; nan where not known.

    source: the standard normal variables behind it, one an element; tensors of one source are functions of the same
    variables, element by element, those of different ones count as independent. 0: no variables, a constant.
    values: those functions on `GRID`, with a last axis of its length; None where they are mean + sqrt(variance) z.
    """

    mean: Array
    variance: Array
    source: int
    values: Array | None = None

    @property
    def rank(self) -> int:
        """The number of axes."""
        return self.mean.ndim

    def table(self) -> Array:
        """The values on `GRID`, of the profile's shape and one axis more."""
        if self.values is not None:
            return self.values
        mean, sd = np.broadcast_arrays(self.mean, np.sqrt(self.variance))
        return np.asarray(mean[..., None] + sd[..., None] * GRID)


def unknown(rank: int) -> Law:
    """Nothing is known."""
    nothing = np.full((1,) * rank, np.nan)
    return Law(nothing, nothing, 0)


def constant(array: Array) -> Law:
    """Exactly these numbers."""
    return Law(array, np.zeros((1,) * array.ndim), 0)


def is_fixed(law: Law) -> bool:
    """True where no number varies."""
    return law.source == 0 and not np.isnan(law.variance).any()


def tabled(values: Array, source: int) -> Law:
    """The law of functions of standard normal variables, from their values on `GRID` (last axis)."""
    values = np.where(np.isfinite(values).all(-1, keepdims=True), values, np.nan)
    first = values[..., 0]
    still = (values == first[..., None]).all(-1)  # exact, where a sum of weights would leave rounding
    mean = np.where(still, first, values @ WEIGHTS)
    variance = np.where(still, 0.0, (values - mean[..., None]) ** 2 @ WEIGHTS)
    return Law(mean, variance, source, values if values.size <= LARGEST_GRID else None)


def pointwise(law: Law, function: Callable[[Array], Array]) -> Law:
    """The law of a function of every number by itself; `function` takes and gives arrays with a last axis more."""
    if law.mean.size * GRID.size > LARGEST_GRID and not is_fixed(law):
        return unknown(law.rank)
    if np.isnan(law.mean + law.variance).all():  # no number to work on
        nothing = law.mean + law.variance
        return Law(nothing, nothing, law.source)
    with np.errstate(all="ignore"):  # what is not finite becomes unknown
        if is_fixed(law):
            result = function(law.mean[..., None])[..., 0]
            return constant(np.where(np.isfinite(result), result, np.nan))
        return tabled(function(law.table()), law.source)


def rectified(law: Law) -> Law:
    """The law after max(0, x): for a normal x, m = mean Φ(mean/sd) + sd φ(mean/sd)."""
    result = pointwise(law, lambda x: np.maximum(x, 0.0))
    if law.values is not None or is_fixed(law):
        return result
    mean, variance = np.broadcast_arrays(law.mean, law.variance)
    sd = np.sqrt(variance)
    if np.isnan(result.mean).all():
        return result
    with np.errstate(all="ignore"):  # no spread: replaced below
        z = mean / sd
        density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
        below = normal_cdf(z)
        first = mean * below + sd * density
        second = (mean**2 + variance) * below + mean * sd * density - first**2
    still = result.variance == 0
    return Law(
        np.where(still, result.mean, first),
        np.where(still, 0.0, np.maximum(second, 0.0)),
        law.source,
        result.values,
    )


_erf = np.frompyfunc(math.erf, 1, 1)


def erf(x: Array) -> Array:
    """The error function, element by element."""
    return np.asarray(_erf(x)).astype(np.float64)


def normal_cdf(z: Array) -> Array:
    """Φ(z)."""
    return 0.5 * (1.0 + erf(z / math.sqrt(2.0)))


def largest_of(n: int) -> float:
    """The mean of the largest of n independent standard normal variables."""
    below = np.cumsum(WEIGHTS) - 0.5 * WEIGHTS
    density = n * WEIGHTS * below ** (n - 1)
    return float(density @ GRID / density.sum())


def combined(one: Law, other: Law, function: Callable[[Array, Array], Array]) -> Law | None:
    """The law of a function of two tensors, element by element; None where they are of different sources."""
    sources = {law.source for law in (one, other) if not is_fixed(law)}
    if len(sources) > 1:
        return None
    with np.errstate(all="ignore"):  # what is not finite becomes unknown
        if not sources:
            result = function(one.mean, other.mean)
            return constant(np.where(np.isfinite(result), result, np.nan))
        size = math.prod(np.broadcast_shapes(one.mean.shape, other.mean.shape)) * GRID.size
        if size > LARGEST_GRID:
            return unknown(max(one.rank, other.rank))
        # Fewer axes are laid over the last ones, so the axis of the grid has to stay the last of all.
        return tabled(function(one.table(), other.table()), sources.pop())


def along(profile: Array, axis: int, size: int) -> Array:
    """A profile averaged over all axes but one: `size` numbers."""
    axis %= profile.ndim
    others = tuple(k for k in range(profile.ndim) if k != axis)
    return np.broadcast_to(profile.mean(axis=others), (size,))


def contracted(weights: Array, x: Array) -> Array:
    """sum_i weights[g, o, i] x[g, i], as [g, o]; unknown only where an unknown number has a weight that is not zero."""
    lost = np.isnan(x)
    total = np.matmul(weights, np.where(lost, 0.0, x)[..., None])[..., 0]
    if not lost.any():
        return np.asarray(total)
    return np.where(np.matmul((weights != 0).astype(np.float64), lost[..., None])[..., 0] > 0, np.nan, total)


# ---------------------------------------------------------------- other layouts
def relaid(profile: Array, before: Sequence[int], after: Sequence[int], late: Sequence[bool]) -> Array | None:
    """The profile of a tensor that is reshaped from the sizes `before` to `after`.

    late: axes of `before` whose size is known only at run time. None where the new profile can't be told.
    """
    wide: list[int] = []
    shape: list[int] = []
    for old, new in _aligned(before, after):
        if all(profile.shape[k] == 1 for k in old):
            wide.extend(1 for _ in old)
            shape.extend(1 for _ in new)
        elif any(late[k] for k in old):
            return None
        else:
            wide.extend(before[k] for k in old)
            shape.extend(after[k] for k in new)
    if math.prod(wide) > LARGEST or math.prod(wide) != math.prod(shape):
        return None
    return np.broadcast_to(profile, wide).reshape(shape)


def _aligned(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[range, range]]:
    """The shortest runs of axes on both sides that hold the same numbers."""
    i = j = 0
    while i < len(before) or j < len(after):
        a, b = i, j
        i, j = min(i + 1, len(before)), min(j + 1, len(after))
        while True:
            p, q = math.prod(before[a:i]), math.prod(after[b:j])
            if p < q and i < len(before):
                i += 1
            elif q < p and j < len(after):
                j += 1
            else:
                break
        yield range(a, i), range(b, j)


def joined(parts: Sequence[Array], sizes: Sequence[int], axis: int) -> Array | None:
    """Profiles one behind the other; None where that would be too large."""
    shape = np.broadcast_shapes(*(tuple(1 if k == axis else d for k, d in enumerate(p.shape)) for p in parts))
    if math.prod(shape) * sum(sizes) > LARGEST:
        return None
    wide = [np.broadcast_to(p, (*shape[:axis], size, *shape[axis + 1 :])) for p, size in zip(parts, sizes, strict=True)]
    return np.concatenate(wide, axis)


def cut_at(profile: Array, sizes: Sequence[int], axis: int) -> list[Array]:
    """A profile in parts along an axis."""
    if profile.shape[axis] == 1:
        return [profile for _ in sizes]
    return np.split(profile, list(itertools.accumulate(sizes))[:-1], axis)

"""Solves for, and inverses of, symmetric matrices without negative directions, as covariances are: a Cholesky
factorisation takes half the products of the one that NumPy's `solve` and `inv` make for any matrix."""

from __future__ import annotations

import numpy as np

from onnx_attnprune.recovery.forms import Array

BLOCK = 256  # columns of the factor that are solved for at once


def solved(system: Array, wanted: Array) -> Array:
    """The matrix [columns, outputs] that `system` [columns, columns], which is symmetric, turns into `wanted`.

    Where rounding has left it with a direction that is not positive, it is solved as any other matrix is. Raises
    numpy.linalg.LinAlgError for one that has no inverse.
    """
    try:
        lower = np.linalg.cholesky(system.T)  # NumPy copies it by columns, which so lie one behind the other
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.solve(system, wanted))
    # NumPy has no substitution: blocks on the diagonal are inverted, all else are products.
    found: Array = wanted.copy()
    blocks = [slice(start, start + BLOCK) for start in range(0, len(lower), BLOCK)]
    inverses = [np.linalg.inv(lower[block, block]) for block in blocks]
    for block, inverse in zip(blocks, inverses, strict=True):
        found[block] = inverse @ (found[block] - lower[block, : block.start] @ found[: block.start])
    for block, inverse in zip(reversed(blocks), reversed(inverses), strict=True):
        found[block] = inverse.T @ (found[block] - lower[block.stop :, block].T @ found[block.stop :])
    return found


def inverted(system: Array) -> Array:
    """The inverse of a matrix [columns, columns] like that of `solved`; raises as that does."""
    try:
        lower = np.linalg.cholesky(system.T)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.inv(system))
    # Not by the inverse of one half and the other's Schur complement: that loses twice the digits.
    back, found = np.zeros_like(system), np.empty_like(system)
    blocks = [slice(start, start + BLOCK) for start in range(0, len(lower), BLOCK)]
    for block in blocks:
        done = slice(block.start)
        back[block, block] = np.linalg.inv(lower[block, block])
        back[block, done] = -back[block, block] @ (lower[block, done] @ back[done, done])
    for block in blocks:  # of the product with the transpose, one half
        rows = back[block.start :]
        found[block, : block.stop] = rows[:, block].T @ rows[:, : block.stop]
        found[: block.start, block] = found[block, : block.start].T
    return found

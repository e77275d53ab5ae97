"""Arrays as a user hands them in: NumPy's, those of other libraries, nested lists."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnx_attnprune.errors import DataError
from onnx_attnprune.evaluate.rows import Array


def array_of(value: Any, told: str, single: bool = False) -> Array:
    """A value as an array of numbers whose first axis counts samples.

    single: it may be one number. told: what to call it. Raises DataError.
    """
    try:
        array = np.asarray(value)
    except Exception as error:  # a tensor on a GPU, say, whose library raises what it likes
        raise DataError(f"{told} is no array: {error}") from error
    if array.dtype == object:
        raise DataError(f"{told} is no array of numbers but {kind_of(value)}")
    if array.ndim == 0 and not single:
        raise DataError(f"{told} is a single number; its first axis must count the samples")
    return array


def kind_of(value: Any) -> str:
    """What a value is, for people."""
    return f"a {type(value).__name__}" if value is not None else "None"

"""Shape arithmetic: what is known of the numbers in a small tensor, and what each of them would be after a cut.

An element is a plain number, or a `Term`: the size of an axis, or arithmetic on such sizes. `value` is what it is now;
`after` what it will be once channels are gone. A term is dynamic where it rests on a size known only at run time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import Axis, BoolArray, Space

Number = int | float | bool
Values = NDArray[Any]  # of objects: numbers and terms
FLOATS = {1, 10, 11, 16}  # the element types
LARGEST = 4096  # elements of an integer tensor that are followed one by one


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """A number that rests on the sizes of axes: of one (`axis`), or through `fn` of other numbers and terms."""

    value: Number
    dynamic: bool
    axis: Axis | None = None
    fn: Callable[..., Number] | None = None
    args: tuple[Any, ...] = ()

    def axes(self) -> Iterator[Axis]:
        """Every axis whose size it rests on."""
        if self.axis is not None:
            yield self.axis
        for arg in self.args:
            if isinstance(arg, Term):
                yield from arg.axes()


def size_of(space: Space, axis: Axis) -> Number | Term:
    """The size of an axis as an element: a plain number where no cut and no input can change it."""
    if not space.is_dynamic(axis) and space.is_kept(axis):
        return axis.size
    return Term(axis.size, space.is_dynamic(axis), axis)


def now(element: Any) -> Any:
    """What an element is before any cut."""
    return element.value if isinstance(element, Term) else element


def after(element: Any, space: Space, alive: Mapping[int, BoolArray]) -> Number:
    """What an element will be once only the channels `alive` are left."""
    if not isinstance(element, Term):
        return element  # type: ignore[no-any-return]  # a plain number of an object array
    if element.axis is not None:
        return space.size(element.axis, alive)
    assert element.fn is not None
    return element.fn(*(after(a, space, alive) for a in element.args))


def apply(fn: Callable[..., Number], *args: Any) -> Any:
    """`fn` of elements: a number where all of them are numbers, else a term."""
    terms = [a for a in args if isinstance(a, Term)]
    if not terms:
        return fn(*args)
    return Term(fn(*map(now, args)), any(t.dynamic for t in terms), None, fn, args)


def elementwise(fn: Callable[..., Number], *arrays: Values) -> Values:
    """`fn` of elements, broadcast as numpy does."""
    mapped = np.frompyfunc(lambda *args: apply(fn, *args), len(arrays), 1)(*arrays)
    return as_values(mapped)


def as_values(array: Any) -> Values:
    """An object array of plain Python numbers (or of terms, untouched)."""
    if isinstance(array, np.ndarray) and array.dtype == object:
        return array
    if isinstance(array, Term):
        out = np.empty((), object)
        out[()] = array
        return out
    return np.asarray(array).astype(object)


def numbers(values: Values) -> NDArray[Any]:
    """The numbers as they are before any cut, as a plain array."""
    flat = [now(v) for v in values.reshape(-1)]
    return np.array(flat).reshape(values.shape) if flat else np.zeros(values.shape, np.int64)


def terms(values: Values) -> list[Term]:
    """The elements that are no plain numbers."""
    return [v for v in values.reshape(-1) if isinstance(v, Term)]


def truncated_quotient(a: Number, b: Number) -> Number:
    """Integer division as ONNX defines it, towards zero."""
    quotient = abs(a) // abs(b)
    return quotient if (a >= 0) == (b >= 0) else -quotient


def is_close_to_integer(x: Number) -> bool:
    """True where a float that came from sizes stands for an integer."""
    return math.isfinite(x) and abs(x - round(x)) < 1e-6

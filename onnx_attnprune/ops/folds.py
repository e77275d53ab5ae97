"""Arithmetic on small integer tensors whose elements are numbers or sizes of axes (`values.py`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnx_attnprune.graph import Node
from onnx_attnprune.ops.values import (
    FLOATS,
    LARGEST,
    Values,
    apply,
    as_values,
    elementwise,
    numbers,
    terms,
    truncated_quotient,
)

Fold = Callable[[Node, Sequence[Values], int], Values | tuple[Values, ...] | None]
FOLDS: dict[str, Fold] = {}


def fold(*ops: str) -> Callable[[Fold], Fold]:
    """Register the arithmetic of operators. Raises ValueError for one that has some."""

    def register(fn: Fold) -> Fold:
        for op in ops:
            if op in FOLDS:
                raise ValueError(f"{op} is folded already")
            FOLDS[op] = fn
        return fn

    return register


def _pointwise(fn: Callable[..., Any]) -> Fold:
    def folded(node: Node, xs: Sequence[Values], dtype: int) -> Values | None:
        return elementwise(fn, *xs)

    return folded


def _maximum(*args: Any) -> Any:
    return max(args)


def _minimum(*args: Any) -> Any:
    return min(args)


POINTWISE: dict[str, Callable[..., Any]] = {
    "Identity": lambda a: a, "Add": lambda a, b: a + b, "Sub": lambda a, b: a - b, "Mul": lambda a, b: a * b,
    "Neg": lambda a: -a, "Abs": abs, "Floor": lambda a: float(math.floor(a)), "Ceil": lambda a: float(math.ceil(a)),
    "Round": lambda a: float(round(a)), "Sqrt": math.sqrt, "Pow": lambda a, b: a**b, "Max": _maximum, "Min": _minimum,
    "Equal": lambda a, b: a == b, "Greater": lambda a, b: a > b, "Less": lambda a, b: a < b,
    "GreaterOrEqual": lambda a, b: a >= b, "LessOrEqual": lambda a, b: a <= b, "Not": lambda a: not a,
    "And": lambda a, b: a and b, "Or": lambda a, b: a or b, "Where": lambda c, a, b: a if c else b,
    "Mod": lambda a, b: a % b, "Reciprocal": lambda a: 1.0 / a,
}  # fmt: skip  # a table
for _name, _fn in POINTWISE.items():
    fold(_name)(_pointwise(_fn))


@fold("Div")
def _div(node: Node, xs: Sequence[Values], dtype: int) -> Values | None:
    return elementwise((lambda a, b: a / b) if dtype in FLOATS else truncated_quotient, *xs)


@fold("Cast")
def _cast(node: Node, xs: Sequence[Values], dtype: int) -> Values | None:
    to = int(node.attr("to"))
    kind: Callable[..., Any] = float if to in FLOATS else bool if to == 9 else int
    return elementwise(kind, xs[0])


@fold("Concat")
def _concat(node: Node, xs: Sequence[Values], dtype: int) -> Values | None:
    return np.concatenate(xs, axis=int(node.attr("axis", 0)))


@fold("Gather")
def _gather(node: Node, xs: Sequence[Values], dtype: int) -> Values | None:
    if terms(xs[1]):
        return None
    return as_values(np.take(xs[0], numbers(xs[1]).astype(np.int64), axis=int(node.attr("axis", 0))))


@fold("Split")
def _split(node: Node, xs: Sequence[Values], dtype: int) -> tuple[Values, ...] | None:
    given = numbers(xs[1]).astype(np.int64).tolist() if len(xs) > 1 and not terms(xs[1]) else node.attr("split")
    axis, count = int(node.attr("axis", 0)), len(node.outputs)
    if len(xs) > 1 and terms(xs[1]):
        return None
    step = -(-xs[0].shape[axis] // count)
    bounds = np.cumsum(given or [step] * count)[:-1]
    return tuple(np.split(xs[0], bounds.tolist(), axis=axis))


@fold("Slice")
def _slice(node: Node, xs: Sequence[Values], dtype: int) -> Values | None:
    given = xs[1:] or [as_values(np.asarray(node.attr(k))) for k in ("starts", "ends", "axes") if node.attr(k)]
    if any(terms(v) for v in given):
        return None
    starts, ends, *more = (numbers(v).astype(np.int64).tolist() for v in given)
    axes = more[0] if more else range(len(starts))
    steps = more[1] if len(more) > 1 else [1] * len(starts)
    out = xs[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = out.shape[axis]
        part = slice(start, end if step > 0 or end >= -size else None, step)
        out = out[tuple(part if k == axis % out.ndim else slice(None) for k in range(out.ndim))]
    return out


@fold("Squeeze", "Unsqueeze", "Reshape", "Transpose", "Flatten")
def _relaid(node: Node, xs: Sequence[Values], dtype: int) -> Values | None:
    given = xs[1] if len(xs) > 1 else None
    if given is not None and terms(given):
        return None
    listed = tuple(numbers(given).reshape(-1).tolist()) if given is not None else node.attr("axes")
    if node.op == "Squeeze":
        return as_values(np.squeeze(xs[0], axis=None if listed is None else tuple(int(k) for k in listed)))
    if node.op == "Unsqueeze":
        return np.expand_dims(xs[0], tuple(int(k) for k in listed or ()))
    if node.op == "Reshape":
        shape = [xs[0].shape[k] if s == 0 else int(s) for k, s in enumerate(listed or node.attr("shape") or ())]
        return xs[0].reshape(shape)
    return np.transpose(xs[0], node.attr("perm")) if node.op == "Transpose" else None


@fold("ConstantOfShape")
def _constant_of_shape(node: Node, xs: Sequence[Values], dtype: int) -> Values | None:
    if terms(xs[0]) or xs[0].size > 1:
        return None
    fill = node.attr("value")
    if fill is None or fill.data_type in FLOATS:
        return None
    from onnx.numpy_helper import to_array

    return as_values(np.full([int(s) for s in xs[0]], to_array(fill).reshape(-1)[0]))


@fold("Expand")
def _expand(node: Node, xs: Sequence[Values], dtype: int) -> Values | None:
    if terms(xs[1]) or xs[1].size > 1:
        return None
    shape = np.broadcast_shapes(xs[0].shape, tuple(int(s) for s in xs[1]))
    return np.array(np.broadcast_to(xs[0], shape))


@fold("Range")
def _range(node: Node, xs: Sequence[Values], dtype: int) -> Values | None:
    if any(terms(x) for x in xs):
        return None
    start, limit, delta = (numbers(x).reshape(-1)[0] for x in xs)
    found = np.arange(start, limit, delta)
    return as_values(found) if found.size <= LARGEST else None


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceProd": lambda a, b: a * b, "ReduceSum": lambda a, b: a + b, "ReduceMax": _maximum, "ReduceMin": _minimum,
}  # fmt: skip  # a table


@fold(*REDUCTIONS)
def _reduce(node: Node, xs: Sequence[Values], dtype: int) -> Values | None:
    if xs[0].ndim != 1:
        return None
    combine = REDUCTIONS[node.op]
    flat = list(xs[0])
    total = flat[0] if flat else 1
    for element in flat[1:]:
        total = apply(combine, total, element)
    out = as_values(total)
    return out.reshape(1) if node.attr("keepdims", 1) else out.reshape(())

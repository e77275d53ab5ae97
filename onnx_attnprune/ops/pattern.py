"""Einops-like patterns over axes: parse once, solve the sizes, tie the trees."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from onnx_attnprune.axes import Axis, Space, product
from onnx_attnprune.errors import AxisError

REST = "..."


@dataclass(frozen=True, slots=True)
class Pattern:
    """Operands and result as lists of axes; an axis is a tuple of names, outermost first, `...` stands alone."""

    operands: tuple[tuple[tuple[str, ...], ...], ...]
    result: tuple[tuple[str, ...], ...]


@cache
def parse(text: str) -> Pattern:
    """A pattern from its text. Raises ValueError for one that is not well formed (an error in a rule)."""
    left, arrow, right = text.partition("->")
    pattern = Pattern(tuple(_axes(part, text) for part in left.split(",")), _axes(right, text) if arrow else ())
    names = {name for operand in pattern.operands for axis in operand for name in axis}
    unknown = {name for axis in pattern.result for name in axis} - names
    if unknown:
        raise ValueError(f"{text!r}: {sorted(unknown)} of the result stand in no operand")
    return pattern


def _axes(text: str, whole: str) -> tuple[tuple[str, ...], ...]:
    found = re.findall(r"\([^()]*\)|\.\.\.|\w+|\S", text)
    axes = []
    for token in found:
        names = tuple(token.strip("()").split()) if token.startswith("(") else (token,)
        if not all(name == REST or name.isidentifier() for name in names) or not names:
            raise ValueError(f"{whole!r}: {token!r} is no axis")
        axes.append(names)
    if axes.count((REST,)) > 1:
        raise ValueError(f"{whole!r}: more than one '...' in one operand")
    return tuple(axes)


def solve(
    space: Space, text: str, operands: Sequence[Sequence[Axis] | None], known: Mapping[str, int]
) -> tuple[dict[str, Axis], tuple[Axis, ...]]:
    """Tie operands by a pattern; the axis of each name, and the axes of the result (`...` of the result left out).

    Raises AxisError where ranks or sizes contradict the pattern.
    """
    pattern = parse(text)
    pairs: list[tuple[tuple[str, ...], Axis]] = []
    for operand, axes in zip(pattern.operands, operands, strict=True):
        if axes is not None:
            pairs.extend(_pair(operand, axes, text, operands))
    axis: dict[str, Axis] = {name: space.var(size) for name, size in known.items()}
    for names, one in pairs:
        if len(names) == 1:
            axis.setdefault(names[0], one)
    try:
        _solve_products(space, pairs, axis)
        for names, one in pairs:
            space.tie(product([axis[name] for name in names]), one)
    except AxisError as error:
        raise AxisError(f"{text!r} does not fit the shapes {_shapes(operands)}: {error}") from None
    missing = [n for a in pattern.result for n in a if n != REST and n not in axis]
    if missing:
        raise AxisError(f"{text!r}: an operand that gives {missing} is missing")
    return axis, tuple(product([axis[n] for n in names]) for names in pattern.result if names != (REST,))


def _solve_products(space: Space, pairs: Sequence[tuple[tuple[str, ...], Axis]], axis: dict[str, Axis]) -> None:
    for names, one in sorted(pairs, key=lambda pair: sum(n not in axis for n in pair[0])):
        free = [n for n in names if n not in axis]
        if not free:
            continue
        rest = product([axis[n] for n in names if n in axis]).size
        if len(free) > 1 or one.size % rest:
            raise AxisError(f"a size of {one.size} is no product of {' and '.join(names)} with a known size of {rest}")
        axis[free[0]] = space.var(one.size // rest)


def _pair(
    names: tuple[tuple[str, ...], ...], axes: Sequence[Axis], text: str, operands: Sequence[Sequence[Axis] | None]
) -> list[tuple[tuple[str, ...], Axis]]:
    fixed = len([n for n in names if n != (REST,)])
    if len(axes) < fixed or (len(axes) > fixed and (REST,) not in names):
        raise AxisError(f"{text!r} does not fit the shapes {_shapes(operands)}: a rank of {len(axes)}")
    if (REST,) not in names:
        return list(zip(names, axes, strict=True))
    at = names.index((REST,))
    tail = len(names) - at - 1
    front = list(zip(names[:at], axes[:at], strict=True))
    return front + (list(zip(names[at + 1 :], axes[-tail:], strict=True)) if tail else [])


def _shapes(operands: Sequence[Sequence[Axis] | None]) -> str:
    return ", ".join("missing" if o is None else "x".join(str(a.size) for a in o) or "scalar" for o in operands)

"""Trees of dimension variables: what an axis is, without any relation to others."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an axis must survive whole: in plain words, with the node that says so."""

    why: str
    node: str = ""
    op: str = ""


@dataclass(frozen=True, slots=True)
class Var:
    """A set of `size` channels that live and die one by one, each in every tensor that the variable reaches.

    `dynamic`: the size is a stand-in for one that is known only at run time.
    """

    id: int
    size: int
    dynamic: bool = False

    def __hash__(self) -> int:
        return self.id


@dataclass(frozen=True, slots=True)
class Product:
    """All combinations of the parts' channels, outermost first: index = (i0 * size1 + i1) * size2 + i2."""

    parts: tuple[Axis, ...]
    size: int = field(compare=False)
    ids: frozenset[int] = field(compare=False, repr=False)

    def __hash__(self) -> int:
        return hash(self.ids)  # which a frozenset works out once; large trees are keys of dictionaries


@dataclass(frozen=True, slots=True)
class Concat:
    """The parts' channels one behind the other."""

    parts: tuple[Axis, ...]
    size: int = field(compare=False)
    ids: frozenset[int] = field(compare=False, repr=False)

    def __hash__(self) -> int:
        return hash(self.ids)


@dataclass(frozen=True, slots=True)
class Pick:
    """Channel `indices[k]` of `source` at place k; repeats and any order are allowed."""

    source: Axis
    indices: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.indices)

    @property
    def ids(self) -> frozenset[int]:
        return frozenset((*ids_of(self.source), PICKED))


Axis = Var | Product | Concat | Pick
ONE = Var(0, 1)
EMPTY = Var(-1, 0)
PICKED = -2  # among the ids of the variables of a tree: there is a `Pick` in it


def product(parts: Iterable[Axis]) -> Axis:
    """The product of axes; nested products are flattened and factors that are always 1 dropped."""
    flat: list[Axis] = []
    for part in parts:
        if part.size != 1 or part != ONE:
            flat.extend(part.parts if isinstance(part, Product) else (part,))
    if len(flat) < 2:
        return flat[0] if flat else ONE
    return Product(tuple(flat), math.prod([p.size for p in flat]), ids_of_all(flat))


def concat(parts: Iterable[Axis]) -> Axis:
    """The concatenation of axes; nested ones are flattened and parts of size 0 dropped."""
    flat: list[Axis] = []
    for part in parts:
        if part.size:
            flat.extend(part.parts if isinstance(part, Concat) else (part,))
    if len(flat) < 2:
        return flat[0] if flat else EMPTY
    return Concat(tuple(flat), sum([p.size for p in flat]), ids_of_all(flat))


def ids_of_all(parts: Iterable[Axis]) -> frozenset[int]:
    """The ids of the variables of several trees."""
    return frozenset().union(*[(p.id,) if isinstance(p, Var) else p.ids for p in parts])


def ids_of(axis: Axis) -> Collection[int]:
    """The ids of the variables of a tree, and `PICKED` where channels are picked from one."""
    return (axis.id,) if isinstance(axis, Var) else axis.ids


def leaves(axis: Axis) -> Sequence[Var]:
    """The variables of a tree, repeats included."""
    if isinstance(axis, Var):
        return (axis,)
    if isinstance(axis, Pick):
        return leaves(axis.source)
    found: list[Var] = []
    for part in axis.parts:
        found.extend(leaves(part))
    return found


def mask_of(axis: Axis, alive: Mapping[int, BoolArray]) -> BoolArray:
    """Which positions of an axis are left, [size], under masks by variable id (all of a variable without one)."""
    if isinstance(axis, Var):
        found = alive.get(axis.id)
        return np.ones(axis.size, bool) if found is None else found
    if isinstance(axis, Pick):
        return mask_of(axis.source, alive)[list(axis.indices)]
    masks = [mask_of(p, alive) for p in axis.parts]
    if isinstance(axis, Concat):
        return np.concatenate(masks)
    whole = masks[0]
    for m in masks[1:]:
        whole = np.logical_and.outer(whole, m).reshape(-1)
    return whole


def count_of(axis: Axis, alive: Mapping[int, BoolArray]) -> int:
    """How many positions of an axis are left: the number of true ones of `mask_of`, which is made for picks only."""
    if isinstance(axis, Var):
        found = alive.get(axis.id)
        return axis.size if found is None else int(np.count_nonzero(found))
    if isinstance(axis, Pick):
        return int(np.count_nonzero(mask_of(axis, alive)))
    if alive.keys().isdisjoint(axis.ids):
        return axis.size
    counts = [count_of(p, alive) for p in axis.parts]
    return math.prod(counts) if isinstance(axis, Product) else sum(counts)


def selection_of(axis: Axis) -> tuple[Var, tuple[int, ...]] | None:
    """A variable, or channels picked from one; None for anything else."""
    if isinstance(axis, Var):
        return axis, tuple(range(axis.size))
    if isinstance(axis, Pick) and isinstance(axis.source, Var) and axis.source != ONE:
        return axis.source, axis.indices
    return None


def runs_of(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(start, stop) of each ascending run in a sequence of indices."""
    start = previous = None
    for i in indices:
        if previous is None or i != previous + 1:
            if start is not None and previous is not None:
                yield start, previous + 1
            start = i
        previous = i
    if start is not None and previous is not None:
        yield start, previous + 1


def pick_of(source: Axis, indices: tuple[int, ...]) -> Axis:
    """A `Pick` in its plainest form: through other picks, whole factors of products, whole parts of concats."""
    if len(indices) == source.size and indices == tuple(range(source.size)):
        return source
    if not indices:
        return EMPTY
    if isinstance(source, Pick):
        return pick_of(source.source, tuple(source.indices[i] for i in indices))
    if isinstance(source, Product):
        outer, inner = source.parts[0], product(source.parts[1:])
        rows = np.asarray(indices) // inner.size
        width = int(np.argmax(rows != rows[0])) or len(indices)
        grid = np.asarray(indices).reshape(-1, width) if len(indices) % width == 0 else None
        if grid is not None:
            tops, sides = rows[::width], grid[0] % inner.size
            if np.array_equal(grid, tops[:, None] * inner.size + sides):
                return product((pick_of(outer, tuple(tops.tolist())), pick_of(inner, tuple(sides.tolist()))))
    if isinstance(source, Concat):
        bounds = np.cumsum([p.size for p in source.parts])
        owner = np.unique(np.searchsorted(bounds, np.asarray(indices), side="right"))
        if len(owner) == 1:
            part = source.parts[owner[0]]
            start = int(bounds[owner[0]]) - part.size
            return pick_of(part, tuple(i - start for i in indices))
    return Pick(source, indices)


def sizes_text(axis: Product) -> str:
    """The sizes of the factors, for people: 4x6x5."""
    return "x".join(str(p.size) for p in axis.parts)

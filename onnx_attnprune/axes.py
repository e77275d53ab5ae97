"""The axis algebra: every axis of every tensor is a tree of dimension variables.

A `Var` is a set of coupled channels; `Product` composes axes, outermost first, as einops writes ``(a b)``; `Concat`
puts axes one behind the other; `Pick` takes single channels of an axis, in any order. A `Space` holds the relations
that the operators of one graph state: `tie` makes two axes one by unification, `keep` says that an axis must survive
whole. A plan says which channels of which free variable survive; the mask of any axis follows from its tree, so every
tensor stays rectangular by construction.

What unification can't align is kept whole, which is always sound. A product or a concat is strictly larger than any
part of it (factors of size 1 are dropped), so no variable can come to contain itself but through a `Pick`, where it is
checked.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import AxisError

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
    return Product(tuple(flat), math.prod([p.size for p in flat]), _ids_of_all(flat))


def concat(parts: Iterable[Axis]) -> Axis:
    """The concatenation of axes; nested ones are flattened and parts of size 0 dropped."""
    flat: list[Axis] = []
    for part in parts:
        if part.size:
            flat.extend(part.parts if isinstance(part, Concat) else (part,))
    if len(flat) < 2:
        return flat[0] if flat else EMPTY
    return Concat(tuple(flat), sum([p.size for p in flat]), _ids_of_all(flat))


def _ids_of_all(parts: Iterable[Axis]) -> frozenset[int]:
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


class Space:
    """The variables of one graph and what is known of them: bindings (by `tie`) and reasons to keep (by `keep`)."""

    def __init__(self) -> None:
        self._bound: dict[int, Axis] = {}
        self._kept: dict[int, dict[Reason, None]] = {}
        self._free: set[int] = set()  # variables with channels to lose and no reason to keep them
        self._dynamic: set[int] = set()
        self._next = 1

    # ---------------------------------------------------------------- making and reading
    def var(self, size: int, why: Reason | None = None, dynamic: bool = False) -> Var:
        """A fresh variable; kept from the start where `why` is given."""
        if size == 1 and not dynamic:
            return ONE
        new = Var(self._next, size, dynamic)
        self._next += 1
        if why is not None:
            self._kept[new.id] = {why: None}
        elif size > 1:
            self._free.add(new.id)
        if dynamic:
            self._dynamic.add(new.id)
        return new

    def find(self, axis: Axis) -> Axis:
        """The tree with every bound variable replaced by what it is bound to."""
        if isinstance(axis, Var):
            target = self._bound.get(axis.id)
            if target is None:
                return axis
            found = self.find(target)
            self._bound[axis.id] = found
            return found
        if isinstance(axis, Pick):
            if axis.size == 1 and self.is_kept(axis.source):
                return ONE
            source = self.find(axis.source)
            return axis if source is axis.source else self.find(_pick_of(source, axis.indices))
        if self._bound.keys().isdisjoint(axis.ids) and PICKED not in axis.ids:
            return axis  # nothing in it is bound
        parts = tuple([self.find(p) for p in axis.parts])
        if all(map(operator.is_, parts, axis.parts)):
            return axis
        return product(parts) if isinstance(axis, Product) else concat(parts)

    def pick(self, axis: Axis, indices: Sequence[int]) -> Axis:
        """The axis made of the channels `indices` of `axis` (0 <= index < size)."""
        found = self.find(axis)
        if not isinstance(found, Concat) or len(list(_runs(indices))) < 2:
            return self._pick_part(found, indices)
        parts, bounds = found.parts, np.cumsum([p.size for p in found.parts])
        owner = np.searchsorted(bounds, np.asarray(indices), side="right")
        cuts = (np.flatnonzero(np.diff(owner)) + 1).tolist()
        if len(cuts) > 16:  # an interleaving, better seen as one
            return self._pick_part(found, indices)
        pieces = []
        for a, b in zip([0, *cuts], [*cuts, len(indices)], strict=True):
            start = int(bounds[owner[a]]) - parts[owner[a]].size
            pieces.append(self._pick_part(parts[owner[a]], [i - start for i in indices[a:b]]))
        return concat(pieces)

    def _pick_part(self, axis: Axis, indices: Sequence[int]) -> Axis:
        runs = list(_runs(indices))
        if len(runs) == 1:
            start, stop = runs[0]
            return self.split(self.split(axis, stop)[0], start)[1]
        return _pick_of(self.find(axis), tuple(indices))

    def split(self, axis: Axis, at: int) -> tuple[Axis, Axis]:
        """The first `at` channels of an axis and the others; binds variables that lie across the cut."""
        axis = self.find(axis)
        if at <= 0 or at >= axis.size:
            return (EMPTY, axis) if at <= 0 else (axis, EMPTY)
        if isinstance(axis, Var):
            halves = self.var(at, dynamic=axis.dynamic), self.var(axis.size - at, dynamic=axis.dynamic)
            self._bind(axis, concat(halves))
            return halves
        if isinstance(axis, Pick):
            return _pick_of(axis.source, axis.indices[:at]), _pick_of(axis.source, axis.indices[at:])
        if isinstance(axis, Concat):
            for k, part in enumerate(axis.parts):
                if at < part.size:
                    left, right = self.split(part, at)
                    return concat((*axis.parts[:k], left)), concat((right, *axis.parts[k + 1 :]))
                at -= part.size
        return self._split_product(axis, at)

    def _split_product(self, axis: Axis, at: int) -> tuple[Axis, Axis]:
        assert isinstance(axis, Product)
        outer, inner = axis.parts[0], product(axis.parts[1:])
        whole, rest = divmod(at, inner.size)
        head, tail = self.split(outer, whole)
        if not rest:
            return product((head, inner)), product((tail, inner))
        # The cut falls inside of one outer channel.
        middle, last = self.split(tail, 1)
        left, right = self.split(inner, rest)
        before, after = product((head, inner)), product((last, inner))
        return concat((before, product((middle, left)))), concat((product((middle, right)), after))

    # ---------------------------------------------------------------- relations
    def keep(self, axis: Axis, why: Reason) -> None:
        """Every channel of the axis must survive."""
        for leaf in leaves(self.find(axis)):
            if leaf.size > 1 or leaf.dynamic:
                self._kept.setdefault(leaf.id, {}).setdefault(why)
                self._free.discard(leaf.id)

    def is_kept(self, axis: Axis) -> bool:
        """True where no channel of the axis can ever be removed."""
        return self._free.isdisjoint(ids_of(self.find(axis)))

    def reasons(self, axis: Axis) -> tuple[Reason, ...]:
        """Why the axis is kept, the first reason first; empty for a free one."""
        found: dict[Reason, None] = {}
        for leaf in leaves(self.find(axis)):
            found.update(self._kept.get(leaf.id, {}))
        return tuple(found)

    def is_dynamic(self, axis: Axis) -> bool:
        """True where the size is known only at run time."""
        return not self._dynamic.isdisjoint(ids_of(self.find(axis)))

    def tie(self, one: Axis, other: Axis) -> None:
        """The two axes are the same channels in the same order.

        Raises AxisError where their sizes differ and neither is a run-time size.
        """
        todo = [(one, other)]
        while todo:
            a, b = todo.pop()
            a, b = self.find(a), self.find(b)
            if a is b or a == b:
                continue
            if a.size != b.size:
                if not (self.is_dynamic(a) or self.is_dynamic(b)):
                    raise AxisError(f"an axis of size {a.size} would have to be one of size {b.size}")
                self._keep_both(a, b, "sizes that are known only at run time")
            elif a == ONE or b == ONE:  # a single channel, which nothing can remove, may be one of many elsewhere
                self._keep_both(a, b, "a single channel stands for it")
            elif isinstance(a, Var) and isinstance(b, Var):
                self._bind(*((b, a) if a.dynamic or (a.id < b.id and not b.dynamic) else (a, b)))
            elif isinstance(a, Var) and a.id not in ids_of(b):
                self._bind(a, b)
            elif isinstance(b, Var) and b.id not in ids_of(a):
                self._bind(b, a)
            elif isinstance(a, Concat) or isinstance(b, Concat):
                todo.extend(self._align_concat(a, b))
            elif isinstance(a, Product) and isinstance(b, Product):
                todo.extend(self._align_product(a, b))
            else:
                self._tie_pick(a, b)

    def _bind(self, var: Var, target: Axis) -> None:
        self._bound[var.id] = target
        reasons = self._kept.pop(var.id, None)
        if reasons:
            for leaf in leaves(target):
                if leaf.size > 1 or leaf.dynamic:
                    self._kept.setdefault(leaf.id, {}).update(reasons)
                    self._free.discard(leaf.id)

    def _keep_both(self, a: Axis, b: Axis, why: str) -> None:
        for axis in (a, b):
            self.keep(axis, Reason(why))

    def _align_concat(self, a: Axis, b: Axis) -> Iterator[tuple[Axis, Axis]]:
        """Pieces of equal size, the last ones first; a part that reaches over the end of its opposite is split."""
        todo: list[list[Axis]] = [list(reversed(x.parts)) if isinstance(x, Concat) else [x] for x in (a, b)]
        pairs: list[tuple[Axis, Axis]] = []
        while todo[0]:
            pair = [rest.pop() for rest in todo]
            width = min(part.size for part in pair)
            for k, part in enumerate(pair):
                if part.size > width:
                    pair[k], rest = self.split(part, width)
                    todo[k].append(rest)
            pairs.append((pair[0], pair[1]))
        yield from reversed(pairs)

    def _align_product(self, a: Product, b: Product) -> Iterator[tuple[Axis, Axis]]:
        p, q = a.parts[0], b.parts[0]
        for single, own, other in ((p, a, b), (q, b, a)):
            if single.size == 1:  # of a run-time size, or one channel of many: nothing to align, nothing to remove
                self.keep(single, Reason("a single channel stands for it"))
                yield product(own.parts[1:]), other
                return
        if p.size % q.size and q.size % p.size:
            p, q = a.parts[-1], b.parts[-1]
            if p.size == q.size:
                yield product(a.parts[:-1]), product(b.parts[:-1])
                yield p, q
            else:
                self._keep_both(a, b, f"factors {_sizes(a)} and {_sizes(b)} that don't align")
            return
        if p.size < q.size:
            a, b, p, q = b, a, q, p
        rest = ONE if p.size == q.size else self.var(p.size // q.size, dynamic=self.is_dynamic(p))
        yield product((rest, *a.parts[1:])), product(b.parts[1:])
        yield p, product((q, rest))

    def _tie_pick(self, a: Axis, b: Axis) -> None:
        one, other = _selection(a), _selection(b)
        if one and other:
            self._merge_picks(*one, *other)
            return
        source, axis = (one, b) if one else (other, a)
        if source and sorted(source[1]) == list(range(source[0].size)) and source[0].id not in ids_of(axis):
            self._bind(source[0], _pick_of(axis, tuple(np.argsort(source[1]).tolist())))
        else:
            self._keep_both(a, b, "a selection of channels that lies across others")

    def _merge_picks(self, v: Var, picked: tuple[int, ...], w: Var, others: tuple[int, ...]) -> None:
        """Two selections are one: channels that meet become one channel of a common variable."""
        offset = 0 if v == w else v.size
        root = list(range(v.size + (0 if v == w else w.size)))

        def top(i: int) -> int:
            while root[i] != i:
                root[i] = i = root[root[i]]
            return i

        for i, j in zip(picked, others, strict=True):
            x, y = sorted((top(i), top(j + offset)))
            root[y] = x
        tops = [top(i) for i in range(len(root))]
        number = {t: k for k, t in enumerate(dict.fromkeys(tops))}
        common = self.var(len(number), dynamic=v.dynamic or w.dynamic)
        self._bind(v, _pick_of(common, tuple(number[t] for t in tops[: v.size])))
        if v != w:
            self._bind(w, _pick_of(common, tuple(number[t] for t in tops[offset:])))

    # ---------------------------------------------------------------- masks
    def mask(self, axis: Axis, alive: Mapping[int, BoolArray]) -> BoolArray:
        """Which channels of the axis survive, `axis.size` bools; variables that are not in `alive` survive whole."""
        return _mask(self.find(axis), alive)

    def size(self, axis: Axis, alive: Mapping[int, BoolArray]) -> int:
        """How many channels of the axis survive."""
        return _count(self.find(axis), alive)

    def removed(self, axis: Axis, alive: Mapping[int, BoolArray]) -> tuple[int, ...]:
        """Which channels of the axis do not survive, in ascending order."""
        found = self.find(axis)
        if alive.keys().isdisjoint(ids_of(found)):
            return ()
        gone: list[int] = np.flatnonzero(~_mask(found, alive)).tolist()
        return tuple(gone)


def _mask(axis: Axis, alive: Mapping[int, BoolArray]) -> BoolArray:
    if isinstance(axis, Var):
        found = alive.get(axis.id)
        return np.ones(axis.size, bool) if found is None else found
    if isinstance(axis, Pick):
        return _mask(axis.source, alive)[list(axis.indices)]
    masks = [_mask(p, alive) for p in axis.parts]
    if isinstance(axis, Concat):
        return np.concatenate(masks)
    whole = masks[0]
    for m in masks[1:]:
        whole = np.logical_and.outer(whole, m).reshape(-1)
    return whole


def _count(axis: Axis, alive: Mapping[int, BoolArray]) -> int:
    if isinstance(axis, Var):
        found = alive.get(axis.id)
        return axis.size if found is None else int(np.count_nonzero(found))
    if isinstance(axis, Pick):
        return int(np.count_nonzero(_mask(axis, alive)))
    if alive.keys().isdisjoint(axis.ids):
        return axis.size
    counts = [_count(p, alive) for p in axis.parts]
    return math.prod(counts) if isinstance(axis, Product) else sum(counts)


def _selection(axis: Axis) -> tuple[Var, tuple[int, ...]] | None:
    """A variable, or channels picked from one; None for anything else."""
    if isinstance(axis, Var):
        return axis, tuple(range(axis.size))
    if isinstance(axis, Pick) and isinstance(axis.source, Var) and axis.source != ONE:
        return axis.source, axis.indices
    return None


def _runs(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
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


def _pick_of(source: Axis, indices: tuple[int, ...]) -> Axis:
    """A `Pick` in its plainest form: through other picks, whole factors of products, whole parts of concats."""
    if len(indices) == source.size and indices == tuple(range(source.size)):
        return source
    if not indices:
        return EMPTY
    if isinstance(source, Pick):
        return _pick_of(source.source, tuple(source.indices[i] for i in indices))
    if isinstance(source, Product):
        outer, inner = source.parts[0], product(source.parts[1:])
        rows = np.asarray(indices) // inner.size
        width = int(np.argmax(rows != rows[0])) or len(indices)
        grid = np.asarray(indices).reshape(-1, width) if len(indices) % width == 0 else None
        if grid is not None:
            tops, sides = rows[::width], grid[0] % inner.size
            if np.array_equal(grid, tops[:, None] * inner.size + sides):
                return product((_pick_of(outer, tuple(tops.tolist())), _pick_of(inner, tuple(sides.tolist()))))
    if isinstance(source, Concat):
        bounds = np.cumsum([p.size for p in source.parts])
        owner = np.unique(np.searchsorted(bounds, np.asarray(indices), side="right"))
        if len(owner) == 1:
            part = source.parts[owner[0]]
            start = int(bounds[owner[0]]) - part.size
            return _pick_of(part, tuple(i - start for i in indices))
    return Pick(source, indices)


def _sizes(axis: Product) -> str:
    return "x".join(str(p.size) for p in axis.parts)

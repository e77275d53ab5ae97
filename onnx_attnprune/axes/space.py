"""The relations that the operators of one graph state, by unification."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from onnx_attnprune.axes.tree import (
    EMPTY,
    ONE,
    PICKED,
    Axis,
    BoolArray,
    Concat,
    Pick,
    Product,
    Reason,
    Var,
    concat,
    count_of,
    ids_of,
    leaves,
    mask_of,
    pick_of,
    product,
    runs_of,
    selection_of,
    sizes_text,
)
from onnx_attnprune.errors import AxisError


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
            return axis if source is axis.source else self.find(pick_of(source, axis.indices))
        if self._bound.keys().isdisjoint(axis.ids) and PICKED not in axis.ids:
            return axis  # nothing in it is bound
        parts = tuple([self.find(p) for p in axis.parts])
        if all(map(operator.is_, parts, axis.parts)):
            return axis
        return product(parts) if isinstance(axis, Product) else concat(parts)

    def pick(self, axis: Axis, indices: Sequence[int]) -> Axis:
        """The axis made of the channels `indices` of `axis` (0 <= index < size)."""
        found = self.find(axis)
        if not isinstance(found, Concat) or len(list(runs_of(indices))) < 2:
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
        runs = list(runs_of(indices))
        if len(runs) == 1:
            start, stop = runs[0]
            return self.split(self.split(axis, stop)[0], start)[1]
        return pick_of(self.find(axis), tuple(indices))

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
            return pick_of(axis.source, axis.indices[:at]), pick_of(axis.source, axis.indices[at:])
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
                self._keep_both(a, b, f"factors {sizes_text(a)} and {sizes_text(b)} that don't align")
            return
        if p.size < q.size:
            a, b, p, q = b, a, q, p
        rest = ONE if p.size == q.size else self.var(p.size // q.size, dynamic=self.is_dynamic(p))
        yield product((rest, *a.parts[1:])), product(b.parts[1:])
        yield p, product((q, rest))

    def _tie_pick(self, a: Axis, b: Axis) -> None:
        one, other = selection_of(a), selection_of(b)
        if one and other:
            self._merge_picks(*one, *other)
            return
        source, axis = (one, b) if one else (other, a)
        if source and sorted(source[1]) == list(range(source[0].size)) and source[0].id not in ids_of(axis):
            self._bind(source[0], pick_of(axis, tuple(np.argsort(source[1]).tolist())))
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
        self._bind(v, pick_of(common, tuple(number[t] for t in tops[: v.size])))
        if v != w:
            self._bind(w, pick_of(common, tuple(number[t] for t in tops[offset:])))

    # ---------------------------------------------------------------- masks
    def mask(self, axis: Axis, alive: Mapping[int, BoolArray]) -> BoolArray:
        """Which channels of the axis survive, `axis.size` bools; variables that are not in `alive` survive whole."""
        return mask_of(self.find(axis), alive)

    def size(self, axis: Axis, alive: Mapping[int, BoolArray]) -> int:
        """How many channels of the axis survive."""
        return count_of(self.find(axis), alive)

    def removed(self, axis: Axis, alive: Mapping[int, BoolArray]) -> tuple[int, ...]:
        """Which channels of the axis do not survive, in ascending order."""
        found = self.find(axis)
        if alive.keys().isdisjoint(ids_of(found)):
            return ()
        gone: list[int] = np.flatnonzero(~mask_of(found, alive)).tolist()
        return tuple(gone)

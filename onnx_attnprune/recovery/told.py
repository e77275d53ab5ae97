"""What the sequential fit gathers for one consumer: what arrives at it, and what its result lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.recovery.few import Few, Heap, rows_held
from onnx_attnprune.recovery.forms import Array
from onnx_attnprune.recovery.jobs import Job
from onnx_attnprune.recovery.lacking import Lacking
from onnx_attnprune.recovery.least_squares import is_unseen, rows_wanted
from onnx_attnprune.recovery.mending import Pair
from onnx_attnprune.recovery.rectified import Rows, Seen, bounded, together
from onnx_attnprune.recovery.rows import positions, results_at, results_in, rows_at, some
from onnx_attnprune.recovery.segments import Held
from onnx_attnprune.recovery.solving import Problem, shrinkage
from onnx_attnprune.recovery.targets import Target

Summed = Lacking | Heap
# Positions of one run, what the result should be there, and rows that are of the unpruned network too.
Looked = tuple[NDArray[np.int64], Rows, list[Rows]]


def summing(held: int | None, columns: int, outputs: int) -> Summed:
    """What gathers rows of X and T: themselves, where so many are `held` (see `rows_held`), else their moments."""
    return Lacking(columns, outputs) if held is None else Heap(columns + outputs)


class Told:
    """What is gathered for one consumer: rows of its pruned input beside what its result lacks, by group.

    Their moments; or the rows themselves, where they are fewer than columns or their moments take more than `room`.
    """

    def __init__(self, job: Job, target: Target, runs: int, room: int) -> None:
        self.job, self.target, self._runs, self._room = job, target, runs, room
        self._groups = [g for g, kept in enumerate(job.kept) if kept.any()]
        channels = int(np.count_nonzero(~job.consumer.removed))
        self.view = replace(job.view, channels=channels, groups=len(self._groups))
        self._width = self.view.columns + int(np.count_nonzero(job.consumer.outputs)) // len(self._groups)
        self._wanted = rows_wanted(self.view.columns, runs)
        self._sums: list[tuple[Summed, Summed]] = []
        self._rows: list[tuple[list[Seen], list[Seen]]] = [([], []) for _ in self._groups]
        self._looked: dict[int, Looked] = {}
        self._weights: tuple[list[Rows], ...] = ()

    @property
    def bytes(self) -> int:
        """What the moments take, at most."""
        return 16 * len(self._groups) * self.view.columns * self._width

    def _begin(self, rows: int) -> None:
        """Decide what to hold of so many rows. A bounded fit, which is for small layers only, goes by moments."""
        held = rows_held(rows, self.view.columns, self._width, len(self._groups), self._room)
        held = None if self.target.bounded else held
        outputs = self._width - self.view.columns
        self._sums = [
            (summing(held, self.view.columns, outputs), summing(held, self.view.columns, outputs)) for _ in self._groups
        ]
        if held is not None:
            self._wanted = min(self._wanted, -(-held // self._runs))

    def kept(self, elements: int) -> int:
        """Bytes of what is kept of the unpruned network, whose tensor that is looked at has so many numbers a run."""
        rows = min(self._wanted, -(-elements // max(len(self.job.consumer.outputs), 1)))
        width = len(self._groups) * self._width if self.job.consumer.returns else self.job.consumer.biases
        return self._runs * rows * (4 * width + 8)

    @property
    def before(self) -> str:
        """The tensor of the unpruned network that is looked at."""
        return self.target.name or self.view.data

    @property
    def after(self) -> list[str]:
        """The tensors of the pruned network that are looked at."""
        if self.job.consumer.returns:
            return []
        return [self.view.data] if self.target.name is None else [self.view.data, self.target.name]

    def look(self, before: Held, run: int, rng: np.random.Generator) -> None:
        """Draw positions of one run, and keep what the unpruned network says there."""
        seen, name, job = before[self.before], self.target.name, self.job
        there = positions(job.view, seen.shape) if name is None else results_in(self.view, seen.shape)
        if not self._sums:
            self._begin(min(there, self._wanted) * self._runs)
        chosen = some(there, self._wanted, rng)
        own = []
        if name is not None:
            wanted = results_at(self.view, seen, chosen)[:, job.consumer.outputs]
        else:
            wanted = self._product(list(rows_at(job.view, seen, chosen)), whole=True)
        if job.consumer.returns:
            # What is left of the original's: the pruned network's own state is another as soon as the weight is, and
            # copies of units are no longer copies in it.
            left = np.compress(~job.consumer.removed[: seen.shape[-1]], seen, axis=-1)
            own = list(rows_at(self.view, left, chosen))
        self._looked[run] = chosen, wanted, own

    def add(self, after: Held, run: int) -> None:
        """Take in what the pruned network says where the unpruned one was looked at."""
        chosen, wanted, rows = self._looked.pop(run)
        rows = rows or list(rows_at(self.view, after[self.view.data], chosen))
        name = self.target.name
        lack = wanted - (self._product(rows) if name is None else results_at(self.view, after[name], chosen))
        late, parts = is_unseen(run), [np.split(whole, len(self._groups), axis=1) for whole in (wanted, lack)]
        for g, (x, part, short) in enumerate(zip(rows, *parts, strict=True)):
            self._sums[g][late].add(np.concatenate([x, short], axis=1))
            if self.target.bounded:
                self._rows[g][late].append(Seen(x, short, part))

    def _product(self, rows: Sequence[Rows], whole: bool = False) -> Rows:
        """For a consumer whose product is no tensor: that of the old weight and rows of each group, of the `whole`
        input or of what is left of it."""
        if not self._weights:
            weight, outputs = self.job.weight, self.job.consumer.outputs.reshape(self.job.view.groups, -1)
            both = [weight[g][:, outputs[g]].astype(np.float32) for g in self._groups]
            self._weights = both, [w[self.job.kept[g]] for g, w in zip(self._groups, both, strict=True)]
        read = [rows[g] for g in self._groups] if whole else rows
        parts = [x @ w for x, w in zip(read, self._weights[not whole], strict=True)]
        return np.concatenate(parts, axis=1)

    def problems(self, ridge: float) -> list[Pair]:
        """What is to be solved for each group, with a ridge of at least so much."""
        found: list[Pair] = []
        self._weights = ()
        for (seen, unseen), (mine, others) in zip(self._sums, self._rows, strict=True):
            one, other = (summed.problem(self.view.columns) for summed in (seen, unseen))
            pair: Pair = (one, other if other.rows else None)
            if mine and isinstance(one, Problem) and not isinstance(other, Few):
                rows = (together(mine), together(others) if others else None)
                mine.clear()
                others.clear()
                bounds, least = (self.target.low, self.target.high), max(ridge, shrinkage(one))
                pair = bounded((one, other if other.rows else None), rows, bounds, least)
            found.append(pair)
        return found

    @property
    def scale(self) -> Array | None:
        """How much larger the lack is at the target than at the consumer's own result, per surviving output."""
        return None if self.target.scale is None else self.target.scale[self.job.consumer.outputs]

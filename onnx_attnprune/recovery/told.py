"""What the sequential fit gathers for one consumer: what arrives at it, and what its result lacks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.recovery.few import Few, Heap, rows_held
from onnx_attnprune.recovery.forms import Array
from onnx_attnprune.recovery.jobs import Job
from onnx_attnprune.recovery.least_squares import is_unseen, rows_wanted
from onnx_attnprune.recovery.mending import Pair
from onnx_attnprune.recovery.rectified import Rows, Seen, bounded, together
from onnx_attnprune.recovery.rows import Gathering, positions, results_at, rows_at, some
from onnx_attnprune.recovery.segments import Held
from onnx_attnprune.recovery.solving import Problem, joint, shrinkage
from onnx_attnprune.recovery.targets import Target

Summed = Gathering | Heap


def _problem(summed: Summed, columns: int) -> Problem | Few:
    return summed.problem(columns) if isinstance(summed, Heap) else joint(summed.moments(), columns)


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

    @property
    def bytes(self) -> int:
        """What the moments take, at most."""
        return 16 * len(self._groups) * self._width**2

    def _begin(self, rows: int) -> None:
        """Decide what to hold of so many rows. A bounded fit, which is for small layers only, goes by moments."""
        held = rows_held(rows, self.view.columns, self._width, len(self._groups), self._room)
        held = None if self.target.bounded else held
        self._sums = [(self._sum(held), self._sum(held)) for _ in self._groups]
        if held is not None:
            self._wanted = min(self._wanted, -(-held // self._runs))

    def _sum(self, held: int | None) -> Summed:
        return Gathering(self._width) if held is None else Heap(self._width)

    def add(self, before: Held, after: Held, run: int, rng: np.random.Generator) -> None:
        """Take in one run of both networks."""
        x = self._read(before, after)
        there = positions(self.view, x.shape)
        if not self._sums:
            self._begin(min(there, self._wanted) * self._runs)
        chosen = some(there, self._wanted, rng)
        target, lack = self._lack(before, after, chosen)
        parts = [np.split(whole, len(self._groups), axis=1) for whole in (target, lack)]
        late = is_unseen(run)
        for g, (rows, part, short) in enumerate(zip(rows_at(self.view, x, chosen), *parts, strict=True)):
            self._sums[g][late].add(np.concatenate([rows, short], axis=1))
            if self.target.bounded:
                self._rows[g][late].append(Seen(rows, short, part))

    def _read(self, before: Held, after: Held) -> NDArray[Any]:
        """What the consumer reads. Of a state that comes back what is left of the original's: the pruned network's own
        is another as soon as the weight is, and copies of units are no longer copies in it."""
        consumer, name = self.job.consumer, self.view.data
        if not consumer.returns:
            return after[name]
        units = before[name].shape[-1]
        return np.compress(~consumer.removed[:units], before[name], axis=-1)

    def _lack(self, before: Held, after: Held, chosen: NDArray[np.int64]) -> tuple[Rows, Rows]:
        """What the surviving results should be, where that is known, and what they lack."""
        name, outputs = self.target.name, self.job.consumer.outputs
        if name is None:
            lack = self._computed(before[self.view.data], self._read(before, after), chosen)
            return lack, lack
        wanted = results_at(self.view, before[name], chosen)[:, outputs]
        return wanted, wanted - results_at(self.view, after[name], chosen)

    def _computed(self, before: NDArray[Any], after: NDArray[Any], chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """For a consumer whose product is no tensor: the product with the old weight, of both inputs."""
        job, parts = self.job, []
        weight, outputs = job.weight, job.consumer.outputs.reshape(job.view.groups, -1)
        whole, cut = list(rows_at(job.view, before, chosen)), rows_at(self.view, after, chosen)
        for g, rows in zip(self._groups, cut, strict=True):
            w = weight[g][:, outputs[g]]
            parts.append(whole[g] @ w - rows @ w[job.kept[g]])
        return np.concatenate(parts, axis=1).astype(np.float32)

    def problems(self, ridge: float) -> list[Pair]:
        """What is to be solved for each group, with a ridge of at least so much."""
        found: list[Pair] = []
        for (seen, unseen), (mine, others) in zip(self._sums, self._rows, strict=True):
            one, other = (_problem(summed, self.view.columns) for summed in (seen, unseen))
            pair: Pair = (one, other if other.rows else None)
            if mine and isinstance(one, Problem) and not isinstance(other, Few):
                rows = (together(mine), together(others) if others else None)
                bounds, least = (self.target.low, self.target.high), max(ridge, shrinkage(one))
                pair = bounded((one, other if other.rows else None), rows, bounds, least)
            found.append(pair)
        return found

    @property
    def scale(self) -> Array | None:
        """How much larger the lack is at the target than at the consumer's own result, per surviving output."""
        return None if self.target.scale is None else self.target.scale[self.job.consumer.outputs]

"""What the sequential fit gathers for one consumer: what arrives at it, and what its result lacks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.recovery.forms import Array
from onnx_attnprune.recovery.jobs import Job
from onnx_attnprune.recovery.least_squares import is_unseen, rows_wanted
from onnx_attnprune.recovery.mending import Pair
from onnx_attnprune.recovery.rectified import Rows, Seen, bounded, together
from onnx_attnprune.recovery.rows import Gathering, positions, results_at, rows_at, some
from onnx_attnprune.recovery.segments import Held
from onnx_attnprune.recovery.solving import joint, shrinkage
from onnx_attnprune.recovery.targets import Target


class Told:
    """What is gathered for one consumer: rows of its pruned input beside what its result lacks, by group."""

    def __init__(self, job: Job, target: Target) -> None:
        self.job, self.target = job, target
        self._groups = [g for g, kept in enumerate(job.kept) if kept.any()]
        channels = int(np.count_nonzero(~job.consumer.removed))
        self.view = replace(job.view, channels=channels, groups=len(self._groups))
        width = self.view.columns + int(np.count_nonzero(job.consumer.outputs)) // len(self._groups)
        self._sums = [(Gathering(width), Gathering(width)) for _ in self._groups]
        self._rows: list[tuple[list[Seen], list[Seen]]] = [([], []) for _ in self._groups]

    def add(self, before: Held, after: Held, run: int, runs: int, rng: np.random.Generator) -> None:
        """Take in one run of both networks."""
        x = after[self.view.data]
        chosen = some(positions(self.view, x.shape), rows_wanted(self.view.columns, runs), rng)
        target, lack = self._lack(before, after, chosen)
        parts = [np.split(whole, len(self._groups), axis=1) for whole in (target, lack)]
        late = is_unseen(run)
        for g, (rows, part, short) in enumerate(zip(rows_at(self.view, x, chosen), *parts, strict=True)):
            self._sums[g][late].add(np.concatenate([rows, short], axis=1))
            if self.target.bounded:
                self._rows[g][late].append(Seen(rows, short, part))

    def _lack(self, before: Held, after: Held, chosen: NDArray[np.int64]) -> tuple[Rows, Rows]:
        """What the surviving results should be, where that is known, and what they lack."""
        name, outputs = self.target.name, self.job.consumer.outputs
        if name is None:
            lack = self._computed(before[self.view.data], after[self.view.data], chosen)
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
            one, other = joint(seen.moments(), self.view.columns), joint(unseen.moments(), self.view.columns)
            pair = (one, other if other.rows else None)
            if mine:
                rows = (together(mine), together(others) if others else None)
                pair = bounded(pair, rows, (self.target.low, self.target.high), max(ridge, shrinkage(one)))
            found.append(pair)
        return found

    @property
    def scale(self) -> Array | None:
        """How much larger the lack is at the target than at the consumer's own result, per surviving output."""
        return None if self.target.scale is None else self.target.scale[self.job.consumer.outputs]

"""What lies between the two layers of a couple, where every channel stays by itself, and the way back through it.

From the second layer's input to the first one's result a few links: functions of single numbers, whose slopes are
measured by running them twice, and windows over each channel's positions: depthwise convolutions and pooling, which are
weighted sums, with weights that are known (for the maximum: one where it was), so that the way back is the transpose.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.graph import ModelProto, part_of
from onnx_attnprune.recovery.jobs import Job
from onnx_attnprune.recovery.mending import Mender
from onnx_attnprune.recovery.rectified import Rows
from onnx_attnprune.recovery.rows import View
from onnx_attnprune.recovery.segments import Held
from onnx_attnprune.recovery.solving import LEAST
from onnx_attnprune.recovery.windows import brought_back, under_taps
from onnx_attnprune.runtime import Session

NUDGE = 1e-2  # of the deviation of what functions of single numbers read, by which slopes are measured
Back = Callable[[Rows], Rows]  # from what is said of a link's result to what that says of its source, of their shapes


@dataclass(frozen=True, slots=True)
class Link(ABC):
    """One step of the way: `result` is made from `source`."""

    source: str
    result: str

    @property
    def names(self) -> tuple[str, ...]:
        """All that has to be known of a run."""
        return self.source, self.result

    @property
    def taps(self) -> int:
        """How often a number of the result is gone over on the way back."""
        return 1

    @abstractmethod
    def opened(self, pruned: ModelProto, mender: Mender) -> Callable[[Held], Back]:
        """The way back in the pruned model as it stands: first for a run, then for what is brought back."""


@dataclass(frozen=True, slots=True)
class Singles(Link):
    """Functions of single numbers. fixed: what else they read, one number for many (the gate of a squeeze and
    excitation); it is left as it is, also where it rests on the source."""

    fixed: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return self.source, self.result, *self.fixed

    def opened(self, pruned: ModelProto, mender: Mender) -> Callable[[Held], Back]:
        sessions: dict[object, Session] = {}

        def session(held: Held) -> Session:
            given = {name: (held[name].dtype, held[name].shape) for name in (self.source, *self.fixed)}
            key = tuple(given.values())
            if key not in sessions:
                sessions[key] = Session(part_of(pruned, given, [self.result]))
            return sessions[key]

        def back(held: Held) -> Back:
            slope = self._slope(session(held), held)
            return lambda said: said * slope

        return back

    def _slope(self, session: Session, held: Held) -> Rows:
        """By how much the result changes with each number of the source."""
        x = held[self.source]
        nudge = np.float32(NUDGE * max(float(x.std()), LEAST))
        rest = {name: held[name] for name in self.fixed if name in session.input_names}
        up, down = (session.run({self.source: x + sign * nudge} | rest, [self.result])[self.result] for sign in (1, -1))
        return np.asarray((up - down) / (2 * nudge), np.float32).reshape(x.shape)


@dataclass(frozen=True, slots=True)
class Windows(Link):
    """Windows over the positions of each channel, that go over the source as `view` says."""

    view: View

    @property
    def taps(self) -> int:
        return self.view.taps

    def _weighted(self, held: Held, weights: list[NDArray[Any]]) -> Back:
        """The way back for a weight of each tap, that broadcasts to [samples, *space of the result, channels]."""
        shape, result = held[self.source].shape, held[self.result].shape

        def back(said: Rows) -> Rows:
            last = np.ascontiguousarray(np.moveaxis(said.reshape(result), 1, -1))
            return brought_back(self.view, shape, result, (last * weight for weight in weights))

        return back


@dataclass(frozen=True, slots=True)
class Depthwise(Windows):
    """A convolution that makes one channel out of each."""

    job: Job

    def opened(self, pruned: ModelProto, mender: Mender) -> Callable[[Held], Back]:
        weights = list(mender.matrix(self.job)[0].astype(np.float32))
        return lambda held: self._weighted(held, weights)


@dataclass(frozen=True, slots=True)
class Average(Windows):
    """Average pooling. whole: the padding counts too."""

    whole: bool

    def opened(self, pruned: ModelProto, mender: Mender) -> Callable[[Held], Back]:
        def back(held: Held) -> Back:
            shape, result = held[self.source].shape, held[self.result].shape
            ones = np.ones((1, 1, *shape[2:]), np.float32)
            count = sum(under_taps(self.view, ones, result, beyond=float(self.whole)), np.float32(0))
            return self._weighted(held, [1 / count] * self.taps)

        return back


@dataclass(frozen=True, slots=True)
class Largest(Windows):
    """Max pooling: all of it goes to where the maximum was, to the first such place of a window."""

    def opened(self, pruned: ModelProto, mender: Mender) -> Callable[[Held], Back]:
        def back(held: Held) -> Back:
            largest = np.moveaxis(held[self.result], 1, -1)
            free, found = np.ones(largest.shape, bool), []
            for numbers in under_taps(self.view, held[self.source], held[self.result].shape, beyond=-np.inf):
                here = free & (numbers == largest)
                free &= ~here
                found.append(here)
            return self._weighted(held, list(found))

        return back

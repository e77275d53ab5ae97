"""Runs a network piece by piece, so that what has been computed once is not computed again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import ModelError
from onnx_attnprune.graph import ModelProto, live_at, part_of
from onnx_attnprune.runtime import Optimisation, Session

Held = dict[str, NDArray[Any]]


class Segments:
    """A model at work on all samples at once: it holds the tensors at one cut through the graph, and goes on from
    them."""

    def __init__(self, model: ModelProto, runs: Sequence[Mapping[str, NDArray[Any]]]) -> None:
        self._model = model
        self._held: list[Held] = [dict(feeds) for feeds in runs]

    def step(self, wanted: Sequence[str], before: Collection[str], goals: Collection[str], room: int) -> Iterator[Held]:
        """The tensors `wanted`, run by run; from then on the network goes on from just before the nodes that make
        `before`, whose weights may be others by then. `goals`: what will be wanted later.

        room: bytes that the tensors held may take. Where those of the new cut would take more, the earlier ones stay,
        and what lies between is computed again by the next step. The model may be changed between two steps, but for
        what lies before the cut.
        """
        live = live_at(self._model, before, goals)
        given = self._given()
        names = list(dict.fromkeys([*wanted, *live]))
        made = [name for name in names if name not in given]
        session = _session(part_of(self._model, given, made)) if made else None
        moving = True
        for k, held in enumerate(self._held):
            found = _found(session, made, held)
            if k == 0:
                moving = sum(found[name].nbytes for name in live) * len(self._held) <= room
            if moving:
                self._held[k] = {name: found[name] for name in live}
            yield {name: found[name] for name in wanted}

    def go_on(self, before: Collection[str], goals: Collection[str], room: int) -> None:
        """The same, where nothing is wanted yet."""
        for _ in self.step([], before, goals, room):
            pass

    def look(self, wanted: Sequence[str], runs: Iterable[int]) -> Iterator[tuple[int, Held]]:
        """The tensors `wanted` in some runs, computed from what is held, and the number of each run."""
        given = self._given()
        made = [name for name in dict.fromkeys(wanted) if name not in given]
        session = _session(part_of(self._model, given, made))
        for k in runs:
            found = _found(session, made, self._held[k])
            yield k, {name: found[name] for name in wanted}

    def _given(self) -> dict[str, tuple[np.dtype[Any], tuple[int | None, ...]]]:
        """Type and shape of what is held; None for a size that differs from run to run."""
        found = {}
        for name, first in self._held[0].items():
            shapes = {held[name].shape for held in self._held}
            shape = first.shape if len(shapes) == 1 else (None,) * first.ndim
            found[name] = (first.dtype, shape)
        return found


def _found(session: Session | None, made: Sequence[str], held: Held) -> Held:
    """What is held of one run, and what a session makes out of it."""
    if session is None:
        return held
    return held | session.run({name: held[name] for name in session.input_names}, made)


def _session(part: bytes) -> Session:
    """ONNX Runtime's blocked convolutions take in a sum that reads them, and then fail to load a part that gives both
    (1.32: "Failed to find node output"): such a part runs without them."""
    try:
        return Session(part, shared=True)
    except ModelError:
        return Session(part, optimisation=Optimisation.PRECISE, shared=True)

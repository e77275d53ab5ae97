"""Budgets of a run: what a choice of channels leaves of a cost, and the choice that leaves as much as allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnx_attnprune import surgery
from onnx_attnprune.axes import BoolArray
from onnx_attnprune.errors import ModelError
from onnx_attnprune.graph import parameter_count
from onnx_attnprune.grouping import Analysis, alive_of
from onnx_attnprune.pipeline.request import Request, Tell
from onnx_attnprune.pipeline.samples import calibration_of
from onnx_attnprune.pipeline.source import Shapes, Source
from onnx_attnprune.planning import (
    Kept,
    Left,
    Losses,
    Path,
    Settings,
    Term,
    Uniform,
    allocate,
    channel_terms,
    first_within,
    grown,
    mac_terms,
    option,
    refuse_groupless,
    removed_by,
    weight_terms,
)
from onnx_attnprune.recovery import Calibration, Gathered, consumers_of, followers_of, losses_of, samples_of
from onnx_attnprune.report import lost, parameter_types
from onnx_attnprune.scoring import SAMPLED, Samples, Scores, score

Alive = Mapping[int, BoolArray]
# What measuring all groups may cost, by samples of the user's and by made-up ones; how many samples are used for it.
PROBED_MACS, MADE_UP_MACS = 1_000_000_000_000, 200_000_000_000
FEWEST, MOST = 8, 128
ALLOWANCE = 64  # bytes of a new tensor's name and header
BACK = 16  # points of a path that the room left over is looked for in


@dataclass(frozen=True)
class Budgets:
    """The budgets of one model, analysed at `shapes`; `single`: masks under which a run is one sample, of `sample`;
    `timed`: terms that estimate the time of a run, where it was measured."""

    request: Request
    source: Source
    analysis: Analysis
    shapes: Shapes
    single: Alive
    sample: Shapes
    tell: Tell
    timed: tuple[Term, ...] = ()

    @cached_property
    def scores(self) -> Scores:
        """The importance of every channel of the unpruned model."""
        settings = self.request.settings
        return score(self.analysis, settings.criterion, {}, settings.seed, self.samples)

    @cached_property
    def samples(self) -> Samples | None:
        """What channels are judged by beside the weights, where the criterion goes by samples."""
        if self.request.settings.criterion not in SAMPLED:
            return None
        return samples_of(self.analysis, self.gathered)

    @cached_property
    def calibration(self) -> Calibration:
        """The user's samples, or made-up ones."""
        return calibration_of(self.request, self.source, self.analysis, self.shapes, self.sample)

    @cached_property
    def gathered(self) -> Gathered:
        """What all that look at the samples share."""
        return Gathered(self.calibration)

    def forget(self) -> None:
        """Give back the memory of what was gathered; it comes again where it is asked for."""
        if "gathered" in vars(self):
            self.gathered.forget()

    @cached_property
    def losses(self) -> Losses:
        """What removal costs in each group, on calibration samples."""
        normalized = self.scores.normalized
        order = {k: np.argsort(s, kind="stable") for k, s in normalized.items()}
        return Losses(normalized, losses_of(self.analysis, order, self.gathered, self.probed, self.tell))

    @property
    def probed(self) -> int:
        """How many samples measure what the removal from each group does to the outputs."""
        macs = max(self.analysis.macs(self.single) * len(self.analysis.groups), 1)
        most = MADE_UP_MACS if self.calibration.foreign else PROBED_MACS
        return min(max(most // macs, FEWEST), MOST)

    # ---------------------------------------------------------------- paths
    def path(self, settings: Settings, cost: str, target: float) -> Path:
        """Ever smaller choices: the same share of every group, or (scope global) shared out by error against cost.

        A model that does not run on made-up samples tells no error: then it is the same share too.
        """
        refuse_groupless(self.analysis)
        if settings.scope == "layer":
            return Uniform(self.analysis, settings)
        losses = self.losses_or_why
        if isinstance(losses, str):
            return Uniform(self.analysis, settings)
        return allocate(self.analysis, settings, losses, self._terms(cost), target)

    @cached_property
    def losses_or_why(self) -> Losses | str:
        """The losses, or the reason why made-up samples tell none. Raises ModelError for samples of the user's."""
        try:
            return self.losses
        except ModelError as error:
            if self.request.calibration is not None:
                raise
            return f"the model does not run on made-up samples, so every group loses the same share ({error})"

    def notes(self, settings: Settings) -> tuple[str, ...]:
        """What a user should know of how the budget was shared out."""
        shared = settings.scope == "global" and isinstance(self.losses_or_why, str)
        return (str(self.losses_or_why),) if shared else ()

    def kept(self, settings: Settings, aim: float) -> Kept:
        """How many channels each group keeps so that at most `aim` of the settings' target cost is left.

        Raises PromiseError where no choice leaves so little.
        """
        assert settings.target is not None
        cost, target = settings.target
        path = self.path(settings, cost, target)
        return self.at(path, cost, aim, f"{option(f'target_{cost}')} {target:g}")

    def at(self, path: Path, cost: str, aim: float, promise: str) -> Kept:
        """The first choice of a path that leaves at most `aim`, with the room used that its last steps left over."""

        def left(kept: Kept) -> float:
            return self.left(cost, self.alive(kept))

        return _filled(path, first_within(path, left, aim, promise), left, aim)

    def by_error(self, settings: Settings) -> Kept | None:
        """How many channels each group keeps so that the settings' ratio of all channels goes, from where that costs
        the outputs least; less where the settings' bounds don't allow as much. None where made-up samples tell
        nothing: see `losses_or_why`."""
        assert settings.ratio is not None
        wanted = 1 - settings.ratio
        refuse_groupless(self.analysis)
        losses = self.losses_or_why
        if isinstance(losses, str):
            return None
        terms = channel_terms(self.analysis, settings)
        whole = max(_amount(self.analysis, terms, {}), 1.0)

        def left(kept: Kept) -> float:
            return _amount(self.analysis, terms, self.alive(kept)) / whole

        path = allocate(self.analysis, settings, losses, terms, wanted**2)  # a cost that falls as the square does
        aim = max(wanted, left(path[-1]))
        point = first_within(path, left, aim, "--ratio")
        # A ratio is no promise: with coarse multiples a step too few may be nearer to it than one too many.
        near = (_filled(path, point, left, aim), path[max(0, point - 1)])
        return min(near, key=lambda kept: abs(left(kept) - wanted))

    def foretold(self, removed: Mapping[int, Sequence[int]]) -> float:
        """The error that a removal is foretold to leave, to be compared with that of others: by the curves of the
        groups, where they have been measured, else by the square of what goes."""
        sizes = {g.id: g.size for g in self.analysis.groups}
        if "losses" in vars(self):
            return sum(float(self.losses.curves[group][len(gone)]) for group, gone in removed.items())
        return (sum(map(len, removed.values())) / max(sum(sizes.values()), 1)) ** 2

    def over(self, settings: Settings, removed: Mapping[int, Sequence[int]]) -> float:
        """By how much of the whole cost a removal misses the settings' target (0 or less: it keeps it)."""
        assert settings.target is not None
        cost, target = settings.target
        alive = alive_of(self.analysis.groups, removed)
        if cost != "bytes":
            return self.left(cost, alive) - target
        # New constants for restated sizes count too, and only the cut model tells how many there are.
        size = surgery.prune(self.analysis, alive).ByteSize() + self._added("bytes", alive)
        return size / self.source.bytes - target

    # ---------------------------------------------------------------- costs
    def left(self, cost: str, alive: Alive) -> float:
        """The share of a cost that is left with only the channels `alive`, what a repair may add included."""
        before = max(self._whole[cost], 1)
        if cost == "macs":
            return self.analysis.macs({**alive, **self.single}) / before
        if cost == "latency":
            return self._time(alive) / before
        gone = lost(self.analysis, surgery.cuts_of(self.analysis, alive), self._worth[cost])
        return (before - gone + self._added(cost, alive)) / before

    def alive(self, kept: Kept) -> dict[int, BoolArray]:
        """The masks of a choice."""
        return alive_of(self.analysis.groups, removed_by(self.analysis, kept, self.scores.normalized))

    @cached_property
    def _whole(self) -> Mapping[str, float]:
        model = self.analysis.graph.model
        macs, parameters, time = self.analysis.macs(self.single), parameter_count(model), self._time({})
        return {"macs": macs, "params": parameters, "bytes": self.source.bytes, "latency": time}

    def _time(self, alive: Alive) -> float:
        """Nanoseconds that are estimated for a run; the price of calls, which no cut lowers, is not in it."""
        return 1e9 * _amount(self.analysis, self.timed, alive)

    @cached_property
    def _worth(self) -> Mapping[str, Mapping[str, int]]:
        """What a number of each constant is worth."""
        constants = self.analysis.graph.constants
        return {
            "params": dict.fromkeys(parameter_types(self.analysis), 1),
            "bytes": {name: c.array().itemsize for name, c in constants.items() if c.dims},
        }

    def _terms(self, cost: str) -> list[Term]:
        if cost == "macs":
            return mac_terms(self.analysis)
        if cost == "latency":
            return list(self.timed)
        return weight_terms(self.analysis, self._worth[cost])

    def _added(self, cost: str, alive: Alive) -> int:
        """What the biases take at most that a repair gives to nodes without one."""
        if self.request.recover == "none":
            return 0
        total = 0
        for consumer in (*consumers_of(self.analysis, alive), *followers_of(self.analysis, alive)):
            place, inputs = consumer.linear.bias, consumer.node.inputs
            if place is None or place >= len(inputs) or not inputs[place]:
                count = consumer.biases
                # An Add of its own takes a node, too, and names three tensors.
                names = 4 * (len(consumer.node.outputs[0]) + len(consumer.node.name) + 3 * ALLOWANCE)
                total += count if cost == "params" else count * 8 + names
        return total


def _filled(path: Path, point: int, left: Left, aim: float) -> Kept:
    """A point of a path, with the room used that its last steps left over."""
    found = path[point]
    if not isinstance(path, Uniform):
        for before in reversed(path[max(0, point - BACK) : point]):
            found = grown(found, before, left, aim)
    return found


def _amount(analysis: Analysis, terms: Sequence[Term], alive: Alive) -> float:
    size = analysis.space.size
    return sum(weight * math.prod(size(axis, alive) for axis in axes) for weight, axes in terms)

"""Criterion "activation": how much of what its consumers give a channel accounts for.

A channel's part is the variance of its values at a consumer's input times the sum of its squared weights there, over
all channels of that consumer; several consumers are added up. It is the variance and not the mean square, because the
repair moves what a removed channel gives on average into the bias.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import BoolArray, leaves
from onnx_attnprune.graph import with_outputs
from onnx_attnprune.grouping import Analysis, Group
from onnx_attnprune.recovery.calibration import Calibration
from onnx_attnprune.recovery.consumers import Consumer, Operands, consumers_of, main_names, results_of
from onnx_attnprune.recovery.gathered import Gathered
from onnx_attnprune.recovery.least_squares import WAVE_BYTES
from onnx_attnprune.recovery.means import Constants
from onnx_attnprune.recovery.readings import probed
from onnx_attnprune.recovery.rows import Array
from onnx_attnprune.recovery.sampled import Errors, running, sampled
from onnx_attnprune.recovery.stored import multiplier
from onnx_attnprune.recovery.through import by_group
from onnx_attnprune.runtime import Session
from onnx_attnprune.scoring import owners


@sampled("activation")
def activation(analysis: Analysis, alive: Mapping[int, BoolArray], gathered: Gathered) -> Errors:
    """The running sum of the channels' parts, the smallest first."""
    found: Errors = {}
    for group, seen in seen_of(analysis, analysis.groups, alive, gathered.calibration).items():
        parts = np.zeros(analysis.groups[group].size)
        for one in seen:
            mine = one.owner >= 0
            parts += np.bincount(one.owner[mine], one.energies[mine], len(parts)) / max(one.total, 1e-30)
        found[group] = running(parts)
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    """One consumer of a group as samples show it, by its input channels.

    owner: the group's channel that each belongs to, -1 for one of another group or one that is gone. variance: of its
    values over samples and positions. weight [input channels, the rest]: of the results that are left. total: the sum
    of the energies of all input channels that are left.
    """

    owner: NDArray[np.int64]
    variance: Array
    weight: Array
    total: float

    @property
    def energies(self) -> Array:
        """What each input channel gives, [input channels]."""
        return np.asarray(self.variance * (self.weight**2).sum(1))


def seen_of(
    analysis: Analysis, groups: Sequence[Group], alive: Mapping[int, BoolArray], calibration: Calibration,
    wanted: Callable[[Consumer], bool] = lambda _: True,
) -> dict[int, list[Seen]]:  # fmt: skip  # two lines
    """By group id the wanted consumers with stored weights; a group without any is left out.

    Raises ModelError where the network does not run on the samples.
    """
    main = main_names(analysis) | {t.name for t in analysis.graph.model.graph.initializer}
    consumers = [c for c in consumers_of(analysis, probed(groups, alive)) if wanted(c) and c.source in main]
    by_var, operands, constants = {g.var.id: g for g in groups}, Operands(analysis), Constants(analysis)
    variances = _variances(analysis, consumers, calibration)
    found: dict[int, list[Seen]] = {}
    for consumer in consumers:
        node, linear = consumer.node, consumer.linear
        weight = multiplier(constants, consumer)
        if weight is None:
            continue
        axis = analysis.space.find((operands.axes(node, linear.data) or ())[consumer.channel])
        here, variance = analysis.space.mask(axis, alive), variances[node.inputs[linear.data]]
        matrix = _by_channel(consumer, weight, results_of(analysis, operands, node, linear, alive))
        total = float((variance * (matrix**2).sum(1))[here].sum())
        for var in sorted({v.id for v in leaves(axis) if v.id in by_var}):
            own = np.where(here, np.max(list(owners(axis, by_var[var].var)), axis=0), -1)
            found.setdefault(by_var[var].id, []).append(Seen(own, variance, matrix, total))
    return found


def _by_channel(consumer: Consumer, weight: Array, outputs: BoolArray) -> Array:
    """The weight of the results that are left, [input channels, the rest]."""
    if consumer.channel == -1:
        return np.asarray(consumer.form.matrix(weight)[0][:, outputs])
    groups = int(consumer.node.attr("group", 1))
    grouped = by_group(weight, groups, consumer.linear.into)
    left = np.where(outputs.reshape(groups, -1, 1, 1), grouped, 0.0)
    return np.asarray(left.transpose(0, 2, 1, 3).reshape(groups * grouped.shape[2], -1))


# ---------------------------------------------------------------- running the network
def _variances(analysis: Analysis, consumers: Sequence[Consumer], calibration: Calibration) -> dict[str, Array]:
    """By name of a tensor that consumers read the variance of each channel over samples and positions."""
    channel = {c.node.inputs[c.linear.data]: c.channel for c in consumers}
    found: dict[str, Array] = {}
    for names in _portions(analysis, list(channel)):
        session = Session(with_outputs(analysis.graph.model, names))
        rows: Counter[str] = Counter()
        sums, squares = dict.fromkeys(names, np.zeros(1)), dict.fromkeys(names, np.zeros(1))
        for feeds in calibration.runs:
            for name, values in session.run(feeds, names).items():
                flat = np.moveaxis(values, channel[name], -1).reshape(-1, values.shape[channel[name]])
                flat = flat.astype(np.float64)
                rows[name] += len(flat)
                sums[name], squares[name] = sums[name] + flat.sum(0), squares[name] + (flat**2).sum(0)
        for name, count in rows.items():
            found[name] = np.maximum(squares[name] / count - (sums[name] / count) ** 2, 0.0)
    return found


def _portions(analysis: Analysis, names: Sequence[str]) -> Iterator[list[str]]:
    """Names of tensors that fit into memory together."""
    portion: list[str] = []
    room = WAVE_BYTES
    for name in names:
        stored = analysis.graph.constants.get(name)  # a product of two constants reads one as its data
        count = stored.count if stored is not None else math.prod(a.size for a in analysis.tensors[name].axes or ())
        size = 4 * count
        if portion and size > room:
            yield portion
            portion, room = [], WAVE_BYTES
        portion.append(name)
        room -= size
    if portion:
        yield portion

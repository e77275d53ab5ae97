"""The error of one group of channels against its width, at its consumers and at the outputs of the network.

A channel that is silenced at one layer alone shows nothing in a network with batch normalisation and residual sums; so
the channels go from the whole group, the consumers are refitted, and what is left of the outputs is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_attnprune.grouping import Analysis, Group
from onnx_attnprune.recovery.gathered import Gathered
from onnx_attnprune.recovery.losses import LEAST, POWERS, Order, Probe, curve_of
from onnx_attnprune.recovery.readings import WIDEST, in_waves, readings_of
from onnx_attnprune.recovery.rows import Array

SHARES = (0.1, 0.25, 0.5, 0.75)  # of a group's channels whose removal is measured at the outputs


@dataclass(frozen=True, slots=True)
class Curve:
    """What it costs a network when the first k channels of a group's order go, and the rest is refitted.

    consumers [size + 1]: the mean squared error of what the group's consumers give over its variance, summed over them.
    outputs [size + 1]: the same of the network's output that is furthest off, between the measured widths and beyond
    them as the error at the consumers goes on. measured: (channels gone, error at the outputs).
    """

    consumers: tuple[float, ...]
    outputs: tuple[float, ...]
    measured: tuple[tuple[int, float], ...]


def curves_for(
    analysis: Analysis, orders: Mapping[int, Order], gathered: Gathered, probe: Probe,
    shares: Sequence[float] = SHARES,
) -> Iterator[tuple[Group, Curve]]:  # fmt: skip  # two lines
    """Measure groups, by id the order in which their channels go; the samples run once for as many groups as the
    moments of what their consumers read fit into memory.

    Consumers with more than WIDEST columns are not refitted, and are left out of the error at the consumers. Raises
    ModelError where the network does not run on the samples.
    """
    for wave in in_waves(analysis, [g for g in analysis.groups if g.id in orders], {}, WIDEST):
        readings = readings_of(analysis, wave, {}, WIDEST)
        moments = gathered.moments(analysis.graph.model, (r.views for g in wave for r in readings[g.id]))
        for group in wave:
            order = orders[group.id]
            consumers = curve_of(order, readings[group.id], moments)
            measured = tuple(dict(probe.errors(group, order, shares, moments)).items())
            outputs = through(consumers, measured)
            yield group, Curve(tuple(consumers.tolist()), tuple(outputs.tolist()), measured)


def through(curve: Array, points: Sequence[tuple[int, float]]) -> Array:
    """The error at the outputs at every width, through the measured (channels gone, error).

    Between two points it is a power of the error at the consumers, as it is beyond them, there within POWERS; it never
    falls. Without any point it is the error at the consumers.
    """
    rising: list[tuple[int, float]] = []
    for gone, error in points:
        if not rising or curve[gone] > curve[rising[-1][0]] * 1.001:
            rising.append((gone, max(error, LEAST)))
    if not rising:
        return curve
    x = np.log(np.maximum([curve[gone] for gone, _ in rising], LEAST))
    y = np.maximum.accumulate(np.log([error for _, error in rising]))
    slopes = np.clip(np.diff(y) / np.diff(x), *POWERS) if len(x) > 1 else np.ones(1)
    at = np.log(np.maximum(curve, LEAST))
    found = np.interp(at, x, y)
    found = np.where(at < x[0], y[0] + slopes[0] * (at - x[0]), found)
    found = np.where(at > x[-1], y[-1] + slopes[-1] * (at - x[-1]), found)
    out = np.exp(found)
    out[0] = 0.0
    return np.maximum.accumulate(out)


def widest_cut(outputs: Sequence[float], limit: float) -> int:
    """How many channels can go, at most, while the error stays within a limit; one channel always stays."""
    return int(np.searchsorted(np.asarray(outputs[:-1]), limit, side="right")) - 1

"""Batch norms that take made-up samples for those of the training, while a network is repaired on them.

A batch norm that is not folded remembers with which mean and variance each channel came in training. Made-up samples
come with others, so a fit on them weighs channels wrongly. With the statistics of these very samples in their place
(as in Li et al., "Revisiting Batch Normalization for Practical Domain Adaptation", 2016), every channel leaves a batch
norm with the mean and the spread that it has in training; only what the channels have to do with each other is made up.
A layer is linear in its weights, so what is fitted on such rows holds for those of the training, whose statistics come
back behind the repair.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.axes import Axis, BoolArray
from onnx_attnprune.graph import Graph, ModelProto, Node, float_type, store_constant
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.calibration import Calibration, Feeds
from onnx_attnprune.recovery.registry import Limits, Recovery, recover
from onnx_attnprune.recovery.rows import Array
from onnx_attnprune.recovery.segments import Segments
from onnx_attnprune.recovery.spent import Spent

MOST = 256  # samples that the statistics are taken on
LEAST = 1e-2  # of a variance in training, down to which one is followed: a channel that hardly varies is no louder
STRONGEST = 1e6  # by how much a variance may be raised for a channel that a batch norm gives out as good as constant


@dataclass(frozen=True, slots=True)
class Norm:
    """A batch norm whose statistics, `mean` and `variance` [channels], are constants that it alone reads."""

    node: Node
    axis: Axis
    mean: Array
    variance: Array

    def alike(self, variance: Array) -> Array:
        """The variance to divide by, under which channels of `variance` leave with the spread that they have in
        training."""
        own, epsilon = self.variance, float(self.node.attr("epsilon", 1e-5))
        above = np.minimum((own + epsilon) / np.maximum(own, 1e-30), STRONGEST)
        return np.maximum(np.maximum(variance, LEAST * own) * above - epsilon, 0.0)


def norms_of(analysis: Analysis) -> Iterator[Norm]:
    """The batch norms of the main graph whose statistics can be replaced."""
    graph = analysis.graph
    for node in graph.nodes:
        if node.op != "BatchNormalization" or node.domain or node.attr("training_mode", 0):
            continue
        known, names = analysis.tensors.get(node.inputs[0]), node.inputs[3:5]
        if known is None or known.axes is None or any(len(graph.readers.get(name, ())) != 1 for name in names):
            continue
        stored = [graph.constants.get(name) for name in names]
        mean, variance = (None if s is None else s.array().astype(np.float64) for s in stored)
        if mean is not None and variance is not None and (variance >= 0).all():
            yield Norm(node, known.axes[1], mean, variance)


Statistics = Mapping[str, Array]  # by name of the constant that holds them


def taken_on(
    analysis: Analysis, norms: Sequence[Norm], calibration: Calibration, room: int
) -> tuple[ModelProto, Statistics]:
    """A copy of the analysed model whose batch norms standardise by what comes of the samples, and those statistics.

    One batch norm after another, since each one's samples have gone through those before. room: bytes of the samples'
    tensors that are held between two.
    """
    model = ModelProto()
    model.CopyFrom(analysis.graph.model)
    segments, found = Segments(model, _some(calibration)), {}
    outputs = [v.name for v in model.graph.output]
    for k, norm in enumerate(norms):
        source = norm.node.inputs[0]
        goals = [*(later.node.outputs[0] for later in norms[k:]), *outputs]
        mean, variance = _moments(held[source] for held in segments.step([source], norm.node.outputs[:1], goals, room))
        mine = dict(zip(norm.node.inputs[3:5], (mean, norm.alike(variance)), strict=True))
        put(model, mine)
        found.update(mine)
    return model, found


def _some(calibration: Calibration) -> list[Feeds]:
    """Runs of about MOST samples, from all over them."""
    runs = calibration.runs
    count = min(max(MOST * len(runs) // max(calibration.samples, 1), 1), len(runs))
    return [runs[k * len(runs) // count] for k in range(count)]


def _moments(parts: Iterable[NDArray[Any]]) -> tuple[Array, Array]:
    """Mean and variance of each channel, on axis 1, over all parts."""
    count, first, second = 0, np.zeros(()), np.zeros(())
    for part in parts:
        rows = np.moveaxis(part, 1, 0).reshape(part.shape[1], -1).astype(np.float64)
        count, first, second = count + rows.shape[1], first + rows.sum(1), second + (rows**2).sum(1)
    mean = first / max(count, 1)
    return mean, np.maximum(second / max(count, 1) - mean**2, 0.0)


def put(model: ModelProto, statistics: Statistics) -> Statistics:
    """Replace constants, each of which one node alone reads; gives back what they held."""
    graph = Graph(model)
    fresh, before = graph.fresh_names(), {}
    for name, values in statistics.items():
        stored = graph.constants[name]
        old = stored.array()
        before[name] = old.astype(np.float64)
        largest = float(np.finfo(old.dtype).max)
        store_constant(model, graph, fresh, graph.readers[name], np.clip(values, -largest, largest), stored.dtype)
    return before


def at_home(
    name: str, analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, calibration: Calibration,
    limits: Limits,
) -> Recovery:  # fmt: skip  # two lines
    """Repair as `recover` does; with made-up samples, between batch norms that take them for those of the training."""
    used = calibration.foreign and float_type(pruned) != "bfloat16"
    norms = list(norms_of(analysis)) if used else []
    if not norms:
        return recover(name, analysis, alive, pruned, calibration, limits)
    spent = Spent()
    with spent.on("batch norms"):
        model, statistics = taken_on(analysis, norms, calibration, limits.room(0))
    left = {n: analysis.space.mask(norm.axis, alive) for norm in norms for n in norm.node.inputs[3:5]}
    plain = put(pruned, {n: values[left[n]] for n, values in statistics.items()})
    strange = replace(analysis, graph=analysis.graph.like(model))
    found = recover(name, strange, alive, pruned, calibration, limits)
    put(found.model, plain)
    return replace(found, parts=(*spent.parts, *found.parts))

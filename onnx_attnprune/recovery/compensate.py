"""Recovery "mean": the mean of what each consumer loses goes into its bias, without data."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import ModelProto
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.bias import Biases, Shift
from onnx_attnprune.recovery.calibration import Calibration
from onnx_attnprune.recovery.consumers import Consumer, consumers_of
from onnx_attnprune.recovery.laws import Array
from onnx_attnprune.recovery.means import Constants, input_means
from onnx_attnprune.recovery.registry import Recovery, recovery
from onnx_attnprune.recovery.through import by_group


@recovery("mean")
def compensate(
    analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, calibration: Calibration | None
) -> Recovery:
    """b += W_P^T mu_P for each consumer of removed channels P (RECOVERY.md, formula 4); edits `pruned` in place.

    W is the weight of the unpruned model, mu the mean of a channel at the consumer's input (`means.input_means`). Where
    only some of the means are known, only those channels are made up for. Where the removed channels are constant the
    result is exact, but for the border of a convolution that pads with zeros.
    """
    consumers = consumers_of(analysis, alive)
    means, constants, biases = input_means(analysis, consumers), Constants(analysis), Biases(pruned)
    compensated, notes = 0, []
    for consumer in consumers:
        node = consumer.node
        weight = constants.array(node.inputs[consumer.linear.weight])
        if weight is None:
            notes.append(f"{node.name}: its weight is computed at run time")
            continue
        mu = means[node.index]
        missing = consumer.removed & np.isnan(mu)
        if missing.any():
            notes.append(f"{node.name}: the mean is not known of {missing.sum()} of {consumer.removed.sum()} channels")
        if missing.sum() == consumer.removed.sum():
            continue
        compensated += 1
        values = lost(consumer, weight, np.where(consumer.removed & ~missing, mu, 0.0))[consumer.outputs]
        if values.any():
            biases.add(shift_of(analysis, consumer, values))
    return Recovery(pruned, "mean", len(consumers), compensated, tuple(notes))


def lost(consumer: Consumer, weight: Array, x: Array) -> Array:
    """What the consumer makes of an input that is `x` [input channels] at every position: [output channels]."""
    node, linear = consumer.node, consumer.linear
    if consumer.channel == -1:
        matrix = weight if linear.out == 0 else weight.T
        return np.asarray(float(node.attr("alpha", 1.0)) * (matrix @ x))
    groups = int(node.attr("group", 1))
    w = by_group(weight, groups, linear.into).sum(-1)
    # A transposed convolution spreads its taps over the positions between two of the input's.
    phases = math.prod(node.attr("strides") or (1,)) if linear.into == 0 else 1
    return np.asarray(np.matmul(w, x.reshape(groups, -1, 1)).reshape(-1) / phases)


def shift_of(analysis: Analysis, consumer: Consumer, values: Array) -> Shift:
    """What to add to the consumer's result, `values` per surviving output channel."""
    node = consumer.node
    result = analysis.tensors[node.outputs[0]]
    scale = float(node.attr("beta", 1.0)) if node.op == "Gemm" else 1.0
    place = consumer.linear.bias
    return Shift(node.outputs[0], consumer.channel, len(result.axes or ()), values, result.dtype, place, scale)

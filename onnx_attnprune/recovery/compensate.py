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
from onnx_attnprune.recovery.registry import Limits, Recovery, recovery
from onnx_attnprune.recovery.stored import why_not_stored

INT32 = 6  # as ONNX counts types: that of the bias of a product of whole numbers


@recovery("mean")
def compensate(
    analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, calibration: Calibration | None,
    limits: Limits,
) -> Recovery:  # fmt: skip  # two lines
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
        if weight is None or consumer.whole:
            why = "its weight is computed at run time" if weight is None else "means of whole numbers are not known"
            notes.append(f"{node.name}: {why}")
            continue
        why = why_not_stored(analysis, consumer)
        if why:
            notes.append(f"{node.name}: not compensated ({why})")
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
    matrix = consumer.form.matrix(weight)
    groups, columns, _ = matrix.shape
    rows = np.repeat(x, groups * columns // len(x)).reshape(groups, 1, columns)
    # A transposed convolution spreads its taps over the positions between two of the input's.
    phases = math.prod(consumer.node.attr("strides") or (1,)) if consumer.form.kind == "spread" else 1
    return np.asarray((rows @ matrix).reshape(-1) / phases)


def shift_of(analysis: Analysis, consumer: Consumer, values: Array) -> Shift:
    """What to add to the consumer's result, `values` per surviving output channel."""
    node = consumer.node
    result = analysis.tensors[next(o for o in node.outputs if o)]
    dtype = INT32 if consumer.whole else result.dtype
    if consumer.recurrent:  # the biases of input and state stand side by side, by direction
        apart = values.reshape(-1, len(values) // _directions(consumer))
        both = [apart, np.zeros_like(apart)]
        values = np.concatenate(both[::-1] if consumer.returns else both, axis=1)
    scale = float(node.attr("beta", 1.0)) if node.op == "Gemm" else 1.0
    place = consumer.linear.bias
    return Shift(
        next(o for o in node.outputs if o), consumer.channel, len(result.axes or ()), values, dtype, place, scale
    )


def _directions(consumer: Consumer) -> int:
    return 2 if consumer.node.attr("direction", "forward") == "bidirectional" else 1

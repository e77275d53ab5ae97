"""Finds the range of pixels that a network was trained on, from the statistics that its batch norms remember."""

from __future__ import annotations

import numpy as np

from onnx_attnprune.graph import with_outputs
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.calibration import RANGES, UNIT, WHITENED, Inputs, Range, in_range, procedural
from onnx_attnprune.recovery.means import Constants
from onnx_attnprune.runtime import Session

SAMPLES = 24


def likely_range(analysis: Analysis, inputs: Inputs) -> Range:
    """The range under which the first batch norm sees inputs most like those of its training.

    The distance is that of mean and variance per channel to the running ones. Without an unfolded batch norm it is a
    guess: one channel is taken to lie in [0, 1], colour to have zero mean and unit variance.
    """
    images = [shape for shape in inputs.shapes.values() if len(shape) > 3]
    if not images:
        return UNIT
    guess = UNIT if 1 in (images[0][1], images[0][-1]) else WHITENED
    norm = next((n for n, _ in analysis.effects if n.op == "BatchNormalization" and not n.domain), None)
    constants = Constants(analysis)
    mean, variance = (None, None) if norm is None else (constants.array(norm.inputs[k]) for k in (3, 4))
    if norm is None or mean is None or variance is None or not np.all(variance > 0):
        return guess
    session = Session(with_outputs(analysis.graph.model, [norm.inputs[0]]))
    found: dict[float, Range] = {}
    drawn = {own: procedural(inputs, SAMPLES, WHITENED if own else UNIT) for own in {p.whitened for p in RANGES}}
    for pixels in RANGES:
        total = []
        for feeds in drawn[pixels.whitened].runs:
            scaled = feeds if pixels.whitened else {n: in_range(inputs, n, a, pixels) for n, a in feeds.items()}
            total.append(session.run(scaled, [norm.inputs[0]])[norm.inputs[0]])
        x = np.concatenate(total).astype(np.float64)
        axes = tuple(k for k in range(x.ndim) if k != 1)
        off = (x.mean(axes) - mean) ** 2 / variance + np.log((x.var(axes) + 1e-12) / variance) ** 2
        found[float(off.mean())] = pixels
    return found[min(found)]

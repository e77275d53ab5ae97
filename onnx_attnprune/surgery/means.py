"""Scales means over channels: a mean over those that are left becomes one over all that there were, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import (
    FreshNames,
    GraphProto,
    ModelProto,
    Node,
    add_initializer,
    bodies_of,
    drop_initializer,
    new_node,
    stored_tensor,
)
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.ops import Tensor
from onnx_attnprune.surgery.names import first_output


def rescale(model: ModelProto, analysis: Analysis, alive: Mapping[int, BoolArray], fresh: FreshNames) -> None:
    """Multiply every mean over removed channels by the share of the channels that are left.

    Removed channels are zero in the masked model, so that the mean there is the sum of the others over the number of
    all. The product takes the mean's name: whatever reads it, in a body too, reads the product.
    """
    for node, mean, share in _means(analysis, alive):
        name = first_output(node.outputs)
        factor = stored_tensor(fresh.take(f"{name}_share"), np.array(share), mean.dtype)
        add_initializer(model, factor)
        body, at = _place(model, name)
        inner = fresh.take(f"{name}_of_kept")
        body.node[at].output[0] = inner
        body.node.insert(at + 1, new_node("Mul", [inner, factor.name], [name], f"{name}_scaled"))


def release(model: ModelProto, analysis: Analysis, alive: Mapping[int, BoolArray]) -> None:
    """Take the products out that `rescale` put into a model, where they are not out yet: means over the channels that
    are left alone.

    They are closer to the means of the unpruned network, in which the removed channels are no zeros.
    """
    for node, _, _ in _means(analysis, alive):
        body, at = _place(model, first_output(node.outputs))
        product = body.node[at]
        if product.op_type == node.op:
            continue
        body.node[at - 1].output[0] = product.output[0]
        drop_initializer(model, product.input[1])
        del body.node[at]


def _means(analysis: Analysis, alive: Mapping[int, BoolArray]) -> Iterator[tuple[Node, Tensor, float]]:
    """Every node that makes a mean over removed channels, the mean, and the share of the channels that are left."""
    for node, effect in analysis.effects:
        share = 1.0
        for axis in effect.averaged:
            share *= analysis.space.size(axis, alive) / axis.size
        if share != 1.0:
            yield node, effect.outputs[0], share


def _place(model: ModelProto, output: str) -> tuple[GraphProto, int]:
    """The body, and the place in it, of the node that makes a tensor."""
    return next(
        (b, k) for b in bodies_of(model.graph) for k, n in enumerate(b.node) if first_output(n.output) == output
    )

"""What can go from weights that the file computes, of which the plan can't name every channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from onnx_attnprune.axes import Reason, Space
from onnx_attnprune.graph import Fold, Node
from onnx_attnprune.ops import Effect, Tensor

COMPUTED = "the file computes this weight, over channels that are not zero"


def heed_folds(
    space: Space, folds: Mapping[str, Fold], node: Node, effect: Effect, operands: Sequence[Tensor | None]
) -> Effect:
    """What a rule says of a node, where it reads weights that the file computes.

    Channels along one axis of such a weight at most are silenced with what it is computed from. Others can go where the
    node is fed zeros in their place, or where what reads them makes zeros of them: the node itself makes none.
    `operands`: the node's own, None for one that is left out.
    """
    for place, (name, weight) in enumerate(zip(node.inputs, operands, strict=True)):
        fold = folds.get(name)
        if fold is None or weight is None:
            continue
        linear = effect.linear if effect.linear is not None and effect.linear.weight == place else None
        data = None if linear is None else operands[linear.data]
        for k, axis in enumerate(weight.axes or ()):
            made = linear is not None and k == linear.out
            fed = linear is not None and k == linear.into and data is not None and data.silent
            if made and k != fold.axis:
                effect = replace(effect, outputs=tuple(replace(t, silent=False) for t in effect.outputs))
            if not (made or fed or (linear is not None and k == linear.into == fold.axis)):
                space.keep(axis, Reason(COMPUTED, node.name, node.op))
    return effect

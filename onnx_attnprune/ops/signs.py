"""Which tensors hold no number below zero, whatever the input: told from the operators that make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnx_attnprune.graph import Constant, Node
from onnx_attnprune.ops.values import FLOATS

ALWAYS = {
    "Abs", "Exp", "HardSigmoid", "ReduceL1", "ReduceL2", "ReduceSumSquare", "Relu", "Sigmoid", "Softmax", "Softplus",
    "Sqrt",
}  # fmt: skip  # a list of names
# Where the first operand holds none.
AS_FIRST = {
    "Asinh", "Atan", "AveragePool", "Ceil", "Celu", "DepthToSpace", "Dropout", "Elu", "Erf", "Expand", "Flatten",
    "Floor", "Gather", "Gelu", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "HardSwish", "Identity",
    "LeakyRelu", "LpPool", "MaxPool", "Mish", "PRelu", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "Reshape", "Round", "Selu", "Slice", "Softsign", "SpaceToDepth", "Split", "Squeeze", "Swish",
    "Tanh", "ThresholdedRelu", "Tile", "Transpose", "Unsqueeze",
}  # fmt: skip  # a list of names
# Where no operand holds any.
AS_ALL = {"Add", "Concat", "Div", "Max", "Mean", "Min", "Mul", "Sum"}

Stored = Callable[[str], Constant | None]


def is_nonnegative(name: str, maker: Callable[[str], Node | None], constant: Stored) -> bool:
    """True where a float tensor can hold no number below zero; `maker`, `constant`: what makes a tensor, by name."""
    todo, seen = [name], {name}
    while todo:
        one = todo.pop()
        node = maker(one)
        if node is None:
            stored = constant(one)
            if stored is None or (stored.array() < 0).any():
                return False
            continue
        sources = _sources(node, constant)
        if sources is None:
            return False
        todo += [source for source in sources if source not in seen]
        seen.update(sources)
    return True


def _sources(node: Node, constant: Stored) -> Sequence[str] | None:
    """The tensors that must hold no number below zero so that the results hold none; None where that is not enough."""
    if node.domain:
        return None
    if node.op in ALWAYS or (node.op == "Mul" and node.inputs[0] == node.inputs[1]):
        return ()
    if node.op in AS_ALL:
        return node.inputs
    special = {"Cast": _cast, "Clip": _clip, "Pad": _pad, "Pow": _power, "Resize": _resize, "Where": _where}
    if node.op in special:
        return special[node.op](node, constant)
    return node.inputs[:1] if node.op in AS_FIRST else None


def _cast(node: Node, _: Stored) -> Sequence[str] | None:
    # An integer that is too large for its type may come out below zero.
    return node.inputs if node.attr("to") in FLOATS else None


def _clip(node: Node, constant: Stored) -> Sequence[str] | None:
    low = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    bound = node.attr("min") if low is None else low.array().min()
    return () if bound is not None and bound >= 0 else None


def _pad(node: Node, _: Stored) -> Sequence[str] | None:
    return None if node.attr("value", 0.0) < 0 else [name for k, name in enumerate(node.inputs) if k in (0, 2) and name]


def _power(node: Node, constant: Stored) -> Sequence[str] | None:
    exponent = constant(node.inputs[1])
    even = exponent is not None and not (exponent.array() % 2).any()
    return () if even else node.inputs[:1]


def _resize(node: Node, _: Stored) -> Sequence[str] | None:
    above = node.attr("mode", "nearest") != "cubic" and node.attr("extrapolation_value", 0.0) >= 0
    return node.inputs[:1] if above else None


def _where(node: Node, _: Stored) -> Sequence[str] | None:
    return node.inputs[1:]

"""Operator rules, one file a family; importing the package registers them all."""

from onnx_attnprune.ops import (
    attention,
    contrib,
    control,
    conv,
    elementwise,
    indexing,
    linear,
    nhwc,
    norm,
    packed,
    qlinear,
    quantized,
    recurrent,
    reduce,
    resize,
    shape,
    slicing,
)
from onnx_attnprune.ops.folds import FOLDS
from onnx_attnprune.ops.registry import ENTRIES, POSITION, RULES, Effect, Linear, Tensor, View
from onnx_attnprune.ops.values import FLOATS

__all__ = ["ENTRIES", "FLOATS", "FOLDS", "POSITION", "RULES", "Effect", "Linear", "Tensor", "View"]

FAMILIES = (
    attention, contrib, control, conv, elementwise, indexing, linear, nhwc, norm, packed, qlinear, quantized,
    recurrent, reduce, resize, shape, slicing,
)  # fmt: skip  # a list of names

"""The axis algebra: every axis of every tensor is a tree of dimension variables.

A `Var` is a set of coupled channels; `Product` composes axes, outermost first, as einops writes ``(a b)``; `Concat`
puts axes one behind the other; `Pick` takes single channels of an axis, in any order. A `Space` holds the relations
that the operators of one graph state: `tie` makes two axes one by unification, `keep` says that an axis must survive
whole. A plan says which channels of which free variable survive; the mask of any axis follows from its tree, so every
tensor stays rectangular by construction.

What unification can't align is kept whole, which is always sound. A product or a concat is strictly larger than any
part of it (factors of size 1 are dropped), so no variable can come to contain itself but through a `Pick`, where it is
checked.
"""

from onnx_attnprune.axes.space import Space
from onnx_attnprune.axes.tree import (
    ONE,
    Axis,
    BoolArray,
    Concat,
    Pick,
    Product,
    Reason,
    Var,
    concat,
    ids_of,
    leaves,
    pick_of,
    product,
)

__all__ = [
    "ONE", "Axis", "BoolArray", "Concat", "Pick", "Product", "Reason", "Space", "Var", "concat", "ids_of",
    "leaves", "pick_of", "product",
]  # fmt: skip  # a list of names

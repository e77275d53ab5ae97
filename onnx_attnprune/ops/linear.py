"""Matrix products."""

from __future__ import annotations

from onnx_attnprune.axes import ONE, Axis
from onnx_attnprune.errors import AxisError
from onnx_attnprune.ops.registry import Effect, Linear, View, broadcast, rule


@rule("Gemm")
def gemm(n: View) -> Effect:
    """m k, k n, (m n) -> m n, either operand transposed by its attribute"""
    left, right = n.attr("transA", 0), n.attr("transB", 0)
    v, out = n.unify(f"{'k m' if left else 'm k'}, {'n k' if right else 'k n'} -> m n")
    n.role(1, *(("producer", "consumer") if right else ("consumer", "producer")))
    n.role(0, *(("consumer", "producer") if left else ("producer", "consumer")))
    silent = n.tensor(1).silent and _rows_silent(n, 0, v["m"])
    if n.has(2):
        broadcast(n.space, [out, n.axes(2)])
        n.role(2, *["bias"] * len(n.axes(2)))
        silent = silent and n.tensor(2).silent and n.spans(2, out)
    _contract(n, v["k"])
    linear = None if left else Linear(0, 1, 2, out=0 if right else 1, into=1 if right else 0)
    return Effect((n.out(out, silent=silent),), macs=((*out, v["k"]),), linear=linear)


@rule("MatMul")
def matmul(n: View) -> Effect:
    """... m k, ... k n -> ... m n, leading axes broadcast"""
    a, b = n.axes(0), n.axes(1)
    if not a or not b:
        raise AxisError("a scalar operand")
    left, right = (a if len(a) > 1 else (ONE, *a)), (b if len(b) > 1 else (*b, ONE))
    n.tie(left[-1], right[-2])
    batch = broadcast(n.space, [left[:-2], right[:-2]])
    _contract(n, left[-1])
    if len(b) > 1:
        n.role(1, *[""] * (len(b) - 2), "consumer", "producer")
    if len(a) > 1:
        n.role(0, *[""] * (len(a) - 2), "producer", "consumer")
    whole = (*batch, left[-2], right[-1])
    silent = all(_axis_silent(n, k, whole, left, right) for k in range(len(whole)))
    out = (*batch, *left[-2:-1][: len(a) > 1], *right[-1:][: len(b) > 1])
    linear = Linear(0, 1, None, out=1, into=0) if len(b) == 2 and n.is_weight(1) else None
    return Effect((n.out(out, silent=silent),), macs=((*whole, left[-1]),), linear=linear)


@rule("Einsum")
def einsum(n: View) -> Effect:
    """letters that agree are one axis; summed letters as in a matrix product"""
    text = str(n.attr("equation", "")).replace(" ", "")
    terms, arrow, result = text.partition("->")
    operands = terms.split(",")
    if not arrow or "." in text or len(operands) != len(n.node.inputs) or len(operands) > 2:
        raise AxisError(f"the equation {text!r} is not one of the form 'ab,bc->ac'")
    axis: dict[str, Axis] = {}
    for place, letters in enumerate(operands):
        axes = n.axes(place)
        if len(letters) != len(axes) or len(set(letters)) != len(letters):
            raise AxisError(f"the equation {text!r} does not fit an operand of rank {len(axes)}")
        n.role(place, *("producer" if c in result else "consumer" for c in letters))
        for letter, one in zip(letters, axes, strict=True):
            n.tie(axis.setdefault(letter, one), one)
    summed = [c for c in axis if c not in result]
    for letter in summed:
        if not any(letter in letters and n.tensor(p).silent for p, letters in enumerate(operands)):
            _keep_unsilent(n, axis[letter])
    silent = all(
        n.space.is_kept(axis[c]) or any(c in letters and n.tensor(p).silent for p, letters in enumerate(operands))
        for c in result
    )
    out = tuple(axis[c] for c in result)
    return Effect((n.out(out, silent=silent),), macs=((*out, *(axis[c] for c in summed)),))


def _contract(n: View, axis: Axis) -> None:
    if not (n.tensor(0).silent or n.tensor(1).silent):
        _keep_unsilent(n, axis)


def _keep_unsilent(n: View, axis: Axis) -> None:
    if not n.space.is_kept(axis):
        n.keep(axis, "summed over, where a removed channel would not be zero")


def _rows_silent(n: View, place: int, rows: Axis) -> bool:
    return n.tensor(place).silent or n.space.is_kept(rows)


def _axis_silent(n: View, k: int, whole: tuple[Axis, ...], left: tuple[Axis, ...], right: tuple[Axis, ...]) -> bool:
    """True where a channel removed on axis k of the result is zero there."""
    if n.space.is_kept(whole[k]):
        return True
    back = len(whole) - k  # 1: the columns, 2: the rows, more: a leading axis
    in_left = back != 1 and len(left) >= back and left[-back] != ONE
    in_right = back != 2 and len(right) >= back and right[-back] != ONE
    return (in_left and n.tensor(0).silent) or (in_right and n.tensor(1).silent)

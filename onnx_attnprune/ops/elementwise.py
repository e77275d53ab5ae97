"""Operators that work element by element, broadcasting as numpy does."""

from __future__ import annotations

from onnx_attnprune.axes import Axis
from onnx_attnprune.ops.registry import Effect, Rule, View, rule

BOOL = 9
# Of zero they give zero, so a removed channel stays silent.
THROUGH_ZERO = [
    "Abs",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Ceil",
    "Celu",
    "Elu",
    "Erf",
    "Floor",
    "Gelu",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Mish",
    "Neg",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sign",
    "Sin",
    "Sinh",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
]
# Of zero they give something else, and it is finite.
PAST_ZERO = ["Acos", "Cos", "Cosh", "Exp", "HardSigmoid", "Not", "Sigmoid", "Softplus", "BitwiseNot", "IsNaN", "IsInf"]
# Of zero they give nothing finite.
NOT_AT_ZERO = ["Log", "Reciprocal", "Acosh"]
TO_BOOL = {"Not", "IsNaN", "IsInf", "Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Xor"}


def _unary(silent: bool) -> Rule:
    def unary(n: View) -> Effect:
        """... -> ..."""
        first = n.tensor(0)
        dtype = BOOL if n.node.op in TO_BOOL else first.dtype
        return Effect((n.out(n.axes(0), dtype=dtype, silent=silent and first.silent),))

    return unary


rule(*THROUGH_ZERO)(_unary(True))
rule(*PAST_ZERO)(_unary(False))


@rule("Dropout")
def dropout(n: View) -> Effect:
    """... -> ..., and a mask; kept in training, where what is dropped rests on the places of all"""
    if n.opset >= 12 and n.has(2):
        training = n.constant(2)
        if training is None or training.any():
            n.keep(n.axes(0), "dropped at random")
    silent = n.tensor(0).silent
    return Effect((n.out(n.axes(0), silent=silent), n.out(n.axes(0), dtype=BOOL))[: len(n.node.outputs)])


@rule(*NOT_AT_ZERO)
def not_at_zero(n: View) -> Effect:
    """... -> ...; kept where a silenced channel would be zero, of which there is no finite value"""
    if n.tensor(0).silent:
        n.keep(n.axes(0), "not finite at zero, which a silenced channel is")
    return Effect((n.out(n.axes(0)),))


@rule("Cast")
def cast(n: View) -> Effect:
    """... -> ..., of another type"""
    return Effect((n.out(n.axes(0), dtype=n.integer("to"), silent=n.tensor(0).silent),))


@rule("CastLike")
def cast_like(n: View) -> Effect:
    """... -> ..., of the second operand's type"""
    return Effect((n.out(n.axes(0), dtype=n.tensor(1).dtype, silent=n.tensor(0).silent),))


@rule("Clip")
def clip(n: View) -> Effect:
    """... -> ...; silent where zero lies between the bounds"""
    bounds = []
    for place, name, default in ((1, "min", -1.0), (2, "max", 1.0)):
        found = n.constant(place)
        known = found is not None or not n.has(place)
        bounds.append(float(found.reshape(-1)[0]) if found is not None else float(n.attr(name, default)))
        if not known:
            bounds[-1] = float("nan")
    return Effect((n.out(n.axes(0), silent=n.tensor(0).silent and bounds[0] <= 0 <= bounds[1]),))


def _roles(n: View, *roles: str) -> None:
    for place, role in enumerate(roles):
        if n.is_weight(place) and not all(n.is_weight(k) for k in range(len(roles))):
            n.role(place, *[role] * len(n.axes(place)))


def _all_silent(n: View, out: tuple[Axis, ...]) -> bool:
    return all(n.tensor(p).silent and n.spans(p, out) for p in range(len(n.node.inputs)))


def _result(n: View, out: tuple[Axis, ...], silent: bool) -> Effect:
    dtype = BOOL if n.node.op in TO_BOOL else n.tensor(0).dtype
    return Effect((n.out(out, dtype=dtype, silent=silent),))


@rule("Add", "Sub", "Sum", "Max", "Min", "Mean")
def additive(n: View) -> Effect:
    """operands broadcast together; silent where all of them are"""
    out = n.broadcast(*range(len(n.node.inputs)))
    _roles(n, *["bias"] * len(n.node.inputs))
    return _result(n, out, _all_silent(n, out))


@rule("Mul", "And", "BitwiseAnd", "SwiGLU")
def multiplicative(n: View) -> Effect:
    """operands broadcast together; silent where any of them is, on every axis"""
    out = n.broadcast(0, 1)
    _roles(n, "scale", "scale")
    return _result(n, out, any(n.tensor(p).silent and n.spans(p, out) for p in (0, 1)))


@rule("Div", "Mod")
def div(n: View) -> Effect:
    """operands broadcast together; a divisor that a silenced channel would make zero is kept"""
    out = n.broadcast(0, 1)
    if n.tensor(1).silent:
        n.keep(n.axes(1), "a divisor, which a silenced channel would make zero")
    return _result(n, out, n.tensor(0).silent and n.spans(0, out))


@rule("Pow")
def power(n: View) -> Effect:
    """operands broadcast together; silent where the base is and the exponent is a positive number"""
    out = n.broadcast(0, 1)
    exponent = n.constant(1)
    positive = exponent is not None and bool((exponent.reshape(-1) > 0).all()) and exponent.size == 1
    if n.tensor(0).silent and not positive:
        n.keep(n.axes(0), "a power that may not be finite at zero, which a silenced channel is")
    return _result(n, out, positive and n.tensor(0).silent and n.spans(0, out))


@rule("PRelu")
def prelu(n: View) -> Effect:
    """... with a slope that is broadcast to it"""
    out = n.broadcast(0, 1)
    n.role(1, *["scale"] * len(n.axes(1)))
    return _result(n, out, n.tensor(0).silent)


@rule("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Or", "Xor", "BitShift", "BitwiseOr", "BitwiseXor")
def compare(n: View) -> Effect:
    """operands broadcast together; never silent"""
    return _result(n, n.broadcast(0, 1), False)


@rule("Where")
def where(n: View) -> Effect:
    """three operands broadcast together; silent where both values are"""
    out = n.broadcast(0, 1, 2)
    silent = all(n.tensor(p).silent and n.spans(p, out) for p in (1, 2))
    return Effect((n.out(out, dtype=n.tensor(1).dtype, silent=silent),))

"""Elementwise operators at every version of each: broadcasting in every position, and what is zero of zero."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from onnx_attnprune.ops import elementwise
from tests.oracle import analyzed, assert_exact, assert_kept, each, net, parse, versions

FREE, HELD = {"w0": 4, "w": 5}, {"w0": 4}
# Operators that take (or give) something else than floats have tests of their own below.
ODD = {"Not", "BitwiseNot", "IsNaN", "IsInf"}
# Operators of one tensor that do not work on each of its elements alone, or that are about its type.
OTHERS = {
    "ArgMax", "ArgMin", "AveragePool", "Bernoulli", "BitCast", "BlackmanWindow", "Cast", "ConcatFromSequence",
    "ConstantOfShape", "DepthToSpace", "Det", "EyeLike", "Flatten", "GlobalAveragePool", "GlobalLpPool",
    "GlobalMaxPool", "HammingWindow", "HannWindow", "Hardmax", "ImageDecoder", "LRN", "LogSoftmax",
    "LpNormalization", "LpPool", "MeanVarianceNormalization", "Multinomial", "NonZero", "OptionalGetElement",
    "OptionalHasElement", "RandomNormalLike", "RandomUniformLike", "RegexFullMatch", "SequenceLength", "Shape",
    "Size", "Softmax", "SpaceToDepth", "StringNormalizer", "TfIdfVectorizer", "Transpose",
}  # fmt: skip  # a table
FINITE = {"Acos": "Sin (h)", "Asin": "Sin (h)", "Atanh": "Sin (h)", "Sqrt": "Relu (h)"}  # a domain that they need


def summed(body: str, opset: int = 11, weights: str = "", op: str = "ReduceSum") -> ModelProto:
    """The body's result `s`, and its sum over channels beside it: exact only where silent channels are zero."""
    axes = "axes=[1], keepdims=1" if opset < 13 else "keepdims=1"
    more = "" if opset < 13 else ", one"
    declared = ", ".join(d for d in (weights, "" if opset < 13 else "int64[1] one = {1}") if d)
    return net(f"{body} k = {op} <{axes}> (s{more}) t = Mul (s, k)", declared, opset=opset)


def unary(op: str) -> str:
    """A node of the operator in its domain."""
    return f"r = {FINITE[op]} s = {op} (r)" if op in FINITE else f"s = {op} (h)"


@pytest.mark.parametrize(("op", "opset"), [c for c in each(*elementwise.THROUGH_ZERO, "Dropout") if c[0] not in ODD])
def test_zero_of_zero(op: str, opset: int) -> None:
    """A silenced channel stays zero, so that a sum over channels is exact."""
    assert_exact(summed(unary(op), opset), FREE)


@pytest.mark.parametrize(("op", "opset"), [c for c in each(*elementwise.PAST_ZERO) if c[0] not in ODD])
def test_past_zero(op: str, opset: int) -> None:
    """A silenced channel is no longer zero: a convolution may follow, a sum over channels may not."""
    assert_exact(net(unary(op).replace("s =", "t ="), opset=opset), FREE)
    analysis = assert_exact(summed(unary(op), opset), HELD)
    assert_kept(analysis, "w", 0, "ReduceSum", "over channels")


def at_zero(op: str) -> float:
    """What onnx's own evaluator gives for an operator at zero."""
    model = parse(f"g (float[1] x) => (float[A] y) {{ y = {op} (x) }}", 24)
    with np.errstate(all="ignore"):
        (found,) = ReferenceEvaluator(model).run(None, {"x": np.zeros(1, np.float32)})
    return float(np.asarray(found)[0])


def test_what_operators_give_of_zero() -> None:
    """The three lists are right, and each operator that works on one tensor alone stands in one of them."""
    for name in set(elementwise.THROUGH_ZERO) - ODD:
        assert at_zero(name) == 0, name
    for name in set(elementwise.PAST_ZERO) - ODD:
        assert math.isfinite(at_zero(name)), name
        assert at_zero(name) != 0, name
    for name in elementwise.NOT_AT_ZERO:
        assert not math.isfinite(at_zero(name)), name
    listed = {*elementwise.THROUGH_ZERO, *elementwise.PAST_ZERO, *elementwise.NOT_AT_ZERO}
    alone = {
        s.name
        for s in onnx.defs.get_all_schemas()
        if not s.domain and s.min_input == s.max_input == s.min_output == s.max_output == 1
    }
    assert alone - OTHERS <= listed, alone - OTHERS - listed


@pytest.mark.parametrize(("op", "opset"), each(*elementwise.NOT_AT_ZERO))
def test_not_at_zero(op: str, opset: int) -> None:
    body, weights = f"a = Abs (h) q = Add (a, varc) r = Add (q, varc) t = {op} (r)", "float[5,1,1] varc"
    analysis = assert_exact(net(body, weights, opset=opset), HELD)
    assert_kept(analysis, "w", 0, op, "not finite at zero")
    assert_exact(net(f"a = Abs (h) o = Exp (a) t = {op} (o)", opset=opset), FREE)


@pytest.mark.parametrize(("op", "opset"), each("IsNaN", "IsInf"))
def test_tests_of_floats(op: str, opset: int) -> None:
    body = f"o = {op} (h) z = Cast <to=1> (o) t = Add (z, h)"
    assert_exact(net(body, opset=opset), FREE)


def test_not() -> None:
    assert_exact(net("o = Greater (h, l) i = Not (o) t = Cast <to=1> (i)", "float[1] l = {0.1}", opset=9), FREE)


def test_bitwise() -> None:
    body = """i = Cast <to=6> (h) o = BitwiseNot (i) a = BitwiseAnd (o, m) e = BitwiseXor (a, i) s =
    BitShift <direction="LEFT"> (u, d)
    f = Cast <to=1> (e) g = Cast <to=1> (s) t = Add (f, g)"""
    weights = "int32[5,1,1] m = {3, 6, 1, 7, 5}, uint8[5,1,1] u = {3, 1, 4, 1, 5}, uint8[5,1,1] d = {2, 1, 0, 3, 1}"
    analysis = assert_exact(net(body, weights, opset=18), FREE)
    assert {m.slot.tensor for g in analysis.groups if g.name == "w" for m in g.members} >= {"m", "u", "d"}


@pytest.mark.parametrize("opset", versions("Cast"))
def test_cast(opset: int) -> None:
    analysis = assert_exact(summed("d = Cast <to=11> (h) r = Relu (d) s = Cast <to=1> (r)", opset), FREE)
    assert analysis.tensors["d"].dtype == 11


@pytest.mark.parametrize("opset", versions("CastLike"))
def test_cast_like(opset: int) -> None:
    analysis = assert_exact(summed("r = CastLike (h, e) q = Abs (r) s = CastLike (q, b)", opset, "double[1] e"), FREE)
    assert analysis.tensors["r"].dtype == 11


CLIPS = {"both": (-0.3, 0.4), "low": (-0.3, None), "high": (None, 0.4), "off zero": (0.1, 0.4), "under": (-0.4, -0.1)}


@pytest.mark.parametrize("opset", versions("Clip"))
@pytest.mark.parametrize("case", CLIPS)
def test_clip(case: str, opset: int) -> None:
    low, high = CLIPS[case]
    if opset < 11:
        given = ", ".join(f"{k}={v}" for k, v in (("min", low), ("max", high)) if v is not None)
        body, weights = f"s = Clip <{given}> (h)", ""
    else:
        body = f"s = Clip (h, {'' if low is None else 'l'}, {'' if high is None else 'u'})".replace(", )", ")")
        weights = ", ".join(f"float {n} = {{{v}}}" for n, v in (("l", low), ("u", high)) if v is not None)
    zero = case not in ("off zero", "under")
    assert_exact(summed(body, opset, weights), FREE if zero else HELD)
    assert_exact(net(body.replace("s =", "t ="), weights, opset=opset), FREE)


def test_clip_with_late_bounds() -> None:
    """A bound that is computed may lie off zero."""
    assert_exact(summed("m = ReduceMean <keepdims=0> (x) a = Abs (m) s = Clip (h, a)", 12), HELD)


# ---------------------------------------------------------------- two and more operands
SHAPES = [
    "float[5,1,1] c",
    "float[1,5,1,1] c",
    "float[1] c",
    "float[1,1,1,1] c",
    "float[7] c",
    "float[9,1] c",
    "float[5,9,7] c",
]


@pytest.mark.parametrize(
    ("op", "opset"), each("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "PRelu", "Mod")
)
@pytest.mark.parametrize("c", ["float[5,1,1] varc", "float[1] varc"])
def test_with_a_constant(op: str, opset: int, c: str) -> None:
    if opset < 8 and op in ("Max", "Min", "Sum", "Mean"):  # these did not broadcast yet
        assert_exact(net(f"r = Sin (h) q = Tan (h) t = {op} (r, q)", opset=opset), FREE)
        return
    attributes = "<fmod=1>" if op == "Mod" else ""
    base = "a = Abs (h) r = Exp (a)" if op == "Pow" else "r = Identity (h)"
    model = net(f"{base} t = {op} {attributes} (r, varc)", c, opset=opset)
    assert_exact(model, HELD if op in ("Div", "Mod") and c.startswith("float[5") else FREE)


@pytest.mark.parametrize("c", SHAPES)
@pytest.mark.parametrize("order", ["h, c", "c, h"])
@pytest.mark.parametrize("op", ["Add", "Mul", "Max", "Where"])
def test_broadcasting(c: str, order: str, op: str) -> None:
    made = f"t = {op} ({order})" if op != "Where" else f"o = Greater (h, c) t = Where (o, {order})"
    analysis = assert_exact(net(made, c, opset=12), FREE)
    lies = {(m.slot.tensor, m.axis) for g in analysis.groups if g.name == "w" for m in g.members}
    assert ("c", 1 if c == "float[1,5,1,1] c" else 0) in lies or "5" not in c


def test_divided_by_silence() -> None:
    """A divisor that a silenced channel would make zero; one that is never zero may lose channels."""
    analysis = assert_exact(net("r = Exp (h) t = Div (h, r)"), FREE)
    analysis = assert_exact(
        net("d = Conv (p, q, c) r = Exp (h) t = Div (r, d)", "float[5,4,1,1] q, float[5] c = {9, -9, 9, 8, 7}"), HELD
    )
    assert_kept(analysis, "q", 0, "Div", "divisor")


def test_powers() -> None:
    """Zero to a positive number is zero; to another one it may be anything."""
    assert_exact(summed("s = Pow (h, e)", 12, "float[1] e = {2.0}"), FREE)
    body = "a = Abs (h) q = Add (a, varc) t = Pow (q, e)"
    analysis = assert_exact(net(body, "float[5,1,1] varc, float[1] e = {-1.5}", opset=12), HELD)
    assert_kept(analysis, "w", 0, "Pow", "may not be finite at zero")


SILENT = {
    "both added": ("s = Add (h, c)", "float[5,1,1] c", True),
    "added to all channels alike": ("s = Add (h, c)", "float[1,1,1] c", False),
    "added along space": ("s = Add (h, c)", "float[7] c", False),
    "subtracted from one for all": ("s = Sub (c, h)", "float[1] c", False),
    "least of three": ("q = Relu (h) s = Min (h, q, c)", "float[5,1,1] c", True),
    "scaled alike": ("s = Mul (h, c)", "float[1] c", True),
    "scaled by a gate": ("g = Sigmoid (h) s = Mul (g, h)", "", True),
    "gates only": ("g = Sigmoid (h) q = Exp (h) s = Mul (g, q)", "", False),
    "one of two": ("g = Sigmoid (h) s = Add (g, h)", "", False),
    "a quotient": ("g = Exp (h) s = Div (h, g)", "", True),
    "a quotient of no zero": ("g = Exp (h) q = Sigmoid (h) s = Div (q, g)", "", False),
    "slopes": ("s = PRelu (h, c)", "float[5,1,1] c", True),
    "slopes on no zero": ("g = Cos (h) s = PRelu (g, c)", "float[5,1,1] c", False),
    "chosen of zeros": ("o = Greater (x1, l) q = Neg (h) s = Where (o, h, q)", "float[1] l", True),
    "chosen of one for all": ("o = Greater (x1, l) s = Where (o, h, c)", "float[1] l, float[1] c", False),
    "chosen of others": ("o = Greater (x1, l) g = Exp (h) s = Where (o, h, g)", "float[1] l", False),
    "a base off zero": ("g = Exp (h) s = Pow (g, c)", "float[1] c = {2.0}", False),
    "compared": ("o = LessOrEqual (h, c) s = Cast <to=1> (o)", "float[5,1,1] c", False),
    "through zero of no zero": ("g = Exp (h) s = Tanh (g)", "", False),
    "dropped out": ("s = Dropout (h)", "", True),
}


@pytest.mark.parametrize("case", SILENT)
def test_silence(case: str) -> None:
    """A sum over channels is exact where silent channels are zero, else they are kept."""
    body, weights, silent = SILENT[case]
    body = f"x1 = ReduceSum <axes=[1], keepdims=1> (x) {body}" if "x1" in body else body
    analysis = assert_exact(summed(body, 12, weights), FREE if silent else HELD)
    if not silent:
        assert_kept(analysis, "w", 0, "ReduceSum", "over channels")


@pytest.mark.parametrize(("op", "opset"), each("Greater", "Less", "Equal", "GreaterOrEqual", "LessOrEqual"))
def test_comparisons(op: str, opset: int) -> None:
    """Their results are booleans, laid over both operands."""
    to = "a = Floor (h) i = Cast <to=6> (a)" if op == "Equal" and opset < 11 else "i = Floor (h)"
    c = "int32[5,1,1] c = {0, -1, 0, 1, 0}" if op == "Equal" and opset < 11 else "float[5,1,1] c = {0, -1, 0, 1, 0}"
    analysis = assert_exact(net(f"{to} o = {op} (i, c) z = Cast <to=1> (o) t = Add (z, h)", c, opset=opset), FREE)
    assert analysis.tensors["o"].dtype == elementwise.BOOL


@pytest.mark.parametrize("op", ["And", "Or", "Xor"])
def test_logic(op: str) -> None:
    assert_exact(
        net(
            f"a = Greater (h, l) o = {op} (a, m) t = Cast <to=1> (o)",
            "float[1] l = {0.1}, bool[5,1,1] m = {1,0,1,1,0}",
            opset=9,
        ),
        FREE,
    )


@pytest.mark.parametrize("opset", versions("Where"))
def test_where(opset: int) -> None:
    analysis = assert_exact(
        net("o = Greater (h, l) t = Where (o, c, h)", "float[1] l = {0.1}, float[5,1,1] c", opset=opset), FREE
    )
    assert analysis.tensors["t"].dtype == 1


@pytest.mark.parametrize("op", ["Add", "Mul", "Sub"])
def test_roles(op: str) -> None:
    analysis = assert_exact(net(f"t = {op} (h, c)", "float[5,1,1] c"), FREE)
    roles = {m.slot.tensor: m.role for g in analysis.groups for m in g.members}
    assert roles["c"] == ("scale" if op == "Mul" else "bias")


def test_dropout_with_mask() -> None:
    assert_exact(net("t, m = Dropout (h)", opset=13), FREE)
    assert_exact(net("t, m = Dropout (h, r)", "float r = {0.3}", opset=13), FREE)


@pytest.mark.parametrize("opset", versions("Dropout", 12))
def test_dropout_in_training(opset: int) -> None:
    """What is dropped rests on the places of all channels: kept, unless it is known not to train."""
    weights = "float ratio = {0.5}, bool train = {1}, bool still = {0}"
    assert_exact(net("t = Dropout (h, ratio, still)", weights, opset=opset), FREE)
    analysis = analyzed(net("t = Dropout (h, ratio, train)", weights, opset=opset), HELD)
    assert_kept(analysis, "w", 0, "Dropout", "at random")
    late = "m = ReduceMax <keepdims=0> (x) yes = Cast <to=9> (m) t = Dropout (h, ratio, yes)"
    assert_kept(analyzed(net(late, weights, opset=opset), HELD), "w", 0, "Dropout", "at random")

"""Matrix products at every version of each: every transposition, rank, and position of the constant."""

from __future__ import annotations

from itertools import product

import pytest

from tests.oracle import analyzed, assert_exact, assert_kept, each, parse, versions

TURNS = list(product((0, 1), (0, 1)))
ROWS, Y2, Y3 = "float[6, 3] x", "float[A, B] y", "float[A, B, C] y"
BIAS = {
    "none": "",
    "scalar": "float b",
    "one": "float[1] b",
    "channels": "float[5] b",
    "row": "float[1, 5] b",
    "rows": "float[6, 1] b",
}


@pytest.mark.parametrize("opset", versions("Gemm"))
@pytest.mark.parametrize(("left", "right"), TURNS)
@pytest.mark.parametrize("bias", BIAS)
def test_gemm(bias: str, left: int, right: int, opset: int) -> None:
    """x @ w0 -> the Gemm (5 channels) -> v; rows are kept, whichever side they are on."""
    if bias == "none" and opset < 11:  # the third operand is not optional yet
        bias = "scalar"
    w = "float[5, 4] w" if right else "float[4, 5] w"
    p = "q = MatMul (x, w0) p = Transpose (q)" if left else "p = MatMul (x, w0)"
    given = "p, w" if bias == "none" else "p, w, b"
    body = f"{p} t = Gemm <transA={left}, transB={right}, alpha=0.5, beta=2.0> ({given}) y = MatMul (t, v)"
    weights = ", ".join(d for d in ("float[3, 4] w0", w, BIAS[bias], "float[5, 2] v") if d)
    analysis = assert_exact(parse(f"g ({ROWS}) => ({Y2}) <{weights}> {{ {body} }}", opset), {"w0": 4, "w": 5})
    roles = {(m.slot.tensor, m.axis): m.role for g in analysis.groups for m in g.members}
    assert roles["w", 0 if right else 1] == "producer"
    assert roles["w", 1 if right else 0] == "consumer"
    assert roles.get(("b", 1 if bias == "row" else 0)) == ("bias" if bias in ("channels", "row") else None)


@pytest.mark.parametrize("opset", versions("Gemm"))
@pytest.mark.parametrize(("left", "right"), TURNS)
def test_gemm_with_the_constant_left(left: int, right: int, opset: int) -> None:
    """Channels are the rows of the weight: w (5 x 4) times x' (4 x 6)."""
    w, b = ("float[4, 5] w" if left else "float[5, 4] w"), "float[5, 1] b"
    p = "p = MatMul (x, w0)" if right else "q = MatMul (x, w0) p = Transpose (q)"
    body = f"{p} t = Gemm <transA={left}, transB={right}> (w, p, b) y = MatMul (v, t)"
    model = parse(f"g ({ROWS}) => ({Y2}) <float[3, 4] w0, {w}, {b}, float[2, 5] v> {{ {body} }}", opset)
    analysis = assert_exact(model, {"w0": 4, "w": 5})
    roles = {(m.slot.tensor, m.axis): m.role for g in analysis.groups for m in g.members}
    assert (roles["w", 1 if left else 0], roles["w", 0 if left else 1]) == ("producer", "consumer")


MATMUL = {
    # name: (x, y, weights, body, groups); a sum over the channels beside proves that silence is told right
    "two of rank 2": (
        ROWS,
        Y2,
        "float[3,4] w0, float[4,5] w, float[5,2] v",
        "p = MatMul (x, w0) t = MatMul (p, w) %1 u = Mul (t, k) y = MatMul (u, v)",
        {"w0": 4, "w": 5},
    ),
    "batches of rows": (
        "float[N,6,3] x",
        Y3,
        "float[3,4] w0, float[4,5] w, float[5,2] v",
        "p = MatMul (x, w0) t = MatMul (p, w) %2 u = Mul (t, k) y = MatMul (u, v)",
        {"w0": 4, "w": 5},
    ),
    "constant left": (
        ROWS,
        Y2,
        "float[4,6] w0, float[5,4] w, float[2,5] v",
        "p = MatMul (w0, x) t = MatMul (w, p) y = MatMul (v, t)",
        {"w0": 4, "w": 5},
    ),
    "constant left of batches": (
        "float[N,6,3] x",
        Y3,
        "float[4,6] w0, float[2,4] v",
        "t = MatMul (w0, x) %1 u = Mul (t, k) y = MatMul (v, u)",
        {"w0": 4},
    ),
    "a weight for each head": (
        "float[N,7,6,3] x",
        "float[A,B,C,D] y",
        "float[7,3,4] w0, float[7,4,2] v",
        "t = MatMul (x, w0) y = MatMul (t, v)",
        {"w0": 4},
    ),
    "heads that go": (
        "float[N,1,6,3] x",
        "float[A,B,C,D] y",
        "float[7,3,4] w0, float[4,2] v, float[2,7,1,1] u",
        "p = MatMul (x, w0) t = MatMul (p, v) y = Conv (t, u)",
        {"w0": 7, "w0#2": 4},
    ),
    "a vector right": (
        ROWS,
        "float[A] y",
        "float[3,4] w0, float[4] v",
        "t = MatMul (x, w0) y = MatMul (t, v)",
        {"w0": 4},
    ),
    "a vector left": (
        "float[3] x",
        "float[A] y",
        "float[3,4] w0, float[4,2] v",
        "t = MatMul (x, w0) %0 u = Mul (t, k) y = MatMul (u, v)",
        {"w0": 4},
    ),
    "a constant vector left": (
        ROWS,
        "float[A] y",
        "float[6] w0, float[3,4] w, float[4,2] v",
        "p = MatMul (w0, x) t = MatMul (p, w) y = MatMul (t, v)",
        {"w": 4},
    ),
    "no constant": (
        "float[N,6,3] x",
        "float[A,B,C] y",
        "float[3,4] q, float[3,4] k, float[3,5] v, float[5,2] o",
        "a = MatMul (x, q) b = MatMul (x, k) c = "
        "Transpose <perm=[0,2,1]> (b) s = MatMul "
        "(a, c) e = MatMul (x, v) t = MatMul (s, "
        "e) y = MatMul (t, o)",
        {"q": 4, "v": 5},
    ),
    "no silence, no cut": (
        ROWS,
        Y2,
        "float[3,4] w0, float[4,5] w, float[5,2] v, float[3,5] q",
        "a = MatMul (x, w0) r = MatMul (a, w) s = Exp (r) b = MatMul "
        "(x, q) f = Cos (b) g = Transpose (f) t = MatMul (s, g) y = "
        "Relu (t)",
        {"w0": 4},
    ),
    "one silent, one not": (
        ROWS,
        Y2,
        "float[3,5] q, float[3,5] w",
        "a = MatMul (x, q) s = Exp (a) b = MatMul (x, w) g = Transpose (b) y = MatMul (s, g)",
        {"q": 5},
    ),
    "a transposed weight": (
        ROWS,
        Y2,
        "float[4,3] w0, float[2,4] v",
        "c = Transpose (w0) t = MatMul (x, c) d = Transpose (v) %1 u = Mul (t, k) y = MatMul (u, d)",
        {"w0": 4},
    ),
}


def with_sum(x: str, y: str, weights: str, body: str, opset: int) -> str:
    """The graph's text; `%1` stands for k, the sum of t over axis 1."""
    for axis in range(3):
        old, new = f"k = ReduceSum <axes=[{axis}], keepdims=1> (t)", "k = ReduceSum <keepdims=1> (t, one)"
        if f"%{axis}" in body:
            body = body.replace(f"%{axis}", old if opset < 13 else new)
            weights += "" if opset < 13 else f", int64[1] one = {{{axis}}}"
    return f"g ({x}) => ({y}) <{weights}> {{ {body} }}"


@pytest.mark.parametrize("opset", versions("MatMul"))
@pytest.mark.parametrize("case", MATMUL)
def test_matmul(case: str, opset: int) -> None:
    x, y, weights, body, groups = MATMUL[case]
    analysis = assert_exact(parse(with_sum(x, y, weights, body, opset), opset), groups, tolerance=1e-4)
    if case == "no silence, no cut":
        assert_kept(analysis, "w", 1, "MatMul", "a removed channel would not be zero")


def test_matmul_roles() -> None:
    model = parse(
        f"g ({ROWS}) => ({Y2}) <float[4,6] w0, float[3,5] w, float[5,2] v> {{ p = MatMul (w0, x) t = MatMul (p, w) "
        f"y = MatMul (t, v) }}"
    )
    analysis = assert_exact(model, {"w": 5})  # the rows of w0 reach the output
    roles = {(m.slot.tensor, m.axis): m.role for g in analysis.groups for m in g.members}
    assert roles == {("w", 1): "producer", ("v", 0): "consumer"}
    assert_kept(analysis, "w0", 0, "", "graph output")


def test_macs() -> None:
    text = (
        f"g ({ROWS}) => ({Y2}) <float[3,4] w0, float[5,4] w, float[5,2] v> {{ p = MatMul (x, w0) t = Gemm "
        f'<transB=1> (p, w) y = Einsum <equation = "ab,bc->ac"> (t, v) }}'
    )
    assert assert_exact(parse(text, 12)).macs({}) == 6 * (3 * 4 + 4 * 5 + 5 * 2)


EINSUM = {
    "a matrix product": ("nk,kc->nc", "float[4,5] w", {"w0": 4, "w": 5}, "Identity", "float[5,2] v"),
    "a transposed one": ("nk, ck -> nc", "float[5,4] w", {"w0": 4, "w": 5}, "Identity", "float[5,2] v"),
    "a turned result": ("nk,kc->cn", "float[4,5] w", {"w0": 4, "w": 5}, "Transpose", "float[5,2] v"),
    "scales": ("nk,k->nk", "float[4] w", {"w0": 4}, "Identity", "float[4,2] v"),
    "an outer product and a sum": (
        "nk,kco->nc",
        "float[4,5,6] w",
        {"w0": 4, "w": 5, "w#2": 6},
        "Identity",
        "float[5,2] v",
    ),
}


@pytest.mark.parametrize("opset", versions("Einsum"))
@pytest.mark.parametrize("case", EINSUM)
def test_einsum(case: str, opset: int) -> None:
    equation, w, groups, how, v = EINSUM[case]
    turn = f"t = {how} (s)"
    body = f'p = MatMul (x, w0) s = Einsum <equation = "{equation}"> (p, w) {turn} %1 u = Mul (t, k) y = MatMul (u, v)'
    text = with_sum(ROWS, Y2, f"float[3,4] w0, {w}, {v}", body, opset)
    assert_exact(parse(text, opset), groups, tolerance=1e-4)


@pytest.mark.parametrize(("op", "opset"), each("Einsum"))
def test_einsum_without_silence(op: str, opset: int) -> None:
    body = f'p = MatMul (x, w0) e = Exp (p) q = MatMul (x, w) f = Cos (q) y = {op} <equation = "nk,mk->nm"> (e, f)'
    model = parse(
        f"g ({ROWS}) => ({Y2}) <float[3,4] a, float[4,3] b, float[3,5] w0, float[3,5] w> {{ z = MatMul (x, a) x2 = "
        f"MatMul (z, b) {body.replace('(x,', '(x2,')} }}",
        opset,
    )
    analysis = assert_exact(model, {"a": 4, "b": 3}, tolerance=1e-4)
    assert_kept(analysis, "w0", 1, "Einsum", "a removed channel would not be zero")


@pytest.mark.parametrize("equation", ["ij,jk", "...j,jk->...k", "ii,ik->ik", "ab,bc,cd->ad"])
def test_einsum_that_is_not_followed(equation: str) -> None:
    """Repeated letters, dots and more than two operands: kept, with the equation in the reason."""
    x = "float[3, 3] x" if "ii" in equation else ROWS
    operands = "q, w, c" if equation.count(",") == 2 else "q, w"
    body = f'p = MatMul (x, w0) q = MatMul (p, u) t = Einsum <equation = "{equation}"> ({operands}) y = Relu (t)'
    weights = "float[3,5] w0, float[5,3] u, float[3,4] w, float[4,2] c"
    analysis = assert_exact(parse(f"g ({x}) => ({Y2}) <{weights}> {{ {body} }}", 12), {"w0": 5})
    assert_kept(analysis, "u", 1, "Einsum", equation)


@pytest.mark.parametrize("bias", BIAS)
def test_gemm_and_silence(bias: str) -> None:
    """A sum over the result's channels is exact where the bias is zero for removed ones, too."""
    given = "p, w" if bias == "none" else "p, w, b"
    body = f"p = MatMul (x, w0) t = Gemm ({given}) %1 u = Mul (t, k) y = MatMul (u, v)"
    weights = ", ".join(d for d in ("float[3, 4] w0, float[4, 5] w", BIAS[bias], "float[5, 2] v") if d)
    analysis = assert_exact(
        parse(with_sum(ROWS, Y2, weights, body, 13), 13),
        {"w0": 4, "w": 5} if bias in ("none", "channels", "row") else {"w0": 4},
    )
    if bias in ("scalar", "one", "rows"):
        assert_kept(analysis, "w", 1, "ReduceSum", "over channels")


LOUD = {
    # A constant that is not zero where it is silenced: its channels are heard in a sum over the result.
    "Gemm": "p = MatMul (x, w0) e = Exp (w) t = Gemm (p, e) %1 u = Mul (t, k) y = MatMul (u, v)",
    "MatMul": "p = MatMul (x, w0) e = Exp (w) t = MatMul (p, e) %1 u = Mul (t, k) y = MatMul (u, v)",
    "Einsum": 'p = MatMul (x, w0) e = Exp (w) t = Einsum <equation="nk,kc->nc"> (p, e) %1 u = Mul (t, k) y = '
    "MatMul (u, v)",
}


@pytest.mark.parametrize("op", LOUD)
def test_a_loud_weight(op: str) -> None:
    text = with_sum(ROWS, Y2, "float[3,4] w0, float[4,5] w, float[5,2] v", LOUD[op], 13)
    assert_kept(assert_exact(parse(text, 13), {"w0": 4}, tolerance=1e-4), "w", 1, "ReduceSum", "over channels")


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_a_loud_weight_on_the_left(op: str) -> None:
    body = f"q = MatMul (x, w0) p = Transpose (q) e = Exp (w) t = {op} (e, p) %0 u = Mul (t, k) y = MatMul (v, u)"
    text = with_sum(ROWS, Y2, "float[3,4] w0, float[5,4] w, float[2,5] v", body, 13)
    assert_kept(assert_exact(parse(text, 13), {"w0": 4}, tolerance=1e-4), "w", 0, "ReduceSum", "over channels")


def test_gemm_of_loud_operands() -> None:
    body = "a = MatMul (x, w0) e = Exp (a) b = MatMul (x, w) f = Cos (b) t = Gemm <transB=1> (e, f) y = Relu (t)"
    model = parse(f"g ({ROWS}) => ({Y2}) <float[3,5] w0, float[3,5] w> {{ {body} }}", 13)
    assert_kept(analyzed(model, {}), "w", 1, "Gemm", "a removed channel would not be zero")

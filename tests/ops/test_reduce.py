"""Reductions at every version of each: over space they let channels go, over channels they keep them."""

from __future__ import annotations

import pytest

from onnx_attnprune.ops import reduce as rules
from tests.oracle import assert_exact, assert_kept, each, net, parse, versions

FREE, HELD = {"w0": 4, "w": 5}, {"w0": 4}
ALL = sorted(rules.THROUGH_ZERO | {"ReduceLogSum", "ReduceLogSumExp"})


def node(op: str, opset: int, axes: str, keepdims: int = 1, x: str = "h", t: str = "t") -> tuple[str, str]:
    """A reduction and the constant that it needs; axes are an input from 13 (the sum) or 18 on."""
    if opset < (13 if op == "ReduceSum" else 18):
        given = f"axes=[{axes}], " if axes else ""
        return f"{t} = {op} <{given}keepdims={keepdims}> ({x})", ""
    count = len(axes.split(",")) if axes else 0
    more, constant = (f", a_{t}", f"int64[{count}] a_{t} = {{{axes}}}") if axes else ("", "")
    return f"{t} = {op} <keepdims={keepdims}> ({x}{more})", constant


@pytest.mark.parametrize(("op", "opset"), each(*ALL))
def test_over_space(op: str, opset: int) -> None:
    """Through a positive tensor that is not zero when silenced, since the logarithm of a sum of zeros is not finite."""
    made, constant = node(op, opset, "2,3", x="e")
    assert_exact(net(f"e = Exp (h) {made}", constant, opset=opset), FREE)


def test_lists_of_operators() -> None:
    """What a zero adds to a result, and what all zeros give."""
    assert {"ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare"} == rules.ADDING
    assert {"ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"} == rules.THROUGH_ZERO - rules.ADDING


@pytest.mark.parametrize(("op", "opset"), each(*ALL))
def test_over_channels(op: str, opset: int) -> None:
    """Only where zeros add nothing may a channel go, or where a mean can be scaled; the largest of absolute values is
    not that of zeros."""
    made, constant = node(op, opset, "1,-1", x="a", t="r")
    adding = op in rules.ADDING or op in {"ReduceMean", "ReduceMax"}
    body = f"a = Abs (h) {made} t = Mul (h, r)"
    if op == "ReduceLogSum":  # of zeros alone it is not finite
        body = body.replace("Abs", "Exp")
    analysis = assert_exact(net(body, constant, opset=opset), FREE if adding else HELD)
    if not adding:
        assert_kept(analysis, "w", 0, op, "over channels")


@pytest.mark.parametrize(("op", "opset"), each("ReduceMean", *sorted(rules.ADDING)))
def test_over_channels_that_are_not_zero(op: str, opset: int) -> None:
    made, constant = node(op, opset, "-3", x="e", t="r")
    assert_kept(
        assert_exact(net(f"e = Exp (h) {made} t = Mul (h, r)", constant, opset=opset), HELD),
        "w",
        0,
        op,
        "over channels",
    )


@pytest.mark.parametrize(("op", "opset"), each(*sorted(rules.THROUGH_ZERO - {"ReduceProd"})))
def test_zeros_give_zero(op: str, opset: int) -> None:
    """A sum over channels of what a reduction over space leaves."""
    made, constant = node(op, opset, "2,3", t="s")
    total, one = node("ReduceSum", opset, "1", x="s", t="k")
    weights = ", ".join(c for c in (constant, one) if c)
    assert_exact(net(f"{made} {total} t = Mul (h, k)", weights, opset=opset), FREE)


def test_a_logarithm_is_not_zero() -> None:
    """Nor is it finite where all is zero: channels that may be silent are kept under ReduceLogSum."""
    body = (
        "e = Exp (h) s = ReduceLogSum <axes=[2,3], keepdims=1> (e) k = ReduceSum <axes=[1], keepdims=1> (s) t = "
        "Mul (h, k)"
    )
    assert_kept(assert_exact(net(body, opset=11), HELD), "w", 0, "ReduceSum", "over channels")
    body = "a = Abs (h) c = Add (a, varc) t = ReduceLogSum <axes=[2,3]> (c)"
    assert_kept(
        assert_exact(net(body, "float[5,1,1] varc", opset=11), HELD), "w", 0, "ReduceLogSum", "not finite at zero"
    )
    assert_exact(net("t = ReduceLogSumExp <axes=[2,3]> (h)", opset=11), FREE)
    total = "k = ReduceSum <axes=[1], keepdims=1> (s) t = Mul (h, k)"
    for body in ("s = ReduceLogSumExp <axes=[2,3]> (h)", "e = Exp (h) s = ReduceMean <axes=[2,3]> (e)"):
        assert_kept(assert_exact(net(f"{body} {total}", opset=11), HELD), "w", 0, "ReduceSum", "over channels")


@pytest.mark.parametrize(("op", "opset"), each("ReduceMean", "ReduceSum"))
@pytest.mark.parametrize("axes", ["", "0,1,2,3"])
def test_over_everything(op: str, opset: int, axes: str) -> None:
    made, constant = node(op, opset, axes, keepdims=0, t="r")
    assert_exact(net(f"{made} t = Mul (h, r)", constant, opset=opset), FREE)


@pytest.mark.parametrize(("op", "opset"), [("ReduceSum", 13), ("ReduceMean", 18), ("ReduceMax", 20)])
@pytest.mark.parametrize("noop", [0, 1])
def test_no_axes(op: str, opset: int, noop: int) -> None:
    """An empty list, given or not, means all axes or none, as an attribute says."""
    for operand, constant in (("", ""), (", none", "int64[0] none = {}")):
        body = f"r = {op} <noop_with_empty_axes={noop}, keepdims=1> (h{operand}) t = Mul (h, r)"
        assert_exact(net(body, constant, opset=opset), FREE if noop or op != "ReduceMax" else HELD)


def test_without_the_axis() -> None:
    """keepdims=0: the axes behind move up."""
    body = "r = ReduceMean <axes=[2], keepdims=0> (h) u = Unsqueeze <axes=[2]> (r) t = Mul (h, u)"
    assert_exact(net(body, opset=11), FREE)


# ---------------------------------------------------------------- means over channels
@pytest.mark.parametrize("opset", versions("ReduceMean"))
@pytest.mark.parametrize("keepdims", [0, 1])
def test_global_response_norm(opset: int, keepdims: int) -> None:
    """x (g |x| / mean |x| + 1) + b, as in ConvNeXt V2: neither is the mean the last of it, nor are zeros lost."""
    energy, of_space = node("ReduceL2", opset, "2,3", t="e")
    mean, of_channels = node("ReduceMean", opset, "1", keepdims, x="e", t="k")
    back = "" if keepdims else "u = Reshape (k, flat)"
    body = f"{energy} {mean} {back} d = Add ({'k' if keepdims else 'u'}, small) q = Div (e, d) s = Mul (h, q) "
    body += "m = Mul (s, gain) o = Add (m, shift) t = Add (h, o)"
    weights = "float small = {0.01}, float[5,1,1] gain, float[1,5,1,1] shift, int64[4] flat = {0, 1, 1, 1}"
    analysis = assert_exact(net(body, ", ".join(c for c in (weights, of_space, of_channels) if c), opset=opset), FREE)
    assert not any(g.spared for g in analysis.groups)
    assert {m.slot.tensor for m in analysis.groups[1].members} == {"w", "b", "gain", "shift", "v"}


def test_mean_over_heads_and_their_width() -> None:
    """The channels of a mean may be products of two groups, and lie on two of its axes."""
    text = """g (float[N, 6, 4] x) => (float[N, 6, 3] y)
    <float[4, 15] w, float[15, 3] v, int64[4] split = {0, 6, 3, 5}, int64[3] join = {0, 6, 15}>
    { h = MatMul (x, w) r = Reshape (h, split) m = ReduceMean <axes = [2, 3], keepdims = 1> (r) s = Mul (r, m)
      t = Reshape (s, join) y = MatMul (t, v) }"""
    assert_exact(parse(text, 13), {"w": 3, "w#2": 5})


@pytest.mark.parametrize("square", ["q = Mul (h, h)", "q = Pow (h, two)"])
def test_rms_norm_is_spared(square: str) -> None:
    """The width can go, since the mean stays one over all; but only where a user names it."""
    body = f"{square} m = ReduceMean <axes=[1], keepdims=1> (q) e = Add (m, small) r = Sqrt (e) d = Div (h, r) "
    analysis = assert_exact(
        net(body + "t = Mul (d, gain)", "float two = {2}, float small = {0.01}, float[5,1,1] gain", opset=13)
    )
    assert [(g.name, g.size, g.spared) for g in analysis.groups] == [("w0", 4, ""), ("w", 5, rules.RMS)]


@pytest.mark.parametrize(
    "norm",
    [
        "q = Mul (h, h) r = ReduceSum <keepdims=1> (q, one)",
        "r = ReduceSumSquare <axes=[1], keepdims=1> (h)",
        "r = ReduceL2 <axes=[1], keepdims=1> (h)",
    ],
)
def test_norms_by_sums_are_spared(norm: str) -> None:
    body = f"{norm} e = Add (r, small) t = Div (h, e)"
    analysis = assert_exact(net(body, "int64[1] one = {1}, float small = {0.01}", opset=13))
    assert [(g.name, g.spared) for g in analysis.groups] == [("w0", ""), ("w", rules.RMS)]


def test_a_plain_sum_is_not_spared() -> None:
    analysis = assert_exact(
        net("r = ReduceSum <keepdims=1> (h, one) t = Mul (h, r)", "int64[1] one = {1}", opset=13), FREE
    )
    assert not any(g.spared for g in analysis.groups)


@pytest.mark.parametrize("power", ["q = Pow (h, three)", "a = Neg (h) q = Mul (h, a)", "q = Abs (h)"])
def test_other_means_are_not_spared(power: str) -> None:
    body = f"{power} m = ReduceMean <axes=[1], keepdims=1> (q) t = Mul (h, m)"
    analysis = assert_exact(net(body, "float three = {3}", opset=13), FREE)
    assert not any(g.spared for g in analysis.groups)


def test_layer_norm_in_single_nodes() -> None:
    """x less its mean is not zero where x is: the mean of its squares keeps the width."""
    body = """m = ReduceMean <axes=[1], keepdims=1> (h) c = Sub (h, m) q = Pow (c, two)
    u = ReduceMean <axes=[1], keepdims=1> (q) e = Add (u, small) r = Sqrt (e) t = Div (c, r)"""
    analysis = assert_exact(net(body, "float two = {2}, float small = {0.01}", opset=13), HELD)
    assert_kept(analysis, "w", 0, "ReduceMean", "over channels")


def test_a_mean_of_integers_is_kept() -> None:
    """It is cut off, so that no factor makes it what it was."""
    body = (
        "a = Abs (h) i = Cast <to=6> (a) m = ReduceMean <axes=[1], keepdims=1> (i) f = Cast <to=1> (m) t = Add (h, f)"
    )
    assert_kept(assert_exact(net(body, opset=13), HELD), "w", 0, "ReduceMean", "over channels")


@pytest.mark.parametrize(("op", "opset"), each("ArgMax", "ArgMin"))
@pytest.mark.parametrize("axis", [1, 3])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_arg(op: str, opset: int, axis: int, keepdims: int) -> None:
    back = "" if keepdims else f"u = Unsqueeze <axes=[{axis}]> (f)"
    if opset >= 13 and not keepdims:
        back = "u = Unsqueeze (f, back)"
    constant = f"int64[1] back = {{{axis}}}" if opset >= 13 and not keepdims else ""
    body = (
        f"i = {op} <axis={axis}, keepdims={keepdims}> (h) f = Cast <to=1> (i) {back} t = Mul (h, "
        f"{'f' if keepdims else 'u'})"
    )
    analysis = assert_exact(net(body, constant, opset=opset), HELD if axis == 1 else FREE)
    assert analysis.tensors["i"].dtype == rules.INT64
    if axis == 1:
        assert_kept(analysis, "w", 0, op, "place of an extreme")


@pytest.mark.parametrize("opset", versions("TopK"))
@pytest.mark.parametrize("axis", [1, 3, None])
def test_top_k(opset: int, axis: int | None) -> None:
    given = [f"axis={axis}"] if axis is not None else []
    given += ["k=3"] if opset < 10 else []
    attributes = f"<{', '.join(given)}>" if given else ""
    body = f"s, i = TopK {attributes} (h{'' if opset < 10 else ', three'})"
    constant = "" if opset < 10 else "int64[1] three = {3}"
    v = "float[2,3,1,1] v" if axis == 1 else "float[2,5,1,1] v"
    analysis = assert_exact(
        net(f"{body} f = Cast <to=1> (i) t = Add (s, f)", constant, v=v, opset=opset), HELD if axis == 1 else FREE
    )
    axes = analysis.tensors["s"].axes
    assert axes is not None
    assert axes[-1 if axis is None else axis].size == 3
    if axis == 1:
        assert_kept(analysis, "w", 0, "TopK", "sorted")


@pytest.mark.parametrize("opset", versions("CumSum"))
@pytest.mark.parametrize("axis", [1, -1])
def test_running_sum(opset: int, axis: int) -> None:
    analysis = assert_exact(net("t = CumSum (h, a)", f"int64 a = {{{axis}}}", opset=opset), HELD if axis == 1 else FREE)
    if axis == 1:
        assert_kept(analysis, "w", 0, "CumSum", "summed along")

"""Normalisations at every version of each: per channel they let channels go, over channels they keep them."""

from __future__ import annotations

import onnx
import pytest

from tests.oracle import analyzed, assert_exact, assert_kept, each, fill, net, parse, versions

FREE, HELD = {"w0": 4, "w": 5}, {"w0": 4}
PER_CHANNEL = "float[5] scale, float[5] shift, float[5] mean, float[5] variance"
SUM = {False: "k = ReduceSum <axes=[1], keepdims=1> (s) t = Mul (s, k)", True: "k = ReduceSum (s, one) t = Mul (s, k)"}
ONE = {False: "", True: ", int64[1] one = {1}"}


@pytest.mark.parametrize("opset", versions("BatchNormalization"))
def test_batch_norm(opset: int) -> None:
    late = opset >= 13
    body = f"s = BatchNormalization <epsilon=0.01> (h, scale, shift, mean, variance) {SUM[late]}"
    analysis = assert_exact(net(body, PER_CHANNEL + ONE[late], opset=opset), FREE)
    roles = {m.slot.tensor: m.role for g in analysis.groups if g.name == "w" for m in g.members}
    assert roles == {
        "w": "producer", "b": "bias", "scale": "scale", "shift": "bias", "mean": "mean", "variance": "variance",
        "v": "consumer",
    }  # fmt: skip  # a table


def test_batch_norm_with_computed_scales() -> None:
    """Scales that the input decides are not silenced by a plan: a sum over channels would see what is left."""
    body = "r = ReduceMean <keepdims=0> (x) f = Expand (r, five) s = BatchNormalization (h, f, shift, mean, variance)"
    weights = f"{PER_CHANNEL}, int64[1] five = {{5}}".replace("float[5] scale, ", "")
    assert_exact(net(f"{body} {SUM[False]}", weights, opset=11), HELD)


@pytest.mark.parametrize("opset", versions("InstanceNormalization"))
def test_instance_norm(opset: int) -> None:
    late = opset >= 13
    body = f"s = InstanceNormalization (h, scale, shift) {SUM[late]}"
    analysis = assert_exact(net(body, "float[5] scale, float[5] shift" + ONE[late], opset=opset), FREE)
    roles = {m.slot.tensor: m.role for g in analysis.groups if g.name == "w" for m in g.members}
    assert (roles["scale"], roles["shift"]) == ("scale", "bias")


def test_instance_norm_over_rows_that_are_channels() -> None:
    """Space is normalised over: where it is made by a weight it is kept."""
    x, y, weights = (
        "float[3, 5, 6] x",
        "float[A, B, C] y",
        "float[6,4] w0, float[4,7] w, float[7,2] v, float[5] scale, float[5] shift",
    )
    body = "p = MatMul (x, w0) h = MatMul (p, w) t = InstanceNormalization (h, scale, shift) y = MatMul (t, v)"
    analysis = assert_exact(parse(f"g ({x}) => ({y}) <{weights}> {{ {body} }}"), {"w0": 4})
    assert_kept(analysis, "w", 1, "InstanceNormalization", "normalised over")


@pytest.mark.parametrize("opset", versions("GroupNormalization"))
def test_group_norm(opset: int) -> None:
    """Two groups of three channels: whole groups go; scales are per group before opset 21."""
    per = 6 if opset >= 21 else 2
    weights = (
        f"float[4,3,1,1] w0, float[6,4,1,1] w, float[{per}] scale, float[{per}] shift, float[2,6,1,1] v, "
        f"int64[1] one = {{1}}"
    )
    body = (
        f"p = Conv (x, w0) h = Conv (p, w) s = GroupNormalization <num_groups=2> (h, scale, shift) {SUM[True]} "
        f"y = Conv (t, v)"
    )
    model = parse(f"g (float[N, 3, 9, 7] x) => (float[A, B, C, D] y) <{weights}> {{ {body} }}", opset)
    analysis = assert_exact(model, {"w0": 4, "w": 2})
    roles = {m.slot.tensor: m.role for g in analysis.groups if g.name == "w" for m in g.members}
    assert (roles["scale"], roles["shift"]) == ("scale", "bias")


LAYERS = {
    "last": ("LayerNormalization", 17, "", "float[7] g, float[7] d", "(h, g, d)", FREE),
    "space": ("LayerNormalization", 17, "axis=2", "float[9,7] g, float[9,7] d", "(h, g, d)", FREE),
    "channels": ("LayerNormalization", 17, "axis=1", "float[5,9,7] g, float[5,9,7] d", "(h, g, d)", HELD),
    "channels, from behind": ("LayerNormalization", 17, "axis=-3", "float[5,9,7] g", "(h, g)", HELD),
    "root mean square": ("RMSNormalization", 23, "axis=2", "float[9,7] g", "(h, g)", FREE),
    "root mean square of channels": ("RMSNormalization", 23, "axis=-3", "float[5,9,7] g", "(h, g)", HELD),
}  # fmt: skip  # a table


@pytest.mark.parametrize("case", LAYERS)
def test_layer_norm(case: str) -> None:
    op, opset, attributes, weights, operands, groups = LAYERS[case]
    attributes = f"<{attributes}>" if attributes else ""
    analysis = assert_exact(net(f"t = {op} {attributes} {operands}", weights, opset=opset), groups)
    if groups is HELD:
        assert_kept(analysis, "w", 0, op, "normalised over")


def test_layer_norm_and_silence() -> None:
    """Without a shift zeros stay zeros; with one they do not."""
    assert_exact(net(f"s = LayerNormalization <axis=2> (h, g) {SUM[True]}", "float[9,7] g" + ONE[True], opset=17), FREE)
    shifted = net(
        f"s = LayerNormalization <axis=2> (h, g, d) {SUM[True]}", "float[9,7] g, float[9,7] d" + ONE[True], opset=17
    )
    assert_kept(assert_exact(shifted, HELD), "w", 0, "ReduceSum", "over channels")


def test_layer_norm_statistics() -> None:
    """The second and third results are one per row."""
    assert_exact(
        net("s, m, i = LayerNormalization <axis=2> (h, g) q = Mul (s, i) t = Add (q, m)", "float[9,7] g", opset=17),
        FREE,
    )


@pytest.mark.parametrize("opset", versions("LRN"))
def test_lrn(opset: int) -> None:
    analysis = assert_exact(net("t = LRN <size=3> (h)", opset=opset), HELD)
    assert_kept(analysis, "w", 0, "LRN", "neighbouring channels")


@pytest.mark.parametrize(("op", "opset"), each("LpNormalization"))
@pytest.mark.parametrize(
    ("axis", "spared"), [(1, "a norm runs over it"), (-3, "a norm runs over it"), (2, ""), (-1, "")]
)
@pytest.mark.parametrize("p", [1, 2])
def test_lp_norm(op: str, opset: int, axis: int, p: int, spared: str) -> None:
    """A silent channel adds nothing to the norm over channels, so that they may go."""
    analysis = assert_exact(net(f"t = {op} <axis={axis}, p={p}> (h)", opset=opset), FREE)
    assert {g.name: g.spared for g in analysis.groups} == {"w0": "", "w": spared}


@pytest.mark.parametrize(("op", "opset"), each("LpNormalization"))
def test_lp_norm_over_channels_that_are_not_zero(op: str, opset: int) -> None:
    analysis = assert_exact(net(f"e = Exp (h) t = {op} <axis=1> (e)", opset=opset), HELD)
    assert_kept(analysis, "w", 0, op, "normalised over")


@pytest.mark.parametrize(("op", "opset"), each("MeanVarianceNormalization"))
@pytest.mark.parametrize(
    ("axes", "why"),
    [("<axes=[0,2,3]>", "variance"), ("<axes=[0,1,2,3]>", "normalised over"), ("<axes=[1]>", "normalised over")],
)
def test_mean_variance_norm(op: str, opset: int, axes: str, why: str) -> None:
    """ONNX Runtime divides by the variance alone: a channel that is the same everywhere is not finite."""
    analysis = assert_exact(net(f"t = {op} {axes} (h)", opset=opset), HELD)
    assert_kept(analysis, "w", 0, op, why)


@pytest.mark.parametrize(("op", "opset"), each("Softmax", "LogSoftmax", "Hardmax"))
@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3, -1])
def test_softmax(op: str, opset: int, axis: int | None) -> None:
    """Before opset 13 over the axis and all behind it, by default from 1; later over the one, by default the last."""
    given = "" if axis is None else f"<axis={axis % 4 if opset < 11 else axis}>"
    place = (1 if opset < 13 else -1) if axis is None else axis
    held = place in (0, 1) if opset < 13 else place == 1
    analysis = assert_exact(net(f"t = {op} {given} (h)", opset=opset), HELD if held else FREE)
    if held:
        assert_kept(analysis, "w", 0, op, "normalised over")


def test_softmax_is_not_silent() -> None:
    """Over space a silenced channel becomes evenly distributed, not zero."""
    assert_exact(net(f"s = Softmax <axis=2> (h) {SUM[False]}", opset=11), HELD)
    assert_exact(net(f"s = Hardmax <axis=2> (h) {SUM[False]}", opset=11), HELD)


@pytest.mark.parametrize("opset", versions("BatchNormalization", 14))
def test_batch_norm_in_training(opset: int) -> None:
    """Its statistics are those of batch and space, which must be whole; channels go as ever."""
    x, y, weights = "float[3, 5, 6] x", "float[A, B, C] y", "float[6,4] w0, float[4,7] w, float[7,2] v"
    body = """p = MatMul (x, w0) h = MatMul (p, w)
    t, m, s = BatchNormalization <training_mode=1> (h, scale, shift, mean, variance) y = MatMul (t, v)"""
    model = parse(f"g ({x}) => ({y}) <{weights}, {PER_CHANNEL}> {{ {body} }}", opset)
    assert_kept(analyzed(model, {"w0": 4}), "w", 1, "BatchNormalization", "normalised over")


def test_group_norm_before_21() -> None:
    """Scales are per group. The operator of opset 18 was deprecated, so that onnx's checker refuses it everywhere."""
    weights = "float[4,3,1,1] w0, float[6,4,1,1] w, float[2] scale, float[2] shift, float[2,6,1,1] v"
    body = "p = Conv (x, w0) h = Conv (p, w) t = GroupNormalization <num_groups=2> (h, scale, shift) y = Conv (t, v)"
    text = f"g (float[N, 3, 9, 7] x) => (float[A, B, C, D] y) <{weights}> {{ {body} }}"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]>\n{text}')
    fill(model, 0)
    analysis = analyzed(model, {"w0": 4, "w": 2})
    lies = {m.slot.tensor for g in analysis.groups if g.name == "w" for m in g.members}
    assert lies == {"w", "scale", "shift", "v"}


def test_group_norm_over_rows_that_are_channels() -> None:
    """Space is normalised over: where it is made by a weight it is kept."""
    x, y = "float[3, 6, 8] x", "float[A, B, C] y"
    weights = "float[8,4] w0, float[4,7] w, float[7,2] v, float[6] scale, float[6] shift"
    body = (
        "p = MatMul (x, w0) h = MatMul (p, w) t = GroupNormalization <num_groups=2> (h, scale, shift) y = MatMul (t, v)"
    )
    analysis = assert_exact(parse(f"g ({x}) => ({y}) <{weights}> {{ {body} }}"), {"w0": 4})
    assert_kept(analysis, "w", 1, "GroupNormalization", "normalised over")

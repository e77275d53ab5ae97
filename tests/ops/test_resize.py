"""Resampling at every version: axes that keep their size pass, others are kept."""

from __future__ import annotations

import pytest

from tests.oracle import assert_exact, assert_kept, net, parse, versions

FREE, HELD = {"w0": 4, "w": 5}, {"w0": 4}


def scaled(opset: int, scales: str, attributes: str = "", v: str = "float[2, 5, 1, 1] v") -> tuple[str, str]:
    """A Resize by scales, and its constants."""
    operands = "h, s" if opset == 10 else "h, roi, s" if opset < 13 else "h, , s"
    roi = ", float[0] roi = {}" if opset in (11, 12) else ""
    return f"t = Resize {attributes} ({operands})", f"float[4] s = {{{scales}}}{roi}"


@pytest.mark.parametrize("opset", versions("Resize"))
@pytest.mark.parametrize("scales", ["1,1,2,3", "1,1,0.6,1", "1,1,1,1"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_by_scales(scales: str, mode: str, opset: int) -> None:
    body, weights = scaled(opset, scales, f'<mode="{mode}">')
    assert_exact(net(body, weights, opset=opset), FREE)


@pytest.mark.parametrize("opset", versions("Resize"))
def test_channels_that_are_resampled(opset: int) -> None:
    """By a scale that makes more of them, and by one that leaves their number but mixes them."""
    for scales, v in (("1,2,1,1", "float[2,10,1,1] v"), ("1,1.1,1,1", "float[2,5,1,1] v")):
        body, weights = scaled(opset, scales)
        analysis = assert_exact(net(body, weights, v=v, opset=opset), HELD)
        assert_kept(analysis, "w", 0, "Resize", "resampled")


@pytest.mark.parametrize("opset", versions("Resize", 11))
def test_by_sizes(opset: int) -> None:
    """The sizes state the number of channels, which is restated."""
    roi = "roi, none" if opset < 13 else ","
    weights = "int64[4] s = {2,5,13,11}" + (", float[0] roi = {}, float[0] none = {}" if opset < 13 else "")
    assert_exact(
        net(f'd = Relu (h) t = Resize <mode="linear"> (d, {roi}, s)', weights, opset=opset, x="float[2,3,9,7] x"), FREE
    )


def test_by_sizes_of_another_tensor() -> None:
    """The usual export: sizes = (batch, channels of this tensor, height and width of that one)."""
    body = """big = Conv <auto_pad="SAME_UPPER"> (x, q, qb) small = MaxPool <kernel_shape=[2,2], strides=[2,2]> (h)
    e = Shape (small) f = Shape (big) c = Slice (e, zero, two) d = Slice (f, two, four) s = Concat <axis=0> (c, d)
    r = Resize <mode="nearest"> (small, , , s) t = Concat <axis=1> (r, big)"""
    weights = "float[6,3,3,3] q, float[6] qb, int64[1] zero = {0}, int64[1] two = {2}, int64[1] four = {4}"
    for x in ("float[2, 3, 9, 7] x", "float[N, 3, 9, 7] x", "float[N, 3, H, W] x"):
        assert_exact(net(body, weights, v="float[2,11,1,1] v", opset=13, x=x), {"w0": 4, "w": 5, "q": 6})


@pytest.mark.parametrize("opset", versions("Resize", 18))
def test_listed_axes(opset: int) -> None:
    weights = "float[2] f = {2.0, 1.5}, int64[2] s = {10, 12}"
    assert_exact(
        net("d = Resize <axes=[2,-1]> (h, , f) t = Resize <axes=[3,2]> (d, , , s)", weights, opset=opset), FREE
    )


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_aspect_ratio(policy: str) -> None:
    """Sizes are bounds, from which one scale is taken for all the axes."""
    body = f't = Resize <axes=[2,3], keep_aspect_ratio_policy="{policy}"> (h, , , s)'
    assert_exact(net(body, "int64[2] s = {20, 12}", opset=18), FREE)
    body = f't = Resize <keep_aspect_ratio_policy="{policy}"> (h, , , s)'
    analysis = assert_exact(net(body, "int64[4] s = {2, 5, 9, 7}", x="float[2,3,9,7] x", opset=18), HELD)
    assert_kept(analysis, "w", 0, "Resize", "resampled")


def test_crops() -> None:
    """A region of interest on the channels: not followed, kept."""
    body = 't = Resize <coordinate_transformation_mode="tf_crop_and_resize"> (h, roi, s)'
    weights = "float[8] roi = {0,0,0,0,1,1,0.7,0.7}, float[4] s = {1,1,2,2}"
    assert_kept(assert_exact(net(body, weights, opset=13), HELD), "w", 0, "Resize", "region of interest")


def test_late_scales() -> None:
    """Scales that the input decides: all axes are kept, and the space behind it is of an unknown size."""
    body = (
        "m = ReduceMax <keepdims=0> (x) a = Abs (m) c = Ceil (a) u = Unsqueeze <axes=[0]> (c) s = Concat "
        "<axis=0> (ones, u, u) t = Resize (h, roi, s)"
    )
    analysis = assert_exact(net(body, "float[2] ones = {1,1}, float[0] roi = {}", opset=11), HELD)
    assert_kept(analysis, "w", 0, "Resize", "computed at run time")


@pytest.mark.parametrize("opset", [7, 9])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample(opset: int, mode: str) -> None:
    if opset < 9:
        assert_exact(net(f't = Upsample <scales=[1.0,1.0,2.0,3.0], mode="{mode}"> (h)', opset=opset), FREE)
    else:
        assert_exact(net(f't = Upsample <mode="{mode}"> (h, s)', "float[4] s = {1,1,2,3}", opset=opset), FREE)


def test_upsampled_channels() -> None:
    body, v = "t = Upsample (h, s)", "float[2,10,1,1] v"
    assert_kept(assert_exact(net(body, "float[4] s = {1,2,1,1}", v=v, opset=9), HELD), "w", 0, "Upsample", "resampled")


def test_silence() -> None:
    """Zeros are resampled to zeros."""
    body = "s = Resize (h, roi, f) k = ReduceSum <axes=[1]> (s) t = Mul (s, k)"
    assert_exact(net(body, "float[4] f = {1,1,2,2}, float[0] roi = {}", opset=11), FREE)


@pytest.mark.parametrize("given", ["sizes", "scales"])
def test_space_that_a_weight_makes(given: str) -> None:
    """It is resampled, so it is kept."""
    weights = "float[6,4] w0, float[4,7] w, float[14,2] v, int64[3] sizes = {3, 5, 14}, float[3] scales = {1, 1, 2}"
    resize = "t = Resize (h, , , sizes)" if given == "sizes" else "t = Resize (h, , scales)"
    body = f"p = MatMul (x, w0) h = MatMul (p, w) {resize} y = MatMul (t, v)"
    model = parse(f"g (float[3, 5, 6] x) => (float[A, B, C] y) <{weights}> {{ {body} }}", 13)
    assert_kept(assert_exact(model, {"w0": 4}), "w", 1, "Resize", "resampled")

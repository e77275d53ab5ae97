"""Padding of space and of channels, at every version."""

from __future__ import annotations

import pytest

from tests.oracle import assert_exact, assert_kept, each, net, versions

FREE, HELD = {"w0": 4, "w": 5}, {"w0": 4}


def pad_of(opset: int, pads: str, mode: str = "constant", value: str = "") -> tuple[str, str]:
    if opset < 11:
        return f't = Pad <mode="{mode}", pads=[{pads}]{f", value={value}" if value else ""}> (h)', ""
    more, constant = (", fill", f", float fill = {{{value}}}") if value else ("", "")
    return f't = Pad <mode="{mode}"> (h, pads{more})', f"int64[{len(pads.split(','))}] pads = {{{pads}}}{constant}"


@pytest.mark.parametrize("opset", versions("Pad"))
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad_of_space(mode: str, opset: int) -> None:
    node, constant = pad_of(opset, "0,0,1,2,0,0,3,0", mode)
    assert_exact(net(node, constant, opset=opset), FREE)
    if mode == "constant":
        node, constant = pad_of(opset, "0,0,-1,2,0,0,3,-2", mode, "0.5")
        assert_exact(net(node, constant, opset=opset), FREE)


@pytest.mark.parametrize("opset", versions("Pad"))
def test_pad_of_channels(opset: int) -> None:
    """A padded part of channels, whose size is restated; it meets a convolution's channels, which then are its own."""
    node, constant = pad_of(opset, "0,2,0,0,0,3,0,0")
    assert_exact(net(node, constant, v="float[2,10,1,1] v", opset=opset), FREE | {"v": 2, "v#2": 3})
    body = f"{node.replace('t =', 'z =')} c = Conv (p, q) t = Add (z, c)"
    weights = ", ".join(d for d in (constant, "float[10,4,1,1] q") if d)
    analysis = assert_exact(net(body, weights, v="float[2,10,1,1] v", opset=opset), FREE | {"q": 2, "q#2": 3})
    lies = {m.slot.tensor for g in analysis.groups if g.name == "w" for m in g.members}
    assert lies == {"w", "b", "q", "v"}


@pytest.mark.parametrize("opset", versions("Pad"))
def test_padded_silence(opset: int) -> None:
    """Zeros that are padded are silent, other numbers are not."""
    for value, groups in (("", FREE), ("0.5", HELD)):
        node, constant = pad_of(opset, "0,0,1,0,0,0,0,0", "constant", value)
        total = "k = ReduceSum <axes=[1]> (s) t = Mul (s, k)" if opset < 13 else "k = ReduceSum (s, one) t = Mul (s, k)"
        weights = ", ".join(d for d in (constant, "int64[1] one = {1}" if opset >= 13 else "") if d)
        assert_exact(net(f"{node.replace('t =', 's =')} {total}", weights, opset=opset), groups)


@pytest.mark.parametrize("opset", versions("Pad"))
def test_pad_that_keeps(opset: int) -> None:
    """Copies of channels, and channels cut off by a negative pad."""
    for mode, pads, left in (
        ("edge", "0,2,0,0,0,1,0,0", 8),
        ("reflect", "0,1,0,0,0,1,0,0", 7),
        ("constant", "0,-1,0,0,0,0,0,0", 4),
    ):
        node, constant = pad_of(opset, pads, mode)
        analysis = assert_exact(net(node, constant, v=f"float[2,{left},1,1] v", opset=opset), HELD)
        assert_kept(analysis, "w", 0, "Pad", "padded")


@pytest.mark.parametrize(("op", "opset"), each("Pad", oldest=18))
def test_pad_of_listed_axes(op: str, opset: int) -> None:
    assert_exact(
        net(
            "t = Pad (h, pads, , at)",
            "int64[4] pads = {1,0,0,2}, int64[2] at = {-1, 1}",
            v="float[2,7,1,1] v",
            opset=opset,
        ),
        FREE | {"v": 2},
    )
    if opset >= 19:
        assert_exact(net('t = Pad <mode="wrap"> (h, pads)', "int64[8] pads = {0,0,1,0,0,0,0,2}", opset=opset), FREE)

"""Operators that lay the same numbers out in another shape, and arithmetic on shapes, at every version of each."""

from __future__ import annotations

import pytest

from tests.oracle import IMAGE, assert_exact, assert_kept, net, parse, versions

FREE, HELD = {"w0": 4, "w": 5}, {"w0": 4}
Y2, Y3, Y4 = "float[A, B] y", "float[A, B, C] y", "float[A, B, C, D] y"
FIXED = "float[2, 3, 9, 7] x"

# name: (input, shape of h as a constant, what follows to y, its weight, channels)
RESHAPES = {
    "flatten to dense": (IMAGE, "0, 315", "y = MatMul (t, v)", "float[315, 2] v", Y2),
    "flatten with -1": (IMAGE, "0, -1", "y = MatMul (t, v)", "float[315, 2] v", Y2),
    "-1 for the batch": (IMAGE, "-1, 315", "y = MatMul (t, v)", "float[315, 2] v", Y2),
    "all stated": (FIXED, "2, 315", "y = MatMul (t, v)", "float[315, 2] v", Y2),
    "space into one": (IMAGE, "0, 0, -1", "y = Conv (t, v)", "float[2, 5, 1] v", Y3),
    "space into one, channels stated": (IMAGE, "0, 5, 63", "y = Conv (t, v)", "float[2, 5, 1] v", Y3),
    "space into three": (IMAGE, "0, 5, 3, 3, 7", "y = Conv (t, v)", "float[2, 5, 1, 1, 1] v", "float[A, B, C, D, E] y"),
    "channels before "
    "the batch": (FIXED, "10, 9, 7", "u = Unsqueeze (t, zero) y = "
                                     "Conv (u, v)", "float[2, 10, 1, 1] v, int64[1] zero = {0}", Y4),
    "a one put in": (IMAGE, "0, 1, 5, 63", "u = Transpose <perm=[0,2,1,3]> (t) y = "
                                           "Conv (u, v)", "float[2, 5, 1, 1] v", Y4),
}  # fmt: skip  # a table


@pytest.mark.parametrize("opset", versions("Reshape", 13))
@pytest.mark.parametrize("case", RESHAPES)
def test_reshape(case: str, opset: int) -> None:
    x, shape, after, v, y = RESHAPES[case]
    count = len(shape.split(","))
    assert_exact(
        net("t = Reshape (h, s)", f"int64[{count}] s = {{{shape}}}", x=x, y=y, v=v, tail=after, opset=opset), FREE
    )


def test_reshape_7() -> None:
    assert_exact(
        net("r = Reshape (h, s) t = Reshape (r, u)", "int64[3] s = {0, 5, -1}, int64[4] u = {0, 0, 9, 7}", opset=7),
        FREE,
    )


@pytest.mark.parametrize("opset", versions("Reshape", 14))
def test_allow_zero(opset: int) -> None:
    """With allowzero a zero is no copy: without any in the shape it changes nothing, with one it is refused."""
    assert_exact(net("t = Reshape <allowzero=1> (h, s)", "int64[4] s = {-1, 5, 7, 9}", opset=opset), FREE)


def test_allow_zero_with_a_zero() -> None:
    body = "r = Slice (h, at, at) z = Reshape <allowzero=1> (r, s) k = ReduceSum <keepdims=0> (z) t = Add (h, k)"
    analysis = assert_exact(net(body, "int64[1] at = {0}, int64[3] s = {0, 5, 63}"), HELD)
    assert_kept(analysis, "w", 0, "Reshape", "allowzero")


SPLITS = {
    "heads": ("0, 3, 4, -1", {"w": 3, "w#2": 4}),  # 12 channels = 3 heads of 4
    "heads, stated": ("-1, 3, 4, 63", {"w": 3, "w#2": 4}),
    "three": ("0, 2, 3, 2, 63", {"w": 2, "w#2": 3, "w#3": 2}),
}


@pytest.mark.parametrize("case", SPLITS)
def test_channels_become_a_product(case: str) -> None:
    shape, groups = SPLITS[case]
    count = len(shape.split(","))
    body = "r = Reshape (h, s) q = Relu (r) t = Reshape (q, back)"
    weights = f"int64[{count}] s = {{{shape}}}, int64[4] back = {{0, 12, 9, 7}}"
    w, v = "float[12,4,1,1] w, float[12] c", "float[2,12,1,1] v"
    head = "p = Conv (x, w0) h = Conv (p, w, c)"
    assert_exact(net(body, weights, w=w, v=v, head=head), {"w0": 4} | groups)


def test_channel_shuffle() -> None:
    """Two groups of three channels, dealt: any channel of a group may go, in both."""
    text = (
        f"""g ({IMAGE}) => ({Y4})
    <float[6,3,1,1] w0, float[6,3,3,3] w, int64[5] s = {{0, 2, 3, 9, 7}}, int64[4] back = {{0, -1, 9, 7}},
        float[4,2,3,1] v, float[2,4,1,1] u>
    {{ h = Conv (x, w0) r = Reshape (h, s) q = Transpose <perm=[0,2,1,3,4]> (r) t = Reshape (q, back)
       d = Conv <group=3> (t, v2) y = Conv (d, u) }}""".replace("float[4,2,3,1] v", "float[9,2,3,1] v2")
        .replace("float[2,4,1,1] u", "float[2,9,1,1] u")
        .replace("float[6,3,3,3] w, ", "")
    )
    assert_exact(parse(text), {"w0": 2, "w0#2": 3, "v2": 3})


@pytest.mark.parametrize("opset", versions("Flatten"))
def test_flatten(opset: int) -> None:
    """By default from 1; from 2 and from behind, then the batch is mixed with the channels."""
    assert_exact(net("t = Flatten (h)", v="float[315,2] v", tail="y = MatMul (t, v)", y=Y2, opset=opset), FREE)
    tail = "u = Transpose (t) y = MatMul (u, v)"
    axis = 2 if opset < 11 else -2
    assert_exact(net(f"t = Flatten <axis={axis}> (h)", v="float[10,2] v", tail=tail, y=Y2, x=FIXED, opset=opset), FREE)
    if opset >= 11:
        model = net("t = Flatten <axis=-3> (h)", v="float[315,2] v", tail="y = MatMul (t, v)", y=Y2, opset=opset)
        assert_exact(model, FREE)


@pytest.mark.parametrize("opset", versions("Transpose"))
def test_transpose(opset: int) -> None:
    assert_exact(
        net("t = Transpose <perm=[0,2,3,1]> (h)", v="float[5,2] v", tail="y = MatMul (t, v)", opset=opset), FREE
    )
    assert_exact(net("r = Transpose (h) s = Relu (r) t = Transpose (s)", opset=opset), FREE)


@pytest.mark.parametrize("opset", versions("Squeeze"))
def test_squeeze(opset: int) -> None:
    """With axes; without, any that is left with a single channel would go, so that all are kept."""
    listed = "<axes=[2,3]> (g)" if opset < 13 else "(g, at)"
    weights = "" if opset < 13 else "int64[2] at = {-2, -1}"
    assert_exact(
        net(
            f"g = GlobalAveragePool (h) t = Squeeze {listed}",
            weights,
            v="float[5,2] v",
            tail="y = MatMul (t, v)",
            y=Y2,
            opset=opset,
        ),
        FREE,
    )
    model = net(
        "g = GlobalAveragePool (h) t = Squeeze (g)",
        v="float[5,2] v",
        tail="y = MatMul (t, v)",
        y=Y2,
        x=FIXED,
        opset=opset,
    )
    assert_kept(assert_exact(model, HELD), "w", 0, "Squeeze", "single channel")


@pytest.mark.parametrize("opset", versions("Unsqueeze"))
def test_unsqueeze(opset: int) -> None:
    listed = "<axes=[1,4]> (h)" if opset < 13 else "(h, at)"
    weights = "" if opset < 13 else "int64[2] at = {-2, 1}"
    tail = "q = Transpose <perm=[0,2,1,3,4,5]> (t) r = Reshape (q, s) y = Conv (r, v)"
    shape = "int64[4] s = {0, 5, 9, 7}"
    assert_exact(
        net(f"t = Unsqueeze {listed}", ", ".join(d for d in (weights, shape) if d), tail=tail, opset=opset), FREE
    )


@pytest.mark.parametrize("opset", versions("Expand"))
@pytest.mark.parametrize(
    ("shape", "groups"), [("2,5,9,7", FREE), ("1,1,9,7", FREE), ("5,1,7", FREE), ("1", FREE), ("3,1,1,9,7", FREE)]
)
def test_expand(shape: str, groups: dict[str, int], opset: int) -> None:
    """Space from one pixel; the channels are stated, or left alone by a one."""
    count = len(shape.split(","))
    tail = (
        "y = Conv (t, v)"
        if count < 5
        else "u = Squeeze <axes=[0]> (f) y = Conv (u, v)"
        if opset < 13
        else "u = Squeeze (f, at) y = Conv (u, v)"
    )
    first = "" if count < 5 else ", int64[1] zero = {0}, int64[1] one = {1}, int64[1] at = {0}"
    cut = (
        ""
        if count < 5
        else ("f = Slice <axes=[0], starts=[0], ends=[1]> (t)" if opset < 10 else "f = Slice (t, zero, one, zero)")
    )
    assert_exact(
        net(
            f"g = GlobalAveragePool (h) t = Expand (g, s) {cut}",
            f"int64[{count}] s = {{{shape}}}{first}",
            tail=tail,
            opset=opset,
        ),
        groups,
    )


def test_expand_a_constant_to_channels() -> None:
    """One number for all: the size that the shape states is that of the channels."""
    assert_exact(net("c = Expand (one, s) t = Add (h, c)", "float one = {0.5}, int64[3] s = {5, 1, 1}"), FREE)


def test_expanded_silence() -> None:
    """What one number is expanded to is not silent, what channels are expanded to is."""
    total = "k = ReduceSum <axes=[1]> (s) t = Mul (h, k)"
    assert_exact(net(f"s = Expand (h, e) {total}", "int64[4] e = {1, 5, 9, 7}", opset=11), FREE)
    body = f"c = Expand (one, e) g = Exp (h) o = Greater (g, h) s = Where (o, c, c) {total}"
    assert_exact(net(body, "float one = {0.5}, int64[3] e = {5, 1, 1}", opset=11), HELD)


@pytest.mark.parametrize("opset", versions("Tile"))
@pytest.mark.parametrize(("repeats", "channels"), [("1,1,2,3", 5), ("1,2,1,1", 10), ("3,1,1,1", 5)])
def test_tile(repeats: str, channels: int, opset: int) -> None:
    """Repeated channels are the same channels again: both copies go."""
    assert_exact(
        net("t = Tile (h, r)", f"int64[4] r = {{{repeats}}}", v=f"float[2,{channels},1,1] v", opset=opset), FREE
    )


@pytest.mark.parametrize("opset", versions("DepthToSpace"))
@pytest.mark.parametrize("mode", ["", ', mode="DCR"', ', mode="CRD"'])
def test_depth_to_space(mode: str, opset: int) -> None:
    """Five channels of 2 x 2 positions each: the positions are kept."""
    if mode and opset < 11:
        mode = ""
    model = net(
        f"t = DepthToSpace <blocksize=2{mode}> (h)",
        w="float[20,4,1,1] w",
        head="p = Conv (x, w0) h = Conv (p, w)",
        opset=opset,
    )
    analysis = assert_exact(model, FREE)
    axes = analysis.tensors["t"].axes
    assert axes is not None
    assert [a.size for a in axes] == [2, 5, 18, 14]


@pytest.mark.parametrize("opset", versions("SpaceToDepth"))
def test_space_to_depth(opset: int) -> None:
    assert_exact(
        net(
            "q = MaxPool <kernel_shape=[4,4]> (h) t = SpaceToDepth <blocksize=2> (q)",
            v="float[2,20,1,1] v",
            opset=opset,
        ),
        FREE,
    )


def test_silence_through_layouts() -> None:
    """Each of them leaves zeros where they were."""
    ways = {
        "Reshape (h, same)": "int64[4] same = {0, "
                             "5, 9, 7}", "Transpose <perm=[0,1,3,2]> (h)": "", "Tile (h, r)": "int64[4] r = {1,1,2,1}",
        "Identity (h)": "",
    }  # fmt: skip  # a table
    for way, constant in ways.items():
        assert_exact(
            net(
                f"s = {way} k = ReduceSum <axes=[1]> (s) q = ReduceMean <axes=[2,3]> (k) t = Mul (h, q)",
                constant,
                opset=11,
            ),
            FREE,
        )
    body = "f = Flatten (h) k = ReduceSum <axes=[1]> (f) u = Unsqueeze <axes=[2,3]> (k) t = Mul (h, u)"
    assert_exact(net(body, opset=11), FREE)
    body = (
        "g = GlobalMaxPool (h) f = Squeeze <axes=[2,3]> (g) k = ReduceSum <axes=[1]> (f) u = Unsqueeze "
        "<axes=[2,3]> (k) t = Mul (h, u)"
    )
    assert_exact(net(body, opset=11), FREE)
    body = "f = Unsqueeze <axes=[0]> (h) k = ReduceSum <axes=[2]> (f) u = Squeeze <axes=[0]> (k) t = Mul (h, u)"
    assert_exact(net(body, opset=11), FREE)
    body = "s = DepthToSpace <blocksize=2> (h) k = ReduceSum <axes=[1,2,3]> (s) t = Mul (s, k)"
    assert_exact(net(body, w="float[20,4,1,1] w", head="p = Conv (x, w0) h = Conv (p, w)", opset=11), FREE)
    body = (
        "q = MaxPool <kernel_shape=[4,4]> (h) s = SpaceToDepth <blocksize=2> (q) k = ReduceSum <axes=[1,2,3]> "
        "(s) t = Mul (h, k)"
    )
    assert_exact(net(body, opset=11), FREE)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_blocks_of_positions_are_kept(mode: str) -> None:
    """Behind DepthToSpace all is read by one matrix: of its columns only those of whole channels may go."""
    model = net(
        f't = DepthToSpace <blocksize=2, mode="{mode}"> (h)',
        w="float[20,4,1,1] w",
        head="p = Conv (x, w0) h = Conv (p, w)",
        v="float[1260,2] v",
        tail="f = Flatten (t) y = MatMul (f, v)",
        y=Y2,
    )
    assert_exact(model, FREE)

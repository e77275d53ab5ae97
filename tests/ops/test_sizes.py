"""Sizes that the graph computes itself: restated, right as they are, or a reason to keep; at every version."""

from __future__ import annotations

import pytest

from tests.oracle import IMAGE, assert_exact, assert_kept, net, versions

FREE, HELD = {"w0": 4, "w": 5}, {"w0": 4}
FIXED = "float[2, 3, 9, 7] x"
LATE = "float[N, 3, H, W] x"
ARITHMETIC = {
    # name: (nodes, the inputs with which the channels are free)
    "batch and the rest": ("n = Gather (e, i0) u = Unsqueeze (n, zero) s = Concat <axis=0> "
                           "(u, minus)", (FIXED, IMAGE, LATE)),
    "channels by themselves": ("n = Slice (e, zero, one) c = Slice (e, one, two) s = Concat <axis=0> (n, "
                               "c, minus)", (FIXED, IMAGE, LATE)),
    "copied batch": ("c = Slice (e, one, two) s = Concat <axis=0> (zero, c, minus)", (FIXED, IMAGE, LATE)),
    "a product": ("c = Slice (e, one, four) m = ReduceProd <keepdims=1> (c) s = Concat <axis=0> "
                  "(minus, m)", (FIXED, IMAGE)),
    "a size of all": ("a = Size (h) n = Gather (e, i0) m = Div (a, n) u = Unsqueeze (m, zero) s = Concat <axis=0> "
                      "(minus, u)", (FIXED,)),
    "channels taken apart": ("c = Slice (e, one, two) n = Slice (e, zero, one) m = Div (c, five) s = Concat "
                             "<axis=0> (n, m, five, minus)", (FIXED, IMAGE, LATE)),
}  # fmt: skip  # a table


@pytest.mark.parametrize("x", [FIXED, IMAGE, LATE])
@pytest.mark.parametrize("case", ARITHMETIC)
def test_shape_arithmetic(case: str, x: str) -> None:
    """What the graph computes from sizes stays right, or is restated; else, with a size of run time, channels stay."""
    body, free = ARITHMETIC[case]
    numbers = {"zero": 0, "minus": -1, "one": 1, "two": 2, "four": 4, "five": 5}
    weights = "int64 i0 = {0}, " + ", ".join(f"int64[1] {n} = {{{v}}}" for n, v in numbers.items())
    model = net(f"e = Shape (h) {body} r = Reshape (h, s) q = Relu (r) t = Reshape (q, e)", weights, x=x, opset=13)
    assert_exact(model, FREE if x in free else HELD)


@pytest.mark.parametrize("opset", versions("Shape"))
def test_shape(opset: int) -> None:
    """The channels of one tensor state those of another: ones of that shape are added."""
    body = (
        "e = Shape (h) c = ConstantOfShape <value = float[1] {0.5}> (e) t = Add (h, c)"
        if opset >= 9
        else "e = Shape (h) t = Reshape (h, e)"
    )
    assert_exact(net(body, opset=opset), FREE)


@pytest.mark.parametrize("opset", versions("Shape", 15))
def test_part_of_a_shape(opset: int) -> None:
    body = "e = Shape <start=1, end=-2> (h) s = Concat <axis=0> (e, hw) c = Expand (one, s) t = Add (h, c)"
    assert_exact(net(body, "int64[2] hw = {9, 1}, float[1] one = {0.5}", opset=opset), FREE)


@pytest.mark.parametrize("opset", versions("Size"))
def test_size(opset: int) -> None:
    """The number of all elements as a number to compute with: channels that it counts stay, or it is frozen."""
    body = "g = Flatten <axis=2> (x) e = Size (x) f = Cast <to=1> (e) d = Mul (f, milli) t = Mul (h, d)"
    assert_exact(net(body, "float milli = {0.001}", x=FIXED, opset=opset), FREE)
    body = "e = Size (h) f = Cast <to=1> (e) d = Mul (f, milli) t = Mul (h, d)"
    assert_exact(net(body, "float milli = {0.001}", x=FIXED, opset=opset), FREE)
    analysis = assert_exact(net(body, "float milli = {0.001}", x=IMAGE, opset=opset), HELD)
    assert_kept(analysis, "w", 0, "Mul", "used as a number")


@pytest.mark.parametrize("opset", versions("ConstantOfShape"))
def test_constant_of_shape(opset: int) -> None:
    """The size that a constant shape states is that of the channels; zeros are silent, others are not."""
    for fill, groups in (("", FREE), ("<value = float[1] {0.0}>", FREE), ("<value = float[1] {0.5}>", HELD)):
        total = "k = ReduceSum <axes=[1]> (s) t = Mul (s, k)" if opset < 13 else "k = ReduceSum (s, at) t = Mul (s, k)"
        at = "" if opset < 13 else ", int64[1] at = {1}"
        assert_exact(
            net(
                f"c = ConstantOfShape {fill} (e) s = Add (h, c) {total}",
                f"int64[4] e = {{1, 5, 9, 1}}{at}",
                opset=opset,
            ),
            groups,
        )
    assert_exact(
        net(
            "c = ConstantOfShape <value = float[1] {0.5}> (e) t = Add (h, c)", "int64[4] e = {1, 5, 1, 1}", opset=opset
        ),
        FREE,
    )


@pytest.mark.parametrize("opset", versions("Range"))
def test_range(opset: int) -> None:
    """Numbers in a row are positions: what is added to them keeps its channels."""
    body = (
        "r = Range (zero, n, two) f = Cast <to=1> (r) q = Unsqueeze (f, at) t = Add (h, q)"
        if opset >= 13
        else "r = Range (zero, n, two) f = Cast <to=1> (r) q = Unsqueeze <axes=[1,2]> (f) t = Add (h, q)"
    )
    weights = (
        "int64 zero = {1}, int64 n = {10}, int64 two = {2}, int64[2] at = {1, 2}"
        if opset >= 13
        else "int64 zero = {1}, int64 n = {10}, int64 two = {2}"
    )
    analysis = assert_exact(net(body, weights, opset=opset), HELD)
    assert_kept(analysis, "w", 0, "", "position")


@pytest.mark.parametrize("op", ["Reshape", "Expand", "Tile"])
def test_a_shape_that_the_input_decides(op: str) -> None:
    """Then all is kept, and what follows is unknown."""
    body = f"""m = ReduceMax <keepdims=0> (x) f = Sub (m, m) i = Cast <to=7> (f) u = Unsqueeze <axes=[0]>
    (i) j = Add (u, n)
    s = Concat <axis=0> (pre, j, post) t = {op} (h, s)"""
    numbers = {"Reshape": ("0", 5, "9, 7"), "Expand": ("1", 5, "1, 1"), "Tile": ("1", 1, "1, 1")}[op]
    weights = f"int64[1] n = {{{numbers[1]}}}, int64[1] pre = {{{numbers[0]}}}, int64[2] post = {{{numbers[2]}}}"
    analysis = assert_exact(net(body, weights, opset=11), HELD)
    assert_kept(analysis, "w", 0, op, "computed at run time")


@pytest.mark.parametrize("opset", versions("Range"))
def test_range_over_channels(opset: int) -> None:
    """0, 2, 4, ... up to twice the channels, which the graph counts itself: a position for each, so that all stay."""
    up = "q = Unsqueeze <axes=[1,2]> (f)" if opset < 13 else "q = Unsqueeze (f, at)"
    body = f"""e = Shape (h) c = Gather <axis=0> (e, one) n = Mul (c, two) r = Range (zero, n, two) f = Cast
    <to=1> (r) {up}
    s = Mul (q, tenth) t = Add (h, s)"""
    weights = "int64 zero = {0}, int64 one = {1}, int64 two = {2}, int64[2] at = {1, 2}, float tenth = {0.1}"
    analysis = assert_exact(net(body, weights, opset=opset), HELD)
    assert_kept(analysis, "w", 0, "Range", "a position")


def test_a_computed_size_that_only_happens_to_fit() -> None:
    """Nine rows are stated as the channels of h and four: right before the cut, restated after it."""
    body = """e = Shape (h) c = Slice (e, one, two) r = Add (c, four) s = Concat <axis=0> (zero, zero, r, seven)
    z = Conv (p, q) u = Reshape (z, s) a = Conv (u, o) y1 = Conv (h, v) y = Add (a, y1)"""
    numbers = {"zero": 0, "one": 1, "two": 2, "four": 4, "seven": 7}
    weights = "float[6,4,1,1] q, float[2,6,1,1] o, " + ", ".join(f"int64[1] {n} = {{{v}}}" for n, v in numbers.items())
    assert_exact(net(body, weights, tail="", opset=13), FREE | {"q": 6}, seeds=range(5))


def test_a_batch_of_the_same_name() -> None:
    """Two inputs of one batch: the one's size, taken from a shape, is that of the other."""
    x, numbers = "float[N, 3, 9, 7] x, float[N, 2] z", "int64[1] zero = {0}, int64[1] one = {1}"
    start = "e = Shape (z) n = Slice (e, zero, one)"
    body = f"{start} s = Concat <axis=0> (n, minus, rows, seven) t = Reshape (h, s)"
    assert_exact(
        net(body, f"{numbers}, int64[1] minus = {{-1}}, int64[1] rows = {{9}}, int64[1] seven = {{7}}", x=x, opset=13),
        FREE,
    )
    body = f"{start} s = Concat <axis=0> (n, flat) r = Reshape (h, s) f = Shape (h) t = Reshape (r, f)"
    assert_exact(net(body, f"{numbers}, int64[1] flat = {{315}}", x=x, opset=13), FREE)


def test_sizes_of_the_run_are_copied_where_allowzero_was_set() -> None:
    """As PyTorch's newer exporter writes views of a free batch: zeros that stand in for it must be read as copies."""
    body = """n = Shape <end=1> (x) q = Shape <start=3> (x) s = Concat <axis=0> (n, five, minus, q)
    t = Reshape <allowzero=1> (h, s)"""
    assert_exact(net(body, "int64[1] five = {5}, int64[1] minus = {-1}", x="float[N, 3, H, W] x", opset=18), FREE)

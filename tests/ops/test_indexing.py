"""Operators that read and write at places: channels beside the places go, the others stay."""

from __future__ import annotations

import pytest

from tests.oracle import analyzed, assert_exact, assert_kept, net, versions

FREE, HELD = {"w0": 4, "w": 5}, {"w0": 4}
SPACE = "float[2, 3, 9, 7] x"
TOTAL = "k = ReduceSum <keepdims=1> (s, one) t = Mul (s, k)"
ONE = "int64[1] one = {1}"


def test_trilu() -> None:
    """Over space it runs through; where channels lie on one of the last two axes they stay."""
    for upper in (0, 1):
        assert_exact(net(f"s = Trilu <upper={upper}> (h) {TOTAL}", ONE), FREE)
    turned = "a = Transpose <perm=[0,2,{}]> (h) r = Trilu (a) t = Transpose <perm=[0,{}]> (r)"
    for there, back in (("1,3", "2,1,3"), ("3,1", "3,1,2")):
        assert_kept(assert_exact(net(turned.format(there, back)), HELD), "w", 0, "Trilu", "diagonal")


@pytest.mark.parametrize("opset", versions("ReverseSequence", 13))
def test_reverse_sequence(opset: int) -> None:
    turned = "a = Transpose <perm=[0,2,1,3]> (h) r = ReverseSequence <batch_axis=0, time_axis=1> (a, l)"
    body = f"{turned} s = Transpose <perm=[0,2,1,3]> (r) {TOTAL}"
    assert_exact(net(body, f"int64[2] l = {{9, 4}}, {ONE}", x=SPACE, opset=opset), FREE)
    body = "t = ReverseSequence <batch_axis=0, time_axis=1> (h, l)"
    model = net(body, "int64[2] l = {5, 3}", x=SPACE, opset=opset)
    assert_kept(assert_exact(model, HELD), "w", 0, "ReverseSequence", "by index")
    body = "t = ReverseSequence <batch_axis=1, time_axis=0> (h, l)"
    model = net(body, "int64[5] l = {2, 1, 2, 1, 2}", x=SPACE, opset=opset)
    assert_kept(assert_exact(model, HELD), "w", 0, "ReverseSequence", "by index")


def test_compress() -> None:
    """Rows of the image by a condition; or channels, which are kept."""
    y = "float[A, B, C, D] y"
    nine = "bool[9] c = {1, 1, 0, 1, 0, 0, 1, 1, 1}"
    assert_exact(net(f"s = Compress <axis=2> (h, c) {TOTAL}", f"{nine}, {ONE}", y=y), FREE)
    model = net("t = Compress <axis=1> (h, c)", "bool[5] c = {1, 1, 1, 0, 1}", v="float[2, 4, 1, 1] v")
    assert_kept(assert_exact(model, HELD), "w", 0, "Compress", "by index")
    model = net("f = Compress (h, c) m = ReduceMax <keepdims=0> (f) q = Conv (p, o) t = Mul (q, m)",
                f"{nine}, float[5, 4, 1, 1] o")  # fmt: skip  # two lines
    assert_kept(assert_exact(model, HELD | {"o": 5}), "w", 0, "Compress", "by index")


# ---------------------------------------------------------------- entry by entry
PLACES = "int64[2, 5, 3, 7] i"


def with_places(model, size: int):  # type: ignore[no-untyped-def]  # a model in, the same model out
    """The random initializer `i` made valid indices of an axis."""
    import numpy as np
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        if tensor.name == "i":
            array = np.random.default_rng(0).permuted(np.arange(np.prod(tensor.dims)) % size).reshape(tensor.dims)
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.int64), "i"))
    return model


def test_gather_elements() -> None:
    """Indices of each channel go with it; along channels they are kept, as are channels that they don't reach."""
    model = net(f"s = GatherElements <axis=2> (h, i) {TOTAL}", f"{PLACES}, {ONE}", x=SPACE)
    analysis = assert_exact(with_places(model, 9), FREE)
    assert "i" in {m.slot.tensor for g in analysis.groups if g.name == "w" for m in g.members}
    model = net("t = GatherElements <axis=1> (h, i)", "int64[2, 6, 9, 7] i", x=SPACE, v="float[2, 6, 1, 1] v")
    assert_kept(assert_exact(with_places(model, 5), HELD), "w", 0, "GatherElements", "by index")
    model = net("t = GatherElements <axis=2> (h, i)", "int64[2, 3, 4, 7] i", x=SPACE, v="float[2, 3, 1, 1] v")
    assert_kept(assert_exact(with_places(model, 9), HELD), "w", 0, "GatherElements", "longer")


@pytest.mark.parametrize("opset", versions("ScatterElements", 11))
def test_scatter_elements(opset: int) -> None:
    """Updates are channels too; silence needs both."""
    places = "int64[2, 5, 3, 7] i, float[2, 5, 3, 7] u"
    total = TOTAL if opset >= 13 else TOTAL.replace("keepdims=1> (s, one)", "keepdims=1, axes=[1]> (s)")
    one = f", {ONE}" if opset >= 13 else ""
    model = net(f"s = ScatterElements <axis=2> (h, i, u) {total}", places + one, x=SPACE, opset=opset)
    analysis = assert_exact(with_places(model, 3), FREE)
    assert {"i", "u"} <= {m.slot.tensor for g in analysis.groups if g.name == "w" for m in g.members}
    body = f"e = Exp (h) z = Slice (e, from, to, on) s = ScatterElements <axis=2> (h, i, z) {total}"
    more = "int64[2, 5, 3, 7] i, int64[1] from = {0}, int64[1] to = {3}, int64[1] on = {2}"
    assert_kept(
        assert_exact(with_places(net(body, more + one, x=SPACE, opset=opset), 3), HELD), "w", 0, "ReduceSum", "over"
    )
    model = net("t = ScatterElements <axis=1> (h, i, u)", "int64[2, 2, 9, 7] i, float[2, 2, 9, 7] u",
                x=SPACE, opset=opset)  # fmt: skip  # two lines
    assert_kept(assert_exact(with_places(model, 2), HELD), "w", 0, "ScatterElements", "by index")


# ---------------------------------------------------------------- slices by index
LAST = "a = Transpose <perm=[0,2,3,1]> (h)"
BACK = "s = Transpose <perm=[0,3,1,2]> (g)"
BATCHED = "int64[2, 6, 2] i"


def test_gather_nd() -> None:
    """Channels behind the places that indices tell run through; channels that are told are kept."""
    model = net(f"{LAST} f = GatherND <batch_dims=1> (a, i) g = Unsqueeze (f, two) {BACK} {TOTAL}",
                f"{BATCHED}, {ONE}, int64[1] two = {{2}}", x=SPACE)  # fmt: skip  # two lines
    assert_exact(with_places(model, 7), FREE)
    model = net("f = GatherND <batch_dims=1> (h, i) t = Transpose <perm=[0,2,1]> (f)", "int64[2, 6, 2] i",
                x=SPACE, v="float[2, 7, 1] v", y="float[A, B, C] y")  # fmt: skip  # two lines
    assert_kept(assert_exact(with_places(model, 5), HELD), "w", 0, "GatherND", "by index")


@pytest.mark.parametrize("opset", versions("ScatterND", 13))
def test_scatter_nd(opset: int) -> None:
    model = net(f"{LAST} g = ScatterND (a, i, u) {BACK} {TOTAL}", f"int64[6, 2] i, float[6, 7, 5] u, {ONE}",
                x=SPACE, opset=opset)  # fmt: skip  # two lines
    analysis = assert_exact(with_places(model, 2), FREE)
    assert "u" in {m.slot.tensor for g in analysis.groups if g.name == "w" for m in g.members}
    noisy = f"{LAST} n = Exp (u) g = ScatterND (a, i, n) {BACK} {TOTAL}"
    model = net(noisy, f"int64[6, 2] i, float[6, 7, 5] u, {ONE}", x=SPACE, opset=opset)
    assert_kept(assert_exact(with_places(model, 2), HELD), "w", 0, "ReduceSum", "over channels")
    model = net("t = ScatterND (h, i, u)", "int64[6, 2] i, float[6, 9, 7] u", x=SPACE, opset=opset)
    assert_kept(assert_exact(with_places(model, 2), HELD), "w", 0, "ScatterND", "by index")


# ---------------------------------------------------------------- samples of an image
@pytest.mark.parametrize("opset", versions("GridSample", 16))
def test_grid_sample(opset: int) -> None:
    """Channels of the image run through; a grid that a network makes is kept."""
    assert_exact(net(f"s = GridSample (h, g) {TOTAL}", f"float[2, 4, 6, 2] g, {ONE}", x=SPACE, opset=opset), FREE)
    body = "o = Conv (p, c) d = Transpose <perm=[0,2,3,1]> (o) t = GridSample (h, d)"
    model = net(body, "float[2, 4, 1, 1] c", x=SPACE, opset=opset)
    assert_kept(assert_exact(model, FREE), "c", 0, "GridSample", "sampled")


def test_roi_align() -> None:
    body = f"s = RoiAlign <output_height=2, output_width=3, sampling_ratio=2> (h, r, n) {TOTAL}"
    boxes = "float[3, 4] r = {0, 0, 4, 5, 1, 2, 6, 7, 0, 1, 5, 5}, int64[3] n = {0, 1, 0}"
    assert_exact(net(body, f"{boxes}, {ONE}", x=SPACE, opset=16), FREE)
    # Columns that a weight makes are places here, so that they stay.
    body = "m = MatMul (h, c) t = RoiAlign <output_height=2, output_width=3> (m, r, n)"
    model = net(body, f"{boxes}, float[7, 8] c", x=SPACE, opset=16)
    assert_kept(assert_exact(model, FREE), "c", 1, "RoiAlign", "sampled")


# ---------------------------------------------------------------- neighbours of other families
@pytest.mark.parametrize("name", ["CumProd", "CumSum"])
def test_running_products_need_no_channels(name: str) -> None:
    """Analysed only where no runtime has the operator; one that starts at one is not silent."""
    axis = "int64 two = {2}"
    for exclusive in (0, 1):
        model = net(f"s = {name} <exclusive={exclusive}> (h, two) {TOTAL}", f"{axis}, {ONE}", opset=26)
        groups = {g.name: g.size for g in analyzed(model).groups}
        assert groups == (HELD if name == "CumProd" and exclusive else FREE)


def test_places_of_a_maximum_are_counted_over_all_channels() -> None:
    body = "q, i = MaxPool <kernel_shape=[2,2]> (h) f = Cast <to=1> (i) t = Add (q, f)"
    assert_kept(assert_exact(net(body), HELD), "w", 0, "MaxPool", "counted over all channels")
    assert_exact(net("t = MaxPool <kernel_shape=[2,2]> (h)"), FREE)


@pytest.mark.parametrize("opset", versions("OneHot", 9))
@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
def test_one_hot(opset: int, axis: int) -> None:
    """Which value an index has, on a new axis; the other axes are those of the indices."""
    largest = "ReduceMax (h, space)" if opset >= 18 else "ReduceMax <axes=[2,3]> (h)"
    body = f"""m = {largest} c = Abs (m) i = Cast <to=7> (c) j = Squeeze (i, space)
    o = OneHot <axis={axis}> (j, depth, two) r = ReduceSum <keepdims=0> (o, last) k = Unsqueeze (r, space)
    t = Mul (h, k)"""
    numbers = (
        f"""int64[1] depth = {{4}}, float[2] two = {{0.5, 2}}, int64[2] space = {{2, 3}}, int64[1] last = {{{axis}}}"""
    )
    assert_exact(net(body, numbers, opset=max(opset, 13)), {"w0": 4, "w": 5})

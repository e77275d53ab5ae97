"""Operators that put axes one behind the other or take parts of them, at every version of each."""

from __future__ import annotations

import pytest

from tests.oracle import analyzed, assert_exact, assert_kept, net, parse, versions

FREE, HELD = {"w0": 4, "w": 5}, {"w0": 4}
SUM = "k = ReduceSum <axes=[1], keepdims=1> (s) t = Mul (s, k)"


@pytest.mark.parametrize("opset", versions("Concat"))
@pytest.mark.parametrize("axis", [1, -3, 2])
def test_concat(axis: int, opset: int) -> None:
    """Channels behind channels; or space behind space, and then the channels are the same."""
    axis = axis % 4 if opset < 11 else axis
    other = "float[6,4,1,1] q" if axis != 2 else "float[5,4,1,1] q"
    groups = FREE | ({"q": 6} if axis != 2 else {})
    v = "float[2,11,1,1] v" if axis != 2 else "float[2,5,1,1] v"
    assert_exact(net(f"c = Conv (p, q) t = Concat <axis={axis}> (h, c)", other, v=v, opset=opset), groups)


def test_concat_with_itself_and_a_constant() -> None:
    assert_exact(net("t = Concat <axis=1> (h, h)", v="float[2,10,1,1] v"), FREE)
    analysis = assert_exact(
        net("t = Concat <axis=1> (h, c)", "float[2,3,9,7] c", v="float[2,8,1,1] v", x="float[2,3,9,7] x"),
        FREE | {"c": 3},
    )
    assert {m.role for g in analysis.groups if g.name == "c" for m in g.members} == {"bias", "consumer"}


def test_concat_and_silence() -> None:
    silent = f"e = Exp (h) s = Concat <axis=1> (h, c) {SUM}"
    assert_exact(net(silent.replace("c)", "h)"), v="float[2,10,1,1] v", opset=11), FREE)
    analysis = assert_exact(net(silent.replace("c)", "e)"), v="float[2,10,1,1] v", opset=11), HELD)
    assert_kept(analysis, "w", 0, "ReduceSum", "over channels")


# ---------------------------------------------------------------- split
def split_of(opset: int, sizes: str, outputs: str, axis: int = 1) -> tuple[str, str]:
    if opset < 13:
        return f"{outputs} = Split <axis={axis}{f', split=[{sizes}]' if sizes else ''}> (h)", ""
    if sizes:
        return f"{outputs} = Split <axis={axis}> (h, parts)", f"int64[{len(sizes.split(','))}] parts = {{{sizes}}}"
    count = f", num_outputs={len(outputs.split(','))}" if opset >= 18 else ""
    return f"{outputs} = Split <axis={axis}{count}> (h)", ""


@pytest.mark.parametrize("opset", versions("Split"))
@pytest.mark.parametrize(
    ("sizes", "groups"), [("2,4,3", {"w": 2, "w#2": 4, "w#3": 3}), ("", {"w": 3, "w#2": 3, "w#3": 3})]
)
def test_split(sizes: str, groups: dict[str, int], opset: int) -> None:
    """Parts of their own, turned round: the sizes of the parts are restated."""
    node, constant = split_of(opset, sizes, "a, c, d")
    model = net(f"{node} e = Neg (a) t = Concat <axis=1> (d, e, c)", constant, w="float[9,4,1,1] w",
                head="p = Conv (x, w0) h = "
                     "Conv (p, w)", v="float[2,9,1,1] v", opset=opset)  # fmt: skip  # no more lines
    assert_exact(model, {"w0": 4} | groups)


@pytest.mark.parametrize("opset", versions("Split", 18))
def test_split_into_uneven_parts(opset: int) -> None:
    """num_outputs: the last part is smaller where the size is no multiple."""
    body = "a, c, d = Split <axis=-3, num_outputs=3> (h) t = Concat <axis=1> (d, a, c)"
    model = net(body, w="float[8,4,1,1] w", head="p = Conv (x, w0) h = Conv (p, w)", v="float[2,8,1,1] v", opset=opset)
    assert_exact(model, {"w0": 4, "w": 3, "w#2": 3, "w#3": 2})


@pytest.mark.parametrize("opset", versions("Split"))
def test_split_halves_that_meet(opset: int) -> None:
    """A gate: both halves have the same channels."""
    node, constant = split_of(opset, "5,5", "a, c")
    body = f"{node} g = Sigmoid (a) t = Mul (g, c)"
    assert_exact(net(body, constant, w="float[10,4,1,1] w", head="p = Conv (x, w0) h = Conv (p, w)", opset=opset), FREE)


def test_split_of_space_and_silence() -> None:
    node, _ = split_of(11, "4,5", "a, c", 2)
    assert_exact(
        net(f'{node} s = Pad <mode="constant"> (a, pads) {SUM}', "int64[8] pads = {0,0,0,0,0,0,1,0}", opset=11), FREE
    )


# ---------------------------------------------------------------- slice
def slice_of(
    opset: int, starts: str, ends: str, axes: str, steps: str = "", x: str = "h", out: str = "t"
) -> tuple[str, str]:
    """A Slice and its constants; they were attributes before opset 10, which had no steps."""
    if opset < 10:
        return f"{out} = Slice <starts=[{starts}], ends=[{ends}], axes=[{axes}]> ({x})", ""
    count = len(starts.split(","))
    given = {"st": starts, "en": ends, "ax": axes} | ({"sp": steps} if steps else {})
    constants = ", ".join(f"int64[{count}] {out}{name} = {{{values}}}" for name, values in given.items())
    return f"{out} = Slice ({x}, {', '.join(out + name for name in given)})", constants


PARTS = {
    # name: (starts, ends, channels left of 9, the groups that w falls into)
    "a part in the middle": ("2", "6", 4, {"w": 2, "w#2": 4, "w#3": 3}),
    "to the end": ("2", "9223372036854775807", 7, {"w": 2, "w#2": 7}),
    "past the end": ("4", "100", 5, {"w": 4, "w#2": 5}),
    "from the front": ("0", "4", 4, {"w": 4, "w#2": 5}),
    "before the front": ("-100", "4", 4, {"w": 4, "w#2": 5}),
    "from behind": ("-4", "9", 4, {"w": 5, "w#2": 4}),
    "up to one from behind": ("0", "-2", 7, {"w": 7, "w#2": 2}),
    "between two from behind": ("-7", "-3", 4, {"w": 2, "w#2": 4, "w#3": 3}),
}  # fmt: skip  # a table


@pytest.mark.parametrize("opset", versions("Slice"))
@pytest.mark.parametrize("case", PARTS)
def test_slice(case: str, opset: int) -> None:
    """Beside the part all channels are read, so that those outside of it may go too, and move its ends."""
    starts, ends, left, groups = PARTS[case]
    node, constant = slice_of(opset, starts, ends, "1", out="s")
    model = net(f"{node} t = Concat "
                f"<axis=1> (s, h)", constant, w="float[9,4,1,1] w", head="p = Conv (x, w0) h = Conv (p, w)",
                v=f"float[2,{9 + left},1,1] v", opset=opset)  # fmt: skip  # no more lines
    assert_exact(model, {"w0": 4} | groups, seeds=range(8))


@pytest.mark.parametrize("opset", versions("Slice"))
def test_slice_of_space(opset: int) -> None:
    node, constant = slice_of(opset, "1,-6", "-1,9223372036854775807", "2,-1" if opset >= 10 else "2,3")
    assert_exact(net(node, constant, opset=opset), FREE)
    node, constant = slice_of(opset, "0,0,1,2", "9,9,5,5", "0,1,2,3")
    assert_exact(net(node, constant, opset=opset), FREE)


@pytest.mark.parametrize("opset", versions("Slice"))
def test_slice_without_axes(opset: int) -> None:
    if opset < 10:
        assert_exact(
            net("t = Slice <starts=[0,2], ends=[2,5]> (h)", v="float[2,3,1,1] v", x="float[2,3,9,7] x", opset=opset),
            {"w0": 4, "w": 2, "w#2": 3},
        )
    else:
        body, weights = "t = Slice (h, a, e)", "int64[2] a = {0, 2}, int64[2] e = {2, 5}"
        assert_exact(
            net(body, weights, v="float[2,3,1,1] v", x="float[2,3,9,7] x", opset=opset), {"w0": 4, "w": 2, "w#2": 3}
        )


@pytest.mark.parametrize("opset", versions("Slice", 10))
def test_steps(opset: int) -> None:
    """Every third of nine channels: three by three. A step that leaves a rest, or goes backwards, keeps."""
    head = "p = Conv (x, w0) h = Conv (p, w)"
    for start, end in (("1", "9"), ("2", "9223372036854775807"), ("0", "7")):
        node, constant = slice_of(opset, start, end, "1", "3", out="s")
        model = net(
            f"{node} t = Concat <axis=1> (s, h)",
            constant,
            w="float[9,4,1,1] w",
            head=head,
            v="float[2,12,1,1] v",
            opset=opset,
        )
        assert_exact(model, {"w0": 4, "w": 3})
    for start, end, step, left in (("0", "9", "2", 5), ("-1", "-100", "-1", 9), ("7", "1", "-2", 3)):
        node, constant = slice_of(opset, start, end, "1", step)
        analysis = assert_exact(
            net(node, constant, w="float[9,4,1,1] w", head=head, v=f"float[2,{left},1,1] v", opset=opset), HELD
        )
        assert_kept(analysis, "w", 0, "Slice", f"a step of {step}")


def test_slice_at_places_of_run_time() -> None:
    """Halves of the channels whose size the graph computes; places that the input decides keep."""
    halves = """e = Shape (h) c = Slice (e, one, two) m = Div (c, two) a = Slice (h, zero, m, one) q = Mul (m, two)
    g = Slice (h, m, q, one) t = Mul (a, g)"""
    numbers = "int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}"
    head, w = "p = Conv (x, w0) h = Conv (p, w)", "float[10,4,1,1] w"
    assert_exact(net(halves, numbers, w=w, head=head, opset=13), FREE)
    late = """m = ReduceMax <keepdims=0> (x) f = Sub (m, m) i = Cast <to=7> (f) u = Unsqueeze <axes=[0]> (i)
    j = Add (u, one)
    j2 = Add (j, two) s = Concat <axis=0> (zero, j) k = Concat <axis=0> (one, j2) a = Concat <axis=0> (one,
    two) r = Slice (x, s, k, a) d = ReduceMean (r) t = Mul (h, d)"""
    assert_exact(net(late, numbers, opset=11), FREE)
    late = (
        "m = ReduceMax <keepdims=0> (x) f = Sub (m, m) i = Cast <to=7> (f) u = Unsqueeze <axes=[0]> (i) s = "
        "Slice (h, u, two, one) t = Concat <axis=1> (s, h)"
    )
    assert_kept(
        assert_exact(net(late, numbers, v="float[2,7,1,1] v", opset=11), HELD), "w", 0, "Slice", "computed at run time"
    )


def test_places_of_one_axis_that_the_run_decides() -> None:
    """Those of another axis are known all the same."""
    body = """e = Shape (h) f = Slice (e, zero, one) s = Concat <axis=0> (four, f) t = Slice (h, starts, s, a)"""
    numbers = "int64[1] zero = {0}, int64[1] one = {1}, int64[1] four = {4}"
    assert_exact(
        net(body, f"{numbers}, int64[2] starts = {{1, 0}}, int64[2] a = {{1, 0}}", v="float[2,3,1,1] v", opset=11),
        {"w0": 4, "w": 3},
    )


def test_a_part_of_what_is_kept_is_no_place_of_the_run() -> None:
    """The reason stays the first one."""
    body = "l = LRN <size=3> (h) t = Slice (l, a, e, o)"
    numbers = "int64[1] a = {1}, int64[1] e = {4}, int64[1] o = {1}"
    analysis = assert_exact(net(body, numbers, v="float[2,3,1,1] v", opset=11), HELD)
    axis = next(s.axes[0] for s in analysis.slots if s.tensor == "w")
    assert [r.why for r in analysis.space.reasons(axis)] == ["normalised over neighbouring channels"]


def test_slice_and_silence() -> None:
    assert_exact(
        net(
            f"s = Slice (h, a, e, o) {SUM}",
            "int64[1] a = {1}, int64[1] e = {4}, int64[1] o = {1}",
            v="float[2,3,1,1] v",
            opset=11,
        ),
        {"w0": 4, "w": 3},
    )


# ---------------------------------------------------------------- gather
PICKS = {
    "a permutation": ("4, 2, 0, 1, 3", 5, FREE),
    "a part": ("1, 2, 3", 3, {"w0": 4, "w": 3}),
    "a part, turned": ("3, -5, 1", 3, {"w0": 4, "w": 5}),
    "repeats": ("0, 1, 1, 4, 0, 3, 2", 7, FREE),
    "one": ("2", 1, {"w0": 4, "w": 2, "w#2": 2}),  # the channels on either side are dead
}  # fmt: skip  # a table


@pytest.mark.parametrize("opset", versions("Gather"))
@pytest.mark.parametrize("case", PICKS)
def test_gather(case: str, opset: int) -> None:
    indices, count, groups = PICKS[case]
    if "-5" in indices and opset < 11:
        indices = indices.replace("-5", "0")
    model = net(
        "t = Gather <axis=1> (h, i)", f"int64[{count}] i = {{{indices}}}", v=f"float[2,{count},1,1] v", opset=opset
    )
    assert_exact(model, groups, seeds=range(5))


def test_gather_keeps() -> None:
    """A single index takes a channel out; a grid of indices, or those of the input, are not followed."""
    body, v = "s = Gather <axis=1> (h, i) t = Unsqueeze <axes=[1]> (s)", "float[2,1,1,1] v"
    assert_kept(assert_exact(net(body, "int64 i = {3}", v=v, opset=11), HELD), "w", 0, "Gather", "read by index")
    body = "s = Gather <axis=1> (h, i) t = Flatten <axis=1> (s)"
    model = net(
        body, "int64[2,2] i = {3, 0, 1, 1}", v="float[252,2] v", tail="y = MatMul (t, v)", y="float[A,B] y", opset=11
    )
    assert_kept(assert_exact(model, HELD), "w", 0, "Gather", "read by index")
    body = "m = ReduceMax <axes=[1,2,3], keepdims=0> (x) a = Sub (m, m) i = Cast <to=7> (a) t = Gather <axis=1> (h, i)"
    model = net(body, v="float[2,2,1,1] v", x="float[2,3,9,7] x", opset=11)
    assert_kept(assert_exact(model, HELD), "w", 0, "Gather", "read by index")


def test_gather_of_the_input_is_not_silent() -> None:
    """Channels of the input, chosen by a constant: the list of indices is no weight."""
    body = "z = Gather <axis=1> (x, i) s = Relu (z) k = ReduceSum <axes=[1], keepdims=1> (s) t = Mul (h, k)"
    analysis = assert_exact(net(body, "int64[7] i = {2, 1, 0, 0, 1, 2, 2}", opset=11), FREE)
    assert all(m.slot.tensor != "i" for g in analysis.groups for m in g.members)


def test_embedding() -> None:
    """A table of 11 rows that the input reads: its columns may go, its rows not."""
    text = (
        "g (int64[N, 6] x) => (float[A, B, C] y) <float[11, 5] table, float[5, 4] w, float[4, 2] v> { t = "
        "Gather (table, x) k = ReduceSum <axes=[2], keepdims=1> (t) u = Mul (t, k) h = MatMul (u, w) y = "
        "MatMul (h, v) }"
    )
    model = parse(text, 11)
    analysis = analyzed(model, {"table": 5, "w": 4})
    assert [(m.slot.tensor, m.axis) for g in analysis.groups for m in g.members if m.slot.tensor == "table"] == [
        ("table", 1)
    ]
    assert {m.role for m in analysis.groups[0].members} == {"producer", "consumer"}

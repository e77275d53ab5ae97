"""Who may lose what share, in which multiples, where channels are products."""

from __future__ import annotations

import pytest

from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import Analysis, analyze
from onnx_attnprune.planning import Settings
from onnx_attnprune.planning.candidates import candidates, granule
from tests.oracle import parse

# 12 heads of 5: fewer would do at a ratio of 0.25, and 0.3 is 4 heads of 12; 2 heads of 30 can't lose a quarter.
HEADS = """g (float[N, 7, 24] x) => (float[N, 7, 3] y)
<float[24, {width}] wv, float[{width}, 3] wo>
{{ v = MatMul (x, wv)
   split = Constant <value = int64[4] {{0, 7, {heads}, {dim}}}> ()
   r = Reshape (v, split)
   a = Softmax <axis = 1> (r)
   join = Constant <value = int64[3] {{0, 7, {width}}}> ()
   o = Reshape (a, join)
   y = MatMul (o, wo) }}"""


def attention(heads: int, dim: int) -> Analysis:
    return analyze(Graph(parse(HEADS.format(heads=heads, dim=dim, width=heads * dim))), {"x": (2, 7, 24)})


def shares(analysis: Analysis, mode: str, ratio: float = 0.25) -> dict[int, float]:
    return {c.group.size: round(c.ratio, 3) for c in candidates(analysis, Settings(ratio=ratio, attention=mode))}  # type: ignore[arg-type]  # of HEADS


def test_heads_or_their_width() -> None:
    analysis = attention(12, 5)
    assert sorted(g.size for g in analysis.groups) == [5, 12]
    assert shares(analysis, "heads") == {12: 0.25}
    assert shares(analysis, "head-dims") == {5: 0.25}
    assert shares(analysis, "none") == {}
    assert shares(analysis, "both", 0.36) == {12: 0.2, 5: 0.2}  # 0.8 * 0.8 are left


def test_auto_takes_heads_where_there_are_enough() -> None:
    assert shares(attention(12, 5), "auto") == {12: 0.25}
    assert shares(attention(3, 20), "auto", 0.15) == {20: 0.15}  # of three heads none can go, or a third


@pytest.mark.parametrize(
    ("heads", "dim", "multiple", "expected"), [(12, 5, 8, {12: 8, 5: 2}), (3, 16, 8, {3: 1, 16: 8})]
)
def test_a_granule_counts_in_channels_of_the_whole_axis(
    heads: int, dim: int, multiple: int, expected: dict[int, int]
) -> None:
    analysis = attention(heads, dim)
    assert {g.size: granule(analysis, g, multiple) for g in analysis.groups} == expected


# A width that an RMS norm runs over, with neurons inside; heads whose queries and keys are normalised.
RMS = """g (float[N, 7, 6] x) => (float[N, 7, 3] y) <float[6, 24] embed, float[24, 9] up, float[9, 24] down,
float[24, 3] out, float two = {2}>
{ e = MatMul (x, embed) q = Pow (e, two) m = ReduceMean <axes = [-1], keepdims = 1> (q) r = Sqrt (m)
  n = Div (e, r) u = MatMul (n, up) a = Relu (u) d = MatMul (a, down) z = Add (e, d) y = MatMul (z, out) }"""


def names(analysis: Analysis, **settings: object) -> set[str]:
    return {c.group.name for c in candidates(analysis, Settings(**settings))}  # type: ignore[arg-type]  # of settings


def test_what_had_better_stay_whole_goes_only_by_its_own_name() -> None:
    """Patterns that mean a tensor which the channels lie in too do not mean them."""
    analysis = analyze(Graph(parse(RMS, 13)))
    assert [(g.name, bool(g.spared)) for g in analysis.groups] == [("embed", True), ("up", False)]
    assert names(analysis) == {"up"}
    assert names(analysis, include=("up", "down")) == {"up"}
    assert names(analysis, include=("*mbed",)) == {"embed"}
    assert names(analysis, include=("up", "embed")) == {"embed", "up"}
    assert names(analysis, layer_ratios=(("embed", 0.5),)) == {"up"}


def test_auto_takes_heads_where_their_width_may_not_go() -> None:
    """Three heads can't lose a quarter, but a width that is left out loses nothing."""
    analysis = attention(3, 20)
    (wide,) = (g.name for g in analysis.groups if g.size == 20)
    found = candidates(analysis, Settings(ratio=0.15, exclude=(wide,)))
    assert [(c.group.size, c.ratio) for c in found] == [(3, 0.15)]


def test_a_ratio_for_a_group_by_its_own_name_is_for_that_group_alone() -> None:
    text = """g (float[N, 3] x) => (float[N, 4] y) <float[3, 10] a, float[10, 20] b, float[20, 4] c>
    { h = MatMul (x, a)  i = Relu (h)  j = MatMul (i, b)  k = Relu (j)  y = MatMul (k, c) }"""
    analysis = analyze(Graph(parse(text)))
    assert [g.name for g in analysis.groups] == ["a", "b"]  # of which the first lies in b too
    for pairs in ((("a", 0.1), ("b", 0.6)), (("b", 0.6), ("a", 0.1))):
        found = candidates(analysis, Settings(layer_ratios=pairs))
        assert [(c.group.name, c.ratio) for c in found] == [("a", 0.1), ("b", 0.6)]
    found = candidates(analysis, Settings(ratio=0.3, layer_ratios=(("b", 0.6),)))
    assert [c.ratio for c in found] == [0.6, 0.6]  # a pattern for whatever lies in b


# Two blocks on a stream of 6, with 24 and 10 channels inside.
BLOCKS = """g (float[N, 7, 5] x) => (float[N, 7, 3] y) <float[5, 6] stem, float[6, 24] up, float[24, 6] down,
float[6, 10] up2, float[10, 6] down2, float[6, 3] out>
{ s = MatMul (x, stem)
  a = MatMul (s, up) b = Relu (a) c = MatMul (b, down) d = Add (s, c)
  e = MatMul (d, up2) f = Relu (e) h = MatMul (f, down2) i = Add (d, h) y = MatMul (i, out) }"""


def test_streams_that_are_kept_go_only_by_their_own_names() -> None:
    """Patterns that mean a tensor which the channels lie in too do not mean them."""
    analysis = analyze(Graph(parse(BLOCKS)))
    assert names(analysis) == {"stem", "up", "up2"}
    assert names(analysis, streams="keep") == {"up", "up2"}
    assert names(analysis, streams="keep", include=("up", "down2")) == {"up", "up2"}
    assert names(analysis, streams="keep", include=("ste*", "up")) == {"stem", "up"}
    assert names(analysis, streams="keep", layer_ratios=(("down", 0.5),)) == {"up", "up2"}
    assert names(analysis, streams="keep", layer_ratios=(("stem", 0.5),)) == {"stem", "up", "up2"}
    # A name that is left out stays left out, and so does all that lies in the same tensor.
    assert names(analysis, streams="keep", layer_ratios=(("stem", 0.5),), exclude=("stem",)) == {"up", "up2"}

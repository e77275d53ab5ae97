"""Where the channels that go are a linear function of those that stay, a repair of what reads them loses nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest

from onnx_attnprune import surgery
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import alive_of, analyze
from onnx_attnprune.recovery import recover
from tests.oracle import parse
from tests.recovery.helpers import put, run, stored
from tests.recovery.test_least_squares import samples

METHODS = ["mix", "least-squares", "sequential"]


@dataclass(frozen=True)
class Case:
    """A graph, the size of the group that loses channels, and which go. copies: for a weight its axis of channels, and
    which of them become sums of others: {place: (one, other)}."""

    text: str
    size: int
    gone: tuple[int, ...]
    copies: dict[str, tuple[int, dict[int, tuple[int, ...]]]] = field(default_factory=dict)
    consumers: int = 1
    domain: bool = False


def recurrent(kind: str, gates: int, more: str = "") -> str:
    return f"""g (float[N, 5, 3] x) => (float[N, 5, 8] y)
    <float[3, 6] w1, float[2, {gates * 4}, 6] w, float[2, {gates * 4}, 4] r, float[2, {gates * 8}] b> {{
        a = MatMul (x, w1)
        t = Transpose <perm = [1, 0, 2]> (a)
        s = {kind} <hidden_size = 4, direction = "bidirectional"{more}> (t, w, r, b)
        u = Transpose <perm = [2, 0, 1, 3]> (s)
        shape = Constant <value = int64[3] {{0, 0, -1}}> ()
        y = Reshape (u, shape)
    }}"""


UNBIASED = recurrent("LSTM", 4).replace("(t, w, r, b)", "(t, w, r)").replace(", float[2, 32] b", "")
PACKED = """g (float[N, 5, 3] x) => (float[N, 5, 4] y) <float[3, 6] w1, float[6, 12] w, float[12] b> {
    a = MatMul (x, w1)
    y = com.microsoft.Attention <num_heads = 2> (a, w, b)
}"""
HEADS = """g (float[N, 5, 3] x) => (float[N, 5, 7] y)
<float[3, 6] wq, float[3, 6] wk, float[3, 10] wv, float[10, 7] wo, float[7] b> {
    q = MatMul (x, wq)
    k = MatMul (x, wk)
    v = MatMul (x, wv)
    a = Attention <q_num_heads = 2, kv_num_heads = 2> (q, k, v)
    o = MatMul (a, wo)
    y = Add (o, b)
}"""
FEED_FORWARD = """g (float[N, 5, 3] x) => (float[N, 5, 3] y)
<float[3, 8] w1, float[8] b1, float[8, 3] w2, float[3] b2> {
    a = MatMul (x, w1)
    c = Add (a, b1)
    d = Gelu (c)
    e = MatMul (d, w2)
    f = Add (e, b2)
    y = Add (f, x)
}"""
GATED = """g (float[N, 5, 3] x) => (float[N, 5, 4] y) <float[3, 8] w1, float[3, 8] w2, float[8, 4] w3> {
    a = MatMul (x, w1)
    s = Sigmoid (a)
    g = Mul (a, s)
    u = MatMul (x, w2)
    m = Mul (g, u)
    y = MatMul (m, w3)
}"""
DEPTHWISE = """g (float[N, 3, 9, 7] x) => (float[N, 5, 9, 7] y)
<float[8, 3, 1, 1] w1, float[8] b1, float[8, 1, 3, 3] w2, float[8] b2, float[5, 8, 1, 1] w3> {
    a = Conv (x, w1, b1)
    c = Relu (a)
    d = Conv <group = 8, pads = [1, 1, 1, 1]> (c, w2, b2)
    e = Relu (d)
    y = Conv (e, w3)
}"""
SEVERAL = """g (float[N, 3, 9, 7] x) => (float[N, 5, 9, 7] y, float[N, 4] z)
<float[6, 3, 1, 1] w1, float[5, 6, 3, 3] w2, float[4, 6] w3, float[4] b3> {
    a = Conv (x, w1)
    y = Conv <pads = [1, 1, 1, 1]> (a, w2)
    p = GlobalAveragePool (a)
    f = Flatten (p)
    z = Gemm <transB = 1> (f, w3, b3)
}"""
NORMED = """g (float[N, 3, 9, 7] x) => (float[N, 5, 7, 5] y)
<float[6, 3, 1, 1] w1, float[6] s, float[6] b, float[6] m, float[6] var, float[5, 6, 3, 3] w2> {
    a = Conv (x, w1)
    n = BatchNormalization (a, s, b, m, var)
    y = Conv (n, w2)
}"""
CASES = {
    "lstm": Case(recurrent("LSTM", 4), 6, (1, 4)),
    "lstm without bias": Case(UNBIASED, 6, (1, 4)),
    "gru": Case(recurrent("GRU", 3, ", linear_before_reset = 1"), 6, (1, 4)),
    "rnn": Case(recurrent("RNN", 1), 6, (1, 4)),
    "packed query, key and value": Case(PACKED, 6, (0, 3), domain=True),
    "output projection": Case(HEADS, 5, (1, 4), {"wv": (1, {1: (0, 2), 4: (3,), 6: (5,), 9: (7, 8)})}),
    "feed-forward": Case(FEED_FORWARD, 8, (2, 5), {"w1": (1, {2: (0,), 5: (3,)}), "b1": (0, {2: (0,), 5: (3,)})}),
    "gated": Case(GATED, 8, (2, 5), {"w1": (1, {2: (0,), 5: (3,)}), "w2": (1, {2: (0,), 5: (3,)})}),
    "depthwise": Case(
        DEPTHWISE, 8, (2, 5), {n: (0, {2: (0,), 5: (3,)}) for n in ("w1", "b1", "w2", "b2")}
    ),
    "several consumers": Case(SEVERAL, 6, (0, 4), consumers=2),
    "batch norm": Case(NORMED, 6, (0, 4)),
}  # fmt: skip  # a table


def model_of(case: Case) -> onnx.ModelProto:
    imports = ', "com.microsoft" : 1' if case.domain else ""
    model = parse(case.text, 23, imports=imports)
    for name, (axis, sums) in case.copies.items():
        w = np.moveaxis(stored(model, name).copy(), axis, 0)
        for place, parts in sums.items():
            w[place] = sum(w[k] for k in parts)
        put(model, name, np.moveaxis(w, 0, axis))
    return model


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CASES)
def test_what_the_others_tell_is_no_loss(name: str, method: str) -> None:
    case = CASES[name]
    model = model_of(case)
    analysis = analyze(Graph(model))
    group = next(g for g in analysis.groups if g.size == case.size)
    alive = alive_of(analysis.groups, {group.id: case.gone})
    feeds = dict(samples(model, 16, seed=9).runs[0])
    original, before = run(model, feeds), run(surgery.prune(analysis, alive), feeds)
    found = recover(method, analysis, alive, surgery.prune(analysis, alive), samples(model, 512))
    assert (found.compensated, found.consumers) == (case.consumers, case.consumers), found.notes
    onnx.checker.check_model(found.model, full_check=True)
    after = run(found.model, feeds)
    for output, numbers in original.items():
        scale = np.abs(numbers).max()
        assert np.abs(numbers - before[output]).max() > 0.03 * scale
        assert np.abs(numbers - after[output]).max() < 2e-3 * scale

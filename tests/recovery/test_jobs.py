"""Weights that several nodes read: one fit for all uses that are cut alike, on what all of them see."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from onnx import ModelProto

from onnx_attnprune import surgery
from onnx_attnprune.recovery import Calibration, recover
from onnx_attnprune.recovery.guard import divergence
from onnx_attnprune.recovery.jobs import by_weight, jobs_of
from tests.oracle import parse
from tests.recovery.helpers import Array, run, without

SIDES = {
    "MatMul": """g (float[N, 6] x, float[N, 6] z) => (float[N, 4] q, float[N, 4] s)
    <float[6, 9] w1, float[9, 4] w2> {
        a = MatMul (x, w1)  b = Relu (a)  q = MatMul (b, w2)
        c = MatMul (z, w1)  d = Relu (c)  s = MatMul (d, w2) }""",
    "Conv": """g (float[N, 6, 3, 2] x, float[N, 6, 3, 2] z) => (float[N, 4, 3, 2] q, float[N, 4, 3, 2] s)
    <float[9, 6, 1, 1] w1, float[4, 9, 1, 1] w2> {
        a = Conv (x, w1)  b = Relu (a)  q = Conv (b, w2)
        c = Conv (z, w1)  d = Relu (c)  s = Conv (d, w2) }""",
}
GONE = [1, 4, 6]


def runs(shape: tuple[int, ...], seed: int, count: int = 32) -> list[dict[str, Array]]:
    """Two inputs that have little in common: channels of one go together in another way than those of the other."""
    rng = np.random.default_rng(seed)
    mixing = np.prod(np.random.default_rng(5).standard_normal((3, 2, 6, 6)), axis=0)
    return [
        {
            name: np.einsum("nc...,cd->nd...", rng.standard_normal((16, *shape)), m).astype(np.float32)
            for name, m in zip("xz", mixing, strict=True)
        }
        for _ in range(count)
    ]


def together(found: ModelProto, model: ModelProto, fresh: list[dict[str, Array]]) -> float:
    """The squared error of both outputs."""
    total = 0.0
    for feeds in fresh:
        one, two = run(model, feeds), run(found, feeds)
        total += sum(float(((one[n] - two[n]).astype(np.float64) ** 2).sum()) for n in one)
    return total


def best_for(seen: Mapping[str, Array], rows: Mapping[str, Array]) -> float:
    """The squared error on `rows` of the weight and bias that make the least on `seen`, by numpy."""
    x, t = (np.concatenate([seen[n] for n in names]) for names in (("b", "d"), ("q", "s")))
    weight = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), t, rcond=None)[0]
    x, t = (np.concatenate([rows[n] for n in names]) for names in (("b", "d"), ("q", "s")))
    return float(((np.column_stack([x, np.ones(len(x))]) @ weight - t) ** 2).sum())


def rows_of(model: ModelProto, given: list[dict[str, Array]], uses: str = "bdqs") -> dict[str, Array]:
    """What both uses read of the kept channels, and what they give, [rows, channels]."""
    looked = ModelProto()
    looked.CopyFrom(model)
    for name in uses:
        if name in "bd":
            looked.graph.output.add(name=name)
    found: dict[str, list[Array]] = {name: [] for name in uses}
    for feeds in given:
        for name, array in run(looked, feeds).items():
            if name in found:
                found[name].append(np.moveaxis(array, 1, -1).reshape(-1, array.shape[1]).astype(np.float64))
    joined = {name: np.concatenate(parts) for name, parts in found.items()}
    return {n: np.delete(a, GONE, axis=1) if n in "bd" else a for n, a in joined.items()}


@pytest.mark.parametrize("method", ["least-squares", "sequential"])
@pytest.mark.parametrize("op", SIDES)
def test_a_weight_that_two_read_is_fitted_on_what_both_see(op: str, method: str) -> None:
    model = parse(SIDES[op])
    shape = (6,) if op == "MatMul" else (6, 3, 2)
    given, fresh = runs(shape, 0), runs(shape, 1, 8)
    analysis, alive = without(model, {"w1": GONE})
    assert [len(jobs) for jobs in by_weight(jobs_of(analysis, alive)[0])] == [2]
    calibration = Calibration(tuple(given), "two inputs", False)
    found = recover(method, analysis, alive, surgery.prune(analysis, alive), calibration).model
    first, second = (n.input[1] for n in found.graph.node if n.op_type == op and n.input[0] in ("b", "d"))
    assert first == second
    rows = rows_of(model, fresh)
    least = best_for(rows_of(model, given), rows)
    assert together(found, model, fresh) < 1.05 * least
    # Fitted on what one of them sees, it would be much worse for both.
    for use in (("b", "q"), ("d", "s")):
        alone = rows_of(model, given)
        one = {"b": alone[use[0]], "d": alone[use[0]], "q": alone[use[1]], "s": alone[use[1]]}
        assert best_for(one, rows) > 1.2 * least


def test_a_weight_that_one_reads_turned_round_is_fitted_for_each() -> None:
    """A residual network of one square weight and its transpose: both lose the same, but not of the same axis."""
    model = parse(
        """g (float[N, 6] x) => (float[N, 4] y)
        <float[6, 9] w1, float[9, 9] k, float[9, 4] w2> {
            a = MatMul (x, w1)  b = Relu (a)
            c = MatMul (b, k)   d = Add (b, c)
            e = Gemm <transB = 1> (d, k)  f = Add (d, e)
            h = Relu (f)  y = MatMul (h, w2) }"""
    )
    analysis, alive = without(model, {"w1": GONE})
    jobs = jobs_of(analysis, alive)[0]
    assert [[j.consumer.node.outputs[0] for j in shared] for shared in by_weight(jobs)] == [["c"], ["e"], ["y"]]
    given = tuple({"x": feeds["x"]} for feeds in runs((6,), 0))
    feeds = {"x": np.concatenate([f["x"] for f in runs((6,), 1)])}
    plain = surgery.prune(analysis, alive)
    bare = divergence([run(model, feeds)], [run(plain, feeds)])
    for method in ("least-squares", "sequential"):
        found = recover(method, analysis, alive, surgery.prune(analysis, alive), Calibration(given, "x", False)).model
        assert divergence([run(model, feeds)], [run(found, feeds)]) < 0.7 * bare, method

"""The sequential fit: each layer makes up for what those before it left."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from onnx_attnprune import surgery
from onnx_attnprune.recovery import Calibration, Limits, guarded, recover, within_reach
from onnx_attnprune.recovery.guard import divergence
from onnx_attnprune.recovery.jobs import jobs_of
from onnx_attnprune.recovery.targets import Flow
from tests.oracle import parse
from tests.recovery.helpers import put, run, stored, without
from tests.recovery.test_least_squares import samples

DEEP = """g (float[N, 6] x) => (float[N, 4] y)
<float[6, 16] w1, float[16, 15] w2, float[15, 14] w3, float[14, 4] w4> {
    a = MatMul(x, w1)
    b = Relu(a)
    c = MatMul(b, w2)
    d = Relu(c)
    e = MatMul(d, w3)
    f = Relu(e)
    y = MatMul(f, w4)
}"""
RESIDUAL = """g (float[N, 3, 6, 5] x) => (float[N, 4, 6, 5] y)
<float[9, 3, 1, 1] w0, float[8, 9, 1, 1] w1, float[7, 8, 1, 1] w2, float[8, 7, 1, 1] w3, float[4, 8, 1, 1] w4,
 float[8] s, float[8] b, float[8] m, float[8] v> {
    p = Conv (x, w0)
    q = Relu(p)
    a = Conv (q, w1)
    r = Relu(a)
    c = Conv (r, w2)
    d = Relu(c)
    e = Conv (d, w3)
    n = BatchNormalization(e, s, b, m, v)
    f = Add(r, n)
    y = Conv (f, w4)
}"""


def error(text: str, removed: dict[str, list[int]], method: str) -> float:
    """The divergence of the outputs after a repair, on samples that it has not seen."""
    model = parse(text)
    if "v" in {t.name for t in model.graph.initializer}:
        put(model, "v", np.abs(stored(model, "v")) + 0.5)
        put(model, "s", np.abs(stored(model, "s")) + 0.5)
    analysis, alive = without(model, removed)
    found = recover(method, analysis, alive, surgery.prune(analysis, alive), samples(model, 1024))
    feeds = dict(samples(model, 16, seed=9).runs[0])
    return divergence([run(model, feeds)], [run(found.model, feeds)])


@pytest.mark.parametrize(
    ("text", "removed"),
    [
        (DEEP, {"w1": [0, 3, 5, 6, 9, 11], "w2": [1, 2, 7, 8, 12], "w3": [0, 4, 6, 10]}),
        (RESIDUAL, {"w0": [2, 5, 7], "w1": [1, 4, 6], "w2": [0, 3, 5]}),
    ],
    ids=["deep", "residual"],
)
def test_layer_after_layer_is_nearer_to_the_original_than_all_at_once(text: str, removed: dict[str, list[int]]) -> None:
    assert error(text, removed, "sequential") < 0.95 * error(text, removed, "least-squares")


def test_the_last_layer_before_a_sum_is_fitted_on_the_sum() -> None:
    model = parse(RESIDUAL)
    put(model, "v", np.abs(stored(model, "v")) + 0.5)
    analysis, alive = without(model, {"w0": [2], "w1": [1], "w2": [0]})
    jobs, _ = jobs_of(analysis, alive)
    flow = Flow(analysis, jobs)
    names = {j.consumer.node.outputs[0]: flow.target(k, j).name for k, j in enumerate(jobs)}
    assert names == {"a": "a", "c": "c", "e": "f", "y": "y"}
    scale = flow.target(2, jobs[2]).scale
    assert scale is not None
    np.testing.assert_allclose(scale, stored(model, "s") / np.sqrt(stored(model, "v") + 1e-5), rtol=1e-5)


def test_little_memory_changes_nothing_but_the_number_of_waves() -> None:
    model = parse(DEEP)
    analysis, alive = without(model, {"w1": [0, 3, 5], "w2": [1, 2, 7]})
    feeds = dict(samples(model, 16, seed=9).runs[0])
    told: list[str] = []
    found = [
        recover("sequential", analysis, alive, surgery.prune(analysis, alive), samples(model), limits)
        for limits in (Limits(), Limits(1000, told.append))
    ]
    one, other = (run(f.model, feeds)["y"] for f in found)
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert told == [f"repair: wave {k} of 3, 1 layers of 3" for k in (1, 2, 3)]
    assert (found[0].waves, found[0].samples, found[0].consumers) == (3, 256, 2)


def test_a_layer_that_loses_no_input_makes_up_for_those_before_it() -> None:
    model = parse(DEEP)
    analysis, alive = without(model, {"w1": [0, 3, 5, 6, 9, 11]})
    found = recover("sequential", analysis, alive, surgery.prune(analysis, alive), samples(model, 1024)).model
    feeds = {"x": np.concatenate([r["x"] for r in samples(model, 512, seed=9).runs])}
    follower = stored(found, next(n.input[1] for n in found.graph.node if n.output[0] in ("e", "e_uncompensated")))
    assert not np.array_equal(follower, stored(model, "w3"))
    assert within_reach(analysis, alive) == {"a", "c", "e", "y"}  # a: by couples of layers
    after = divergence([run(model, feeds)], [run(found, feeds)])
    only = recover("least-squares", analysis, alive, surgery.prune(analysis, alive), samples(model, 1024)).model
    assert after < 0.85 * divergence([run(model, feeds)], [run(only, feeds)])


ACTIVATED = """g (float[N, 6] x) => (float[N, 8] y, float[N, 7] z)
<float[6, 9] w1, float[9, 8] w2, float[9, 7] w3, float[9, 5] w4, float[5, 8] w5,
 float low = {{0.5}}, float high = {{4}}> {{
    a = MatMul(x, w1)
    b = Tanh(a)
    c = MatMul(b, w2)
    d = {activation}
    e = MatMul(b, w4)
    f = Relu(e)
    h = MatMul(f, w5)
    y = Add(d, h)
    z = MatMul(b, w3)
}}"""


@pytest.mark.parametrize(
    ("activation", "bounds"),
    [
        ("Relu(c)", (0.0, np.inf)),
        ("Clip(c, low, high)", (0.5, 4.0)),
        ("HardSwish(c)", (-3.0, np.inf)),
        ("Sigmoid(c)", (-np.inf, np.inf)),
    ],
)
def test_errors_that_an_activation_hides_are_known(activation: str, bounds: tuple[float, float]) -> None:
    model = parse(ACTIVATED.format(activation=activation))
    analysis, alive = without(model, {"w1": [2, 5]})
    jobs, _ = jobs_of(analysis, alive)
    flow = Flow(analysis, jobs)
    found = {j.consumer.node.outputs[0]: flow.target(k, j) for k, j in enumerate(jobs)}
    assert (found["c"].low, found["c"].high) == bounds
    assert found["c"].bounded == (bounds != (-np.inf, np.inf))
    assert not found["z"].bounded  # an output of the network, of which every number counts


def test_what_others_read_beside_an_activation_is_not_hidden() -> None:
    model = parse(ACTIVATED.format(activation="Relu(c)").replace("y = Add(d, h)", "y = Add(d, c)"))
    analysis, alive = without(model, {"w1": [2, 5]})
    jobs, _ = jobs_of(analysis, alive)
    flow = Flow(analysis, jobs)
    assert not any(flow.target(k, j).bounded for k, j in enumerate(jobs) if j.consumer.node.outputs[0] == "c")


def test_a_layer_with_more_columns_than_rows_is_refitted_on_the_rows_themselves() -> None:
    """Moments of 3,000 columns take 144 MB, which is more than the repair may take; 96 rows take 1.2 MB."""
    text = """g (float[N, 5] x) => (float[N, 4] y)
    <float[5, 4000] w1, float[4000, 4] w2> {
        a = MatMul(x, w1)
        b = Relu(a)
        y = MatMul(b, w2)
    }"""
    model = parse(text)
    analysis, alive = without(model, {"w1": list(range(1, 4000, 4))})
    given = samples(model, 128)
    runs = tuple({"x": given.runs[0]["x"][k : k + 16]} for k in range(0, 128, 16))
    calibration = Calibration(runs, "made", False)
    tracemalloc.start()
    found = recover("sequential", analysis, alive, surgery.prune(analysis, alive), calibration, Limits(10**8))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10**7
    feeds = dict(samples(model, 16, seed=9).runs[0])
    whole, repaired, plain = (run(m, feeds) for m in (model, found.model, surgery.prune(analysis, alive)))
    assert divergence([whole], [repaired]) < 0.2 * divergence([whole], [plain])


def test_a_repair_that_brings_nothing_nearer_is_taken_back() -> None:
    model = parse(DEEP)
    analysis, alive = without(model, {"w1": [15]})
    pruned = surgery.prune(analysis, alive)
    for name in ("w1", "w2"):
        put(model, name, np.zeros_like(stored(model, name)))  # nothing arrives: nothing can be brought nearer
    before = stored(pruned, "w3").copy()
    found = guarded("sequential", analysis, alive, pruned, samples(model))
    assert found.method == "none"
    assert "brought the outputs no nearer" in found.notes[0]
    np.testing.assert_array_equal(stored(found.model, "w3"), before)


NORMED = """g (float[N, 3] x) => (float[N, 4] y)
<float[3, 6] w0, float[6] s, float[6] b, float[6] m, float[6] var, float[6, 4] w> {
    a = MatMul (x, w0)
    n = BatchNormalization (a, s, b, m, var)
    r = Relu (n)
    y = MatMul (r, w)
}"""


def test_where_a_fit_harms_the_mean_that_batch_norms_remember_is_compensated_instead() -> None:
    model = parse(NORMED)
    w = stored(model, "w0")
    for name, values in {"s": np.ones(6), "b": np.ones(6), "m": np.zeros(6), "var": (w**2).sum(0)}.items():
        put(model, name, values)
    analysis, alive = without(model, {"w0": [1, 4]})
    # Three of four runs are far from what the network was made for, the one that nothing is fitted on is not.
    runs = [{"x": f["x"] + (5 if k % 4 < 3 else 0)} for k, f in enumerate(samples(model, 128).runs)]
    found = guarded(
        "sequential", analysis, alive, surgery.prune(analysis, alive), Calibration(tuple(runs), "runs", False)
    )
    assert found.method == "mean"
    assert "compensated the mean instead" in found.notes[0]
    feeds = dict(samples(model, 64, seed=9).runs[0])
    original = run(model, feeds)
    left, mended = (divergence([original], [run(m, feeds)]) for m in (surgery.prune(analysis, alive), found.model))
    assert mended < 0.9 * left


def test_the_time_of_every_part_is_told() -> None:
    model = parse(DEEP)
    analysis, alive = without(model, {"w1": [0, 3]})
    given = samples(model, 64)
    found = guarded("sequential", analysis, alive, surgery.prune(analysis, alive), given)
    assert [part for part, _ in found.parts] == ["run both networks", "gather", "fit", "check"]
    assert all(seconds > 0 for _, seconds in found.parts)


def test_divergence_counts_numbers_and_labels() -> None:
    one = {"y": np.array([[1.0, -1.0]]), "label": np.array([0, 1, 1, 2])}
    other = {"y": np.array([[1.0, 0.0]]), "label": np.array([0, 1, 2, 2])}
    assert divergence([one], [other]) == pytest.approx((0.5 + 0.25) / 2)
    assert divergence([one], [{**other, "y": np.array([[np.nan, 0.0]])}]) == np.inf
    assert divergence([one], [{**other, "y": np.zeros((1, 3))}]) == pytest.approx((1 + 0.25) / 2)

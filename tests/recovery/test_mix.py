"""Channel mixing: one map for all that read a tensor, about zero where one of them pads, from moments of channels."""

from __future__ import annotations

import tracemalloc

import numpy as np
import onnx
import pytest

from onnx_attnprune import surgery
from onnx_attnprune.errors import SettingsError
from onnx_attnprune.recovery import Limits, recover
from onnx_attnprune.recovery.jobs import jobs_of
from onnx_attnprune.recovery.mix import by_channel, map_of, pads
from onnx_attnprune.recovery.rows import Moments
from tests.oracle import parse
from tests.recovery.helpers import put, run, stored, without
from tests.recovery.test_least_squares import CONV, GROUPED, SAME, SPREAD, samples

GONE = [1, 4, 6]
# Two convolutions and a dense layer read one tensor of eight channels, which five inputs don't quite determine.
FAN = """g (float[N, 5, 9, 7] x) => (float[N, 4, 9, 7] y, float[N, 6, h, w] z, float[N, 3] c)
<float[8, 5, 1, 1] w1, float[8] b1, float[4, 8, 3, 3] w2, float[6, 8, 1, 1] w3, float[8, 3] w4> {
    a = Conv (x, w1, b1)
    r = Relu (a)
    y = Conv <pads = [PAD, PAD, PAD, PAD]> (r, w2)
    z = Conv (r, w3)
    p = GlobalAveragePool (r)
    f = Flatten (p)
    c = MatMul (f, w4)
}"""
APART = SPREAD.replace("6, 5, 3, 2]", "6, 5, 1, 1]").replace(", pads = [1, 0, 0, 1], output_padding = [1, 0]", "")
CHAIN = """g (float[N, 3, 9, 7] x) => (float[N, 4, 5, 3] y)
<float[6, 3, 1, 1] w1, float[8, 6, 3, 3] w2, float[8] b2, float[4, 8, 3, 3] w3> {
    a = Conv (x, w1)
    c = Conv (a, w2, b2)
    y = Conv (c, w3)
}"""
PADDED, VALID = FAN.replace("PAD", "1"), FAN.replace("PAD", "0").replace("4, 9, 7] y", "4, 7, 5] y")


def repaired(text: str, method: str) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The model, and it without some channels and repaired."""
    model = parse(text)
    analysis, alive = without(model, {"w1": GONE})
    return model, recover(method, analysis, alive, surgery.prune(analysis, alive), samples(model, 512)).model


@pytest.mark.parametrize("text", [PADDED, VALID], ids=["padded", "valid"])
def test_all_consumers_come_nearer(text: str) -> None:
    model, mixed = repaired(text, "mix")
    feeds = dict(samples(model, 64, seed=9).runs[0])
    original, after = run(model, feeds), run(mixed, feeds)
    before = run(repaired(text, "none")[1], feeds)
    for name, numbers in original.items():
        lacking, left = (((numbers - other[name]) ** 2).mean() for other in (before, after))
        assert left < 0.5 * lacking, name


def test_consumers_of_a_tensor_take_one_map() -> None:
    model, mixed = repaired(PADDED, "mix")
    kept = [k for k in range(8) if k not in GONE]

    def map_in(weight: np.ndarray, other: np.ndarray) -> np.ndarray:
        """What came to a weight [outputs, channels], in terms of the part that it lost."""
        return np.linalg.lstsq(weight[:, GONE], other - weight[:, kept], rcond=None)[0]

    by_tap = [map_in(stored(model, "w2")[:, :, i, j], stored(mixed, "w2")[:, :, i, j]) for i in (0, 2) for j in (0, 1)]
    beside = map_in(stored(model, "w3")[..., 0, 0], stored(mixed, "w3")[..., 0, 0])
    assert np.abs(beside).max() > 0.05
    for found in by_tap:
        np.testing.assert_allclose(found, beside, atol=1e-3)


def test_a_constant_goes_into_biases_only_where_no_consumer_pads() -> None:
    biases = [
        [len(n.input) for n in repaired(text, "mix")[1].graph.node if n.op_type == "Conv"] for text in (PADDED, VALID)
    ]
    assert biases == [[3, 2, 2], [3, 3, 3]]


def test_constant_channels_are_moved_into_the_bias_exactly() -> None:
    model = parse(VALID)
    w, b = stored(model, "w1").copy(), stored(model, "b1").copy()
    w[GONE], b[GONE] = 0, [0.5, 1.5, 2.5]
    put(model, "w1", w)
    put(model, "b1", b)
    analysis, alive = without(model, {"w1": GONE})
    found = recover("mix", analysis, alive, surgery.prune(analysis, alive), samples(model))
    feeds = dict(samples(model, 16, seed=9).runs[0])
    original, after = run(model, feeds), run(found.model, feeds)
    for name, numbers in original.items():
        np.testing.assert_allclose(after[name], numbers, atol=1e-4)


def test_a_consumer_that_loses_results_too_is_right_in_the_others() -> None:
    model = parse(CHAIN)
    for name in ("w2", "b2"):
        w = stored(model, name).copy()
        w[[1, 4]] = w[[0, 7]]
        put(model, name, w)
    analysis, alive = without(model, {"w1": [0, 4], "w2": [1, 4]})
    found = recover("mix", analysis, alive, surgery.prune(analysis, alive), samples(model, 512))
    feeds = dict(samples(model, 16, seed=9).runs[0])
    original = run(model, feeds)["y"]
    assert np.abs(original - run(found.model, feeds)["y"]).max() < 2e-3 * np.abs(original).max()


@pytest.mark.parametrize(
    ("text", "expected"), [(CONV, True), (SAME, True), (SPREAD, True), (APART, True), (GROUPED, False)],
    ids=["pads", "by size", "transposed", "between", "none"],
)  # fmt: skip  # two lines
def test_who_sees_zeros_beside_the_data(text: str, expected: bool) -> None:
    analysis, alive = without(parse(text), {"w1": [0]})
    assert [pads(job.view) for job in jobs_of(analysis, alive)[0]] == [expected]


def test_a_map_that_tells_nothing_new_is_not_taken() -> None:
    kept = np.array([[True, True, False]])
    told = Moments(np.zeros(3), np.array([[1.0, 0, 0.8], [0, 1, 0], [0.8, 0, 1]]), 4000)
    other_way = Moments(np.zeros(3), np.array([[1.0, 0, -0.8], [0, 1, 0], [-0.8, 0, 1]]), 4000)
    found = map_of([(told, told)], kept, 1e-4, True)
    assert found is not None
    np.testing.assert_allclose(found[0], [[0.8], [0]], atol=1e-3)
    assert map_of([(told, other_way)], kept, 1e-4, True) is None


def test_moments_are_those_of_channels() -> None:
    wide = """g (float[N, 5, 6, 6] x) => (float[N, 3, 6, 6] y) <float[400, 5, 1, 1] w1, float[3, 400, 3, 3] w2> {
        a = Conv (x, w1)
        y = Conv <pads = [1, 1, 1, 1]> (a, w2)
    }"""
    model = parse(wide)
    analysis, alive = without(model, {"w1": list(range(0, 400, 2))})
    (job,), _ = jobs_of(analysis, alive)
    assert (job.view.columns, by_channel(job).view.columns) == (3600, 400)
    limits = Limits(memory=200_000_000)
    pruned, calibration = surgery.prune(analysis, alive), samples(model, 128)
    tracemalloc.start()
    found = recover("mix", analysis, alive, pruned, calibration, limits)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.compensated == 1
    assert most < limits.memory  # the moments of patches alone take 207 MB, twice
    assert (
        recover("least-squares", analysis, alive, surgery.prune(analysis, alive), calibration, limits).compensated == 0
    )


def test_little_memory_changes_nothing_but_the_number_of_waves() -> None:
    text = """g (float[N, 5] x) => (float[N, 4] y)
    <float[5, 20] w1, float[20] b1, float[20, 30] w2, float[30, 4] w3> {
        a = MatMul (x, w1)
        b = Add (a, b1)
        c = Relu (b)
        d = MatMul (c, w2)
        e = Relu (d)
        y = MatMul (e, w3)
    }"""
    model = parse(text)
    analysis, alive = without(model, {"w1": [3, 6], "w2": [2, 5]})
    found = []
    for memory in (1_000_000, 30_000):  # the moments take 6400 and 14400 bytes, and have half of it
        limits = Limits(memory=memory)
        found.append(recover("mix", analysis, alive, surgery.prune(analysis, alive), samples(model, 256), limits))
    assert [f.waves for f in found] == [1, 2]
    for name in ("w2", "w3"):
        np.testing.assert_allclose(stored(found[0].model, name), stored(found[1].model, name), atol=1e-6)


def test_it_needs_samples() -> None:
    model = parse(CONV)
    analysis, alive = without(model, {"w1": [0, 4]})
    with pytest.raises(SettingsError, match="channel mixing needs samples"):
        recover("mix", analysis, alive, surgery.prune(analysis, alive))

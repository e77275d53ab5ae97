"""Least squares: where the kept channels tell the lost ones, nothing is lost; elsewhere as little as can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_attnprune import surgery
from onnx_attnprune.errors import SettingsError
from onnx_attnprune.evaluate.feeds import input_specs
from onnx_attnprune.evaluate.metrics import evaluate
from onnx_attnprune.evaluate.npz import load_npz
from onnx_attnprune.graph import Graph, read_model
from onnx_attnprune.grouping import alive_of, analyze
from onnx_attnprune.planning import Settings, choose
from onnx_attnprune.recovery import Calibration, Inputs, Limits, in_batches, likely_range, procedural, recover
from onnx_attnprune.recovery.calibration import BYTES, SIGNED, UNIT, WHITENED, Range, in_range
from onnx_attnprune.runtime import Session
from tests.oracle import parse
from tests.recovery.helpers import put, run, stored, without

MODELS = Path(__file__).parents[2] / "models"
CONV = """g (float[N, 3, 9, 7] x) => (float[N, 5, h, w] y)
<float[6, 3, 1, 1] w1, float[5, 6, 3, 3] w2, float[5] b2> {
    a = Conv (x, w1)
    y = Conv <pads = [1, 1, 1, 1], strides = [2, 1]> (a, w2, b2)
}"""
SAME = """g (float[N, 3, 9, 7] x) => (float[N, 5, h, w] y) <float[6, 3, 1, 1] w1, float[5, 6, 3, 2] w2> {
    a = Conv (x, w1)
    y = Conv <auto_pad = "SAME_LOWER", strides = [2, 1]> (a, w2)
}"""
SPREAD = """g (float[N, 3, 5, 4] x) => (float[N, 5, h, w] y)
<float[6, 3, 1, 1] w1, float[6, 5, 3, 2] w2, float[5] b2> {
    a = Conv (x, w1)
    y = ConvTranspose <strides = [2, 3], pads = [1, 0, 0, 1], output_padding = [1, 0]> (a, w2, b2)
}"""
GROUPED = """g (float[N, 3, 9, 7] x) => (float[N, 4, h, w] y) <float[6, 3, 1, 1] w1, float[4, 3, 3, 3] w2> {
    a = Conv (x, w1)
    y = Conv <group = 2> (a, w2)
}"""
DENSE = """g (float[N, 3] x) => (float[N, 5] y) <float[3, 6] w1, float[6, 5] w2> {
    a = MatMul(x, w1)
    y = MatMul(a, w2)
}"""
GEMM = """g (float[N, 3] x) => (float[N, 5] y) <float[6, 3] w1, float[6] b1, float[6, 5] w2, float[5] b2> {
    a = Gemm <transB = 1> (x, w1, b1)
    y = Gemm <alpha = 0.5, beta = 2.0> (a, w2, b2)
}"""
HALF = """g (float16[N, 3] x) => (float16[N, 5] y) <float16[3, 6] w1, float16[6, 5] w2> {
    a = MatMul(x, w1)
    y = MatMul(a, w2)
}"""
TWICE = """g (float[N, 3] x) => (float[N, 5] y) <float[3, 6] w1, float[6, 5] w2> {
    a = MatMul(x, w1)
    b = MatMul(a, w2)
    n = Neg(a)
    c = MatMul(n, w2)
    r = Relu(c)
    y = Add(b, r)
}"""


def samples(model: onnx.ModelProto, count: int = 256, seed: int = 0) -> Calibration:
    """Normal numbers for the input `x`."""
    value = model.graph.input[0].type.tensor_type
    shape = [d.dim_value for d in value.shape.dim][1:]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.elem_type)
    x = np.random.default_rng(seed).standard_normal((count, *shape)).astype(dtype)
    return in_batches({"x": x}, 16, "normal numbers")


METHODS = ["mix", "least-squares", "sequential"]


def outputs(text: str, gone: list[int], method: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs of the original, of the pruned and of the repaired model on samples that the repair has not seen."""
    model = parse(text)
    analysis, alive = without(model, {"w1": gone})
    pruned = surgery.prune(analysis, alive)
    feeds = dict(samples(model, 16, seed=9).runs[0])
    before = run(pruned, feeds)["y"]
    found = recover(method, analysis, alive, pruned, samples(model))
    assert found.compensated == found.consumers > 0
    onnx.checker.check_model(found.model, full_check=True)
    return run(model, feeds)["y"], before, run(found.model, feeds)["y"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("text", "gone"),
    [(CONV, [0, 4]), (SAME, [0, 4]), (SPREAD, [1, 3]), (DENSE, [1, 5]), (GEMM, [2, 3])],
    ids=["conv", "same", "transposed", "matmul", "gemm"],
)
def test_channels_that_the_others_span_are_no_loss(text: str, gone: list[int], method: str) -> None:
    # Six linear channels of three inputs: any four of them tell the other two.
    original, before, after = outputs(text, gone, method)
    scale = np.abs(original).max()
    assert np.abs(original - before).max() > 0.05 * scale
    assert np.abs(original - after).max() < 2e-3 * scale


@pytest.mark.parametrize("method", METHODS)
def test_each_group_of_a_convolution_is_fitted_by_itself(method: str) -> None:
    model = parse(GROUPED)
    w = stored(model, "w1").copy()
    w[2], w[5] = w[0] + w[1], w[3] - w[4]  # the last channel of each group is told by the two others
    put(model, "w1", w)
    analysis = analyze(Graph(model))
    inner = next(g for g in analysis.groups if g.size == 3)
    alive = alive_of(analysis.groups, {inner.id: [2]})
    found = recover(method, analysis, alive, surgery.prune(analysis, alive), samples(model))
    feeds = dict(samples(model, 16, seed=9).runs[0])
    original = run(model, feeds)["y"]
    assert np.abs(original - run(found.model, feeds)["y"]).max() < 2e-3 * np.abs(original).max()


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_stays_half_precision(method: str) -> None:
    original, before, after = outputs(HALF, [1, 5], method)
    assert after.dtype == np.float16
    assert np.abs(original - after).max() < 0.2 * np.abs(original - before).max()


@pytest.mark.parametrize("method", METHODS)
def test_a_weight_of_two_consumers_stays_one_and_fits_both(method: str) -> None:
    model = parse(TWICE)
    analysis, alive = without(model, {"w1": [1, 5]})
    found = recover(method, analysis, alive, surgery.prune(analysis, alive), samples(model))
    assert found.compensated == found.consumers == 2
    assert sorted(t.name for t in found.model.graph.initializer if len(t.dims) == 2) == ["w1", "w2"]
    feeds = dict(samples(model, 16, seed=9).runs[0])
    original = run(model, feeds)["y"]
    assert np.abs(original - run(found.model, feeds)["y"]).max() < 2e-3 * np.abs(original).max()


def test_samples_of_another_kind_do_no_harm_beyond_the_shift_of_the_mean() -> None:
    # A constant input tells nothing of how channels go together: the weights stay as they are.
    model = parse(GEMM)
    analysis, alive = without(model, {"w1": [2, 3]})
    pruned = surgery.prune(analysis, alive)
    kept = stored(pruned, "w2").copy()
    constant = in_batches({"x": np.ones((64, 3), np.float32)}, 16, "ones")
    recover("least-squares", analysis, alive, pruned, constant)
    np.testing.assert_allclose(stored(pruned, "w2"), kept, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_that_errs_on_unseen_samples_is_not_put_in_place(method: str) -> None:
    """Every fourth run, which nothing is fitted on, lies on another line than the others do."""
    model = parse(GEMM)
    analysis, alive = without(model, {"w1": [2, 3]})
    pruned = surgery.prune(analysis, alive)
    kept = stored(pruned, "w2").copy()
    steps = np.random.default_rng(0).standard_normal((32, 16, 1))
    lines = [(1, -1, 1) if k % 4 == 3 else (1, 1, 1) for k in range(32)]
    x = np.concatenate([step * np.asarray(line) for step, line in zip(steps, lines, strict=True)])
    recover(method, analysis, alive, pruned, in_batches({"x": x.astype(np.float32)}, 16, "lines"))
    np.testing.assert_array_equal(stored(pruned, "w2"), kept)


@pytest.mark.parametrize("method", METHODS)
def test_without_samples_there_is_nothing_to_fit_on(method: str) -> None:
    model = parse(DENSE)
    analysis, alive = without(model, {"w1": [1]})
    with pytest.raises(SettingsError, match="samples"):
        recover(method, analysis, alive, surgery.prune(analysis, alive))


NORMED = """g (float[N, 3, 16, 16] x) => (float[N, 5, 16, 16] y)
<float[3] s, float[3] b, float[3] m, float[3] var, float[5, 3, 1, 1] w> {
    a = BatchNormalization(x, s, b, m, var)
    y = Conv(a, w)
}"""


@pytest.mark.parametrize("pixels", [UNIT, SIGNED, BYTES, WHITENED], ids=lambda p: p.name)
def test_the_range_of_pixels_is_read_off_a_batch_norm(pixels: object) -> None:
    model = parse(NORMED)
    inputs = Inputs({"x": (4, 3, 16, 16)}, {"x": np.dtype(np.float32)}, {}, 4)
    images = np.concatenate([r["x"] for r in procedural(inputs, 200, pixels, seed=5).runs])  # type: ignore[arg-type]  # a Range
    put(model, "m", images.mean((0, 2, 3)))
    put(model, "var", images.var((0, 2, 3)))
    assert likely_range(analyze(Graph(model)), inputs) is pixels


@pytest.mark.parametrize("pixels", [UNIT, SIGNED, BYTES], ids=lambda p: p.name)
def test_pictures_in_another_range_are_those_that_are_drawn_in_it(pixels: Range) -> None:
    shapes = {"image": (4, 3, 8, 10), "state": (4, 3, 8, 10), "sound": (4, 50), "ids": (4, 3, 8, 10)}
    kinds = {n: np.dtype(np.int64 if n == "ids" else np.float32) for n in shapes}
    inputs = Inputs(shapes, kinds, {"ids": 7}, 4, states=frozenset({"state"}))
    for unit, drawn in zip(procedural(inputs, 9, UNIT).runs, procedural(inputs, 9, pixels).runs, strict=True):
        for name in shapes:
            found = in_range(inputs, name, unit[name], pixels)
            np.testing.assert_allclose(found, drawn[name], rtol=1e-5, atol=1e-6 * pixels.gain)
            assert found.dtype == kinds[name]


def test_made_up_inputs_fit_the_model() -> None:
    shapes = {"ids": (4, 12), "attention_mask": (4, 12), "image": (4, 3, 8, 10), "sound": (4, 50)}
    dtypes = {n: np.dtype(np.int64) for n in ("ids", "attention_mask")} | {
        n: np.dtype(np.float32) for n in ("image", "sound")
    }
    inputs = Inputs(shapes, dtypes, {"ids": 7}, 4)
    found = procedural(inputs, 10, UNIT)
    assert len(found.runs) == 3
    for feeds in found.runs:
        assert {n: a.shape for n, a in feeds.items()} == shapes
        assert {n: a.dtype for n, a in feeds.items()} == dtypes
        assert feeds["ids"].min() >= 0
        assert feeds["ids"].max() < 7
        assert set(np.unique(feeds["attention_mask"])) <= {0, 1}
        assert (np.diff(feeds["attention_mask"]) <= 0).all()  # ones, then zeros
        assert (feeds["attention_mask"].mean(1) >= 0.25).all()  # a quarter at least
        assert feeds["image"].min() >= 0
        assert feeds["image"].max() <= 1
    again = procedural(inputs, 10, UNIT)
    assert all(np.array_equal(a[n], b[n]) for a, b in zip(found.runs, again.runs, strict=True) for n in a)


def test_made_up_images_are_smooth_along_space_wherever_the_channels_are() -> None:
    for shape in ((6, 3, 20, 24), (6, 20, 24, 3)):
        inputs = Inputs({"x": shape}, {"x": np.dtype(np.float32)}, {}, 6)
        x = procedural(inputs, 6, UNIT).runs[0]["x"]
        x = x if shape[1] == 3 else np.moveaxis(x, -1, 1)
        assert x.shape == (6, 3, 20, 24)
        for axis in (2, 3):
            steps = np.abs(np.diff(x, axis=axis)).mean()
            assert steps < 0.7 * np.abs(x - np.roll(x, 9, axis=axis)).mean()


@pytest.mark.parametrize("name", ["fashion_vgg", "fashion_mobilenet"])
def test_a_trained_network_gets_most_of_its_accuracy_back(name: str) -> None:
    model = read_model(MODELS / f"{name}.onnx")
    specs = input_specs(model)
    analysis = analyze(Graph(model), {"image": (2, 1, 28, 28)})
    alive = alive_of(analysis.groups, choose(analysis, Settings(ratio=0.3)).removed)
    data = load_npz(MODELS / "fashion_mnist_eval.npz", specs)
    calibration = load_npz(MODELS / "fashion_mnist_calibration.npz", specs)
    accuracy = {}
    for method, given in (("none", None), ("sequential", calibration)):
        images = None if given is None else in_batches({"image": given.feeds["image"][:128]}, 16, "images")
        found = recover(method, analysis, alive, surgery.prune(analysis, alive), images)
        accuracy[method] = evaluate(Session(found.model, threads=1), data, 250).top1
    assert accuracy["sequential"] > accuracy["none"] + 0.2
    assert accuracy["sequential"] > 0.9


def test_colours_of_made_up_images_go_together() -> None:
    inputs = Inputs({"x": (30, 3, 24, 20)}, {"x": np.dtype(np.float32)}, {}, 30)
    shared, least = [], []
    for image in procedural(inputs, 30, UNIT).runs[0]["x"]:
        between = np.corrcoef(image.reshape(3, -1))
        shared.append(between[np.triu_indices(3, 1)].mean())
        least.append(between.min())
    assert np.min(shared) > 0.2
    assert np.mean(shared) > 0.5  # without a common share they go by chance
    assert np.max(least) < 0.9999  # and none is all grey
    assert np.mean(np.array(least) < 0.9) > 0.8


def test_kinds_of_pictures_go_on_where_a_run_holds_a_single_one() -> None:
    inputs = Inputs({"x": (1, 1, 24, 20)}, {"x": np.dtype(np.float32)}, {}, 1)
    plain = [float(np.mean(np.diff(feeds["x"]) == 0)) for feeds in procedural(inputs, 60, SIGNED, seed=3).runs]
    assert np.max(plain[:4]) > 0.3  # leaves are plain
    assert np.min(plain[:4]) < 0.05  # noise is not


def test_a_layer_whose_moments_are_too_large_is_left_and_named() -> None:
    text = """g (float[N, 5] x) => (float[N, 4] y) <float[5, 3000] w1, float[3000, 4] w2> {
        a = MatMul(x, w1)
        y = MatMul(a, w2)
    }"""
    model = parse(text)
    analysis, alive = without(model, {"w1": [2, 5]})
    found = recover("least-squares", analysis, alive, surgery.prune(analysis, alive), samples(model, 64), Limits(10**8))
    assert (found.consumers, found.compensated, found.waves) == (1, 0, 0)
    assert "3000 columns, whose moments take 0.1 GB" in found.notes[0]

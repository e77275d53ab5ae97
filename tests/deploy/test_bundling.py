"""Bundles: what lies in them, and that each is what ONNX Runtime's own tools read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from onnx_attnprune.deploy import bundling
from onnx_attnprune.deploy.bundle import Bundled
from onnx_attnprune.deploy.bundling import Part, put_part, samples_of
from onnx_attnprune.errors import DataError, ModelError
from onnx_attnprune.evaluate.data import Dataset
from onnx_attnprune.evaluate.feeds import input_specs, single_shapes
from onnx_attnprune.runtime import Session
from onnx_attnprune.runtime.mobile import write_ort_format
from tests.oracle import parse
from tests.small import cnn, files, saved

TWO = """g (float[N, 4] a, int64[N, 3] ids) => (float[N, 5] y, int64[N] best)
    <float[4, 5] w, float[7, 5] table> {
      m = MatMul (a, w)
      g = Gather (table, ids)
      s = ReduceSum <keepdims = 0> (g, axis)
      y = Add (m, s)
      best = ArgMax <axis = 1, keepdims = 0> (y)
    }"""


def two() -> ModelProto:
    """Two inputs, two outputs, one of them of integers."""
    return parse(TWO.replace("float[7, 5] table>", "float[7, 5] table, int64[1] axis = {1}>"))


def put(model: ModelProto, folder: Path, samples: int = 2) -> Bundled:
    specs = input_specs(model)
    shapes = single_shapes(specs, {})
    feeds = samples_of(specs, shapes, None, {"ids": 7}, samples)
    return put_part(Part("original", "m.onnx", "0" * 64, model, 1), shapes, feeds, folder)


def tensors(folder: Path, kind: str) -> dict[str, np.ndarray]:  # type: ignore[type-arg]  # of any type
    found = [TensorProto.FromString(p.read_bytes()) for p in sorted(folder.glob(f"{kind}_*.pb"))]
    return {t.name: numpy_helper.to_array(t) for t in found}


def test_what_lies_in_it(tmp_path: Path) -> None:
    found = put(two(), tmp_path)
    sets = {f"original/test_data_set_{k}" for k in (0, 1)}
    assert files(tmp_path) == {"original", "original/model.onnx", "ort", "ort/original.ort", *sets} | {
        f"{home}/{kind}_{k}.pb" for home in sets for kind in ("input", "output") for k in (0, 1)
    }
    assert (found.batch, found.shapes, found.ort) == (1, {"a": (1, 4), "ids": (1, 3)}, "ort/original.ort")
    fixed = onnx.load(tmp_path / "original/model.onnx")
    assert [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in fixed.graph.input] == [[1, 4], [1, 3]]


@pytest.mark.parametrize("file", ["original/model.onnx", "ort/original.ort"])
def test_the_outputs_are_those_of_the_inputs(file: str, tmp_path: Path) -> None:
    found = put(two(), tmp_path)
    session = Session(tmp_path / file)
    values = []
    for k in (0, 1):
        home = tmp_path / f"original/test_data_set_{k}"
        inputs, outputs = tensors(home, "input"), tensors(home, "output")
        assert (list(inputs), list(outputs)) == (["a", "ids"], ["y", "best"])
        got = session.run(inputs)
        np.testing.assert_allclose(got["y"], outputs["y"], rtol=1e-5)
        np.testing.assert_array_equal(got["best"], outputs["best"])
        values.append(float(np.abs(outputs["y"]).max()))
    assert found.largest == pytest.approx(max(values))  # of the float output alone


def test_limits_are_relative_to_the_smallest_output(tmp_path: Path) -> None:
    text = "g (float[N, 4] x) => (float[N, 4] y, float[N, 4] z) <float[1] c = {100.0}> {y = Tanh(x) z = Mul(y, c)}"
    found = put(parse(text), tmp_path, 1)
    y = tensors(tmp_path / "original/test_data_set_0", "output")["y"]
    assert found.limits(None) == (pytest.approx(1e-3 * np.abs(y).max()), 1e-3)
    assert found.limits(0.5) == (pytest.approx(0.5 * np.abs(y).max()), 0.5)


def test_a_model_without_a_float_output_must_be_exact(tmp_path: Path) -> None:
    text = "g (float[N, 4] x) => (int64[N] y) {y = ArgMax <axis = 1, keepdims = 0> (x)}"
    assert put(parse(text), tmp_path).limits(None) == (0.0, 0.0)


def test_half_precision_has_its_own_limit(tmp_path: Path) -> None:
    assert put(parse("g (float16[N, 4] x) => (float16[N, 4] y) {y = Neg(x)}"), tmp_path).tolerance == 2e-2


@pytest.mark.parametrize("wrong", ["refuses", "computes something else"])
def test_without_ort_format_it_says_why(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(model: Path, target: Path) -> None:
        if wrong == "refuses":
            raise ModelError("too large for it")
        write_ort_format(saved(parse("g (float[1, 4] x) => (float[1, 4] y) {y = Abs(x)}"), tmp_path), target)

    monkeypatch.setattr(bundling, "write_ort_format", write)
    found = put(parse("g (float[N, 4] x) => (float[N, 4] y) {y = Neg(x)}"), tmp_path)
    told = {"refuses": "too large for it", "computes something else": "in that format it gives other outputs"}
    assert (found.ort, found.without_ort) == (None, told[wrong])
    assert not list(tmp_path.rglob("*.ort"))


# ---------------------------------------------------------------- samples
def data(rows: int) -> Dataset:
    x = np.arange(rows * 360, dtype=np.float32).reshape(rows, 3, 12, 10)
    return Dataset({"x": x}, None, rows, "d.npz")


def test_samples_of_data_in_their_order() -> None:
    specs = input_specs(cnn())
    found = samples_of(specs, {"x": (2, 3, 12, 10)}, data(5), {}, 9)
    assert [f["x"].shape for f in found] == [(2, 3, 12, 10)] * 3
    assert [int(f["x"].flat[0]) // 360 for f in found] == [0, 2, 4]
    assert len(samples_of(specs, {"x": (1, 3, 12, 10)}, data(5), {}, 2)) == 2


def test_made_up_samples_differ() -> None:
    one, two = samples_of(input_specs(cnn()), {"x": (1, 3, 12, 10)}, None, {}, 2)
    assert not np.array_equal(one["x"], two["x"])


def test_data_whose_inputs_count_differently() -> None:
    both = {"a": np.zeros((4, 4), np.float32), "ids": np.zeros((4, 3), np.int64)}
    with pytest.raises(DataError, match=r"d: the inputs have different first sizes: \[1, 2\]"):
        samples_of(input_specs(two()), {"a": (1, 4), "ids": (2, 3)}, Dataset(both, None, 4, "d"), {}, 1)

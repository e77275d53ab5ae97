"""Models that do not run at the usual sizes of what they leave free."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from ml_dtypes import bfloat16
from onnx import numpy_helper, parser, save

from onnx_attnprune.cli import main
from onnx_attnprune.evaluate.feeds import InputSpec, other_shapes, random_feeds

FRAMES = """<ir_version: 8, opset_import: ["": 17]> g (float[n, length] sound, float[1, count, 24] state) =>
    (float[n, frames, 5] y, float[1, count, 24] last) {
    frames = Reshape(sound, sizes) one = MatMul(frames, w) two = Relu(one) y = MatMul(two, v)
    first = Slice(state, begin, end, first_axis) last = Reshape(first, alone)
}"""
TABLES = {"w": (64, 24), "v": (24, 5)}


def saved(path: Path, frame: int) -> Path:
    """A network of frames of so many numbers, which hands back the state of a single sample."""
    model, rng = parser.parse_model(FRAMES), np.random.default_rng(0)
    whole = {"sizes": [0, -1, frame], "begin": [0], "end": [1], "first_axis": [1], "alone": [1, 1, 24]}
    arrays = {n: rng.standard_normal(s).astype(np.float32) for n, s in (TABLES | {"w": (frame, 24)}).items()}
    arrays |= {n: np.array(v, np.int64) for n, v in whole.items()}
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in arrays.items())
    save(model, path)
    return path


def test_longer_sound_is_tried(tmp_path: Path) -> None:
    path, pruned, told = saved(tmp_path / "in.onnx", 64), tmp_path / "out.onnx", tmp_path / "r.json"
    done = CliRunner().invoke(main, [*map(str, (path, pruned)), "--report", str(told), "--latency-seconds", "0"])
    assert done.exit_code == 0, done.output
    report = json.loads(told.read_text())
    assert report["shapes"] == {"sound": [1, 512], "state": [1, 1, 24]}
    assert report["macs"]["after"] < report["macs"]["before"]


def test_of_a_network_in_bfloat16_too(tmp_path: Path) -> None:
    model = parser.parse_model(
        """<ir_version: 10, opset_import: ["": 22]> g (bfloat16[n, length] x) => (bfloat16[n, frames, 5] y) {
            frames = Reshape(x, sizes) one = MatMul(frames, w) two = Relu(one) y = MatMul(two, v) }"""
    )
    rng = np.random.default_rng(0)
    arrays = {"w": rng.standard_normal((64, 24)).astype(bfloat16), "v": rng.standard_normal((24, 5)).astype(bfloat16)}
    arrays["sizes"] = np.array([0, -1, 64])
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in arrays.items())
    save(model, tmp_path / "in.onnx")
    done = CliRunner().invoke(main, [str(tmp_path / "in.onnx"), str(tmp_path / "out.onnx"), "--latency-seconds", "0"])
    assert done.exit_code == 0, done.output
    assert "1x512" in done.output


def test_sizes_that_are_asked_for_are_not_replaced(tmp_path: Path) -> None:
    path = saved(tmp_path / "in.onnx", 64)
    done = CliRunner().invoke(main, [str(path), str(tmp_path / "out.onnx"), "--shape", "sound=1x100"])
    assert done.exit_code == 3
    assert "sound 1x100" in done.stderr
    assert "--shape" in done.stderr
    assert not (tmp_path / "out.onnx").exists()


def test_where_none_will_do_the_usual_ones_are_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "in.onnx", 7919)
    done = CliRunner().invoke(main, [str(path), str(tmp_path / "out.onnx")])
    assert done.exit_code == 3
    assert "sound 1x16" in done.stderr


def test_each_shape_is_offered_once_and_fixed_sizes_stay() -> None:
    specs = [InputSpec("image", np.dtype("float32"), ("n", 3, None, None))]
    found = [shapes["image"] for shapes in other_shapes(specs, {})]
    assert found == [(1, 3, size, size) for size in (32, 64, 256, 299, 320, 384, 512, 640)]
    assert not list(other_shapes(specs, {"image": (2, 3, 50, 70)}))


def test_there_are_never_as_many_ids_as_samples_of_sound() -> None:
    """Attention over them would take gigabytes, and the machine down."""
    specs = [InputSpec(name, np.dtype(t), ("n", None)) for name, t in (("ids", "int64"), ("sound", "float32"))]
    found = list(other_shapes(specs, {}))
    assert max(shapes["sound"][1] for shapes in found) == 16_000
    assert max(shapes["ids"][1] for shapes in found) == 512


@pytest.mark.parametrize(("dtype", "value"), [("int64", 16_000), ("int16", 16_000)])
def test_a_sample_rate_is_that_of_speech(dtype: str, value: int) -> None:
    feeds = random_feeds([InputSpec("sr", np.dtype(dtype), ())], {"sr": ()}, 0)
    assert feeds["sr"] == value

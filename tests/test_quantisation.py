"""Pruning, then ONNX Runtime's own quantisation: the result loads, and stays as close as that of the unpruned model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from click.testing import CliRunner
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from onnx_attnprune.cli import main
from tests.small import run, saved
from tests.test_budgets import wide

SHAPE = (16, 3, 12, 10)
IMAGES = [np.random.default_rng(k).standard_normal(SHAPE).astype(np.float32) for k in range(4)]
MODELS = Path(__file__).parents[1] / "models"


class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no annotations
    """Some batches: of the given samples, else of random images."""

    def __init__(self, batches: Sequence[dict[str, np.ndarray]] = ()) -> None:  # type: ignore[type-arg]  # float32
        self.left: Iterator[dict[str, np.ndarray]] = iter(  # type: ignore[type-arg]  # as above
            batches or [{"x": images} for images in IMAGES]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[type-arg]  # as above
        return next(self.left, None)


def static(source: Path, target: Path) -> None:
    quantize_static(source, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True)


def operators(source: Path, target: Path) -> None:
    quantize_static(source, target, Reader(), quant_format=QuantFormat.QOperator, activation_type=QuantType.QUInt8)


def dynamic(source: Path, target: Path) -> None:
    quantize_dynamic(source, target)


def answers(path: Path) -> np.ndarray:  # type: ignore[type-arg]  # float32
    options = ort.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # no saturation on CPUs without VNNI
    x = np.random.default_rng(9).standard_normal(SHAPE).astype(np.float32)
    found: np.ndarray = ort.InferenceSession(path, options).run(None, {"x": x})[0]  # type: ignore[type-arg]  # float32
    return found


@pytest.mark.parametrize("quantise", [static, operators, dynamic])
def test_the_pruned_network_quantises(tmp_path: Path, quantise: Callable[[Path, Path], None]) -> None:
    """The repair and the quantiser look at the same images: ranges that one finds elsewhere are none of the other's."""
    path, pruned, small = saved(wide(), tmp_path), tmp_path / "pruned.onnx", tmp_path / "small.onnx"
    np.savez(tmp_path / "seen.npz", x=np.concatenate(IMAGES))
    same = ("--calibrate", tmp_path / "seen.npz", "--scope", "layer")
    assert run(path, pruned, "--ratio", 0.4, "--round-to", 4, *same).exit_code == 0
    quantise(pruned, small)
    exact, rough = answers(pruned), answers(small)
    assert np.abs(rough - exact).max() < 0.05 * np.abs(exact).max()
    assert small.stat().st_size < pruned.stat().st_size


@pytest.mark.parametrize("quantise", [static, operators, dynamic])
def test_and_a_quantised_network_is_pruned(tmp_path: Path, quantise: Callable[[Path, Path], None]) -> None:
    path, small, pruned = saved(wide(), tmp_path), tmp_path / "small.onnx", tmp_path / "pruned.onnx"
    quantise(path, small)
    done = run(small, pruned, "--ratio", 0.4, "--round-to", 4)
    assert done.exit_code == 0, done.output
    assert "self-check passed" in done.stdout
    assert "not refitted" not in done.stdout
    assert pruned.stat().st_size < small.stat().st_size
    assert np.abs(answers(pruned) - answers(small)).max() < 0.3 * np.abs(answers(small)).max()


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_the_loss_of_both_is_what_verify_reports(tmp_path: Path, kind: str) -> None:
    model, pruned, small = MODELS / "fashion_vgg.onnx", tmp_path / "pruned.onnx", tmp_path / "small.onnx"
    with np.load(MODELS / "fashion_mnist_eval.npz") as found:
        np.savez(tmp_path / "test.npz", **{name: found[name][:500] for name in found.files})
    with np.load(MODELS / "fashion_mnist_calibration.npz") as found:
        images = {name: found[name][:64] for name in found.files}
        np.savez(tmp_path / "seen.npz", **images)
    done = run(model, pruned, "--ratio", 0.2, "--recover", "least-squares", "--calibrate", tmp_path / "seen.npz")
    assert done.exit_code == 0, done.output
    if kind == "static":
        batches = [{name: array[k : k + 16] for name, array in images.items()} for k in range(0, 64, 16)]
        quantize_static(pruned, small, Reader(batches), quant_format=QuantFormat.QDQ, per_channel=True)
    else:
        quantize_dynamic(pruned, small)
    assert small.stat().st_size < 0.4 * pruned.stat().st_size
    told = {}
    for path in (pruned, small):
        given = ["verify", model, path, "--eval", tmp_path / "test.npz", "--max-drop", "0.05", "--json"]
        done = CliRunner().invoke(main, [str(word) for word in given])
        assert done.exit_code == 0, done.output
        told[path] = json.loads(done.stdout)
    exact, rough = (told[path]["accuracy"]["after"]["top1"] for path in (pruned, small))
    assert abs(exact - rough) <= 0.03
    assert told[small]["drift"]["outputs"][0]["sqnr_db"] < told[pruned]["drift"]["outputs"][0]["sqnr_db"] + 1

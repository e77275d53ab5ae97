"""Pruning, then ONNX Runtime's own quantisation: the result loads, and stays as close as that of the unpruned model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from tests.small import run, saved
from tests.test_budgets import wide

SHAPE = (16, 3, 12, 10)


class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no annotations
    """Some random images."""

    def __init__(self) -> None:
        self.left: Iterator[dict[str, np.ndarray]] = iter(  # type: ignore[type-arg]  # float32
            [{"x": np.random.default_rng(k).standard_normal(SHAPE).astype(np.float32)} for k in range(4)]
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
    path, pruned = saved(wide(), tmp_path), tmp_path / "pruned.onnx"
    assert run(path, pruned, "--ratio", 0.4, "--round-to", 4).exit_code == 0
    small = tmp_path / "small.onnx"
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

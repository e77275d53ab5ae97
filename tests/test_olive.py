"""The pass of Microsoft Olive, in Olive's own engine. Without olive-ai (which needs torch) all of it is skipped."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tests.small import cnn, labelled, saved

os.environ.setdefault("OLIVE_DISABLE_TELEMETRY", "1")  # before it is imported, which all imports below do
pytest.importorskip("olive.passes", reason="olive-ai is not installed: tools/check_olive is the check for real")

from olive.workflows import run

import onnx_attnprune
from onnx_attnprune.olive import TYPES, package_config

pytestmark = pytest.mark.filterwarnings("default")  # those of Olive are not ours
EXACT = {"type": "OnnxAttnPrune", "ratio": 0.4, "round_to": 4, "recover": "none", "latency_seconds": 0.0}


def workflow(model: Path, folder: Path, **passes: dict[str, Any]) -> Path:
    """The path of what a workflow of some passes makes of a model."""
    config = {
        "input_model": {"type": "ONNXModel", "model_path": str(model)},
        "systems": {"here": {"type": "LocalSystem", "accelerators": [
            {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}]}},
        "passes": passes, "host": "here", "target": "here", "evaluate_input_model": False, "no_artifacts": True,
        "cache_dir": str(folder / "cache"), "output_dir": str(folder / "out"), "log_severity_level": 3,
    }  # fmt: skip  # a line a topic
    (folder / "run.json").write_text(json.dumps(config))
    (found,) = run(folder / "run.json", package_config=package_config()).get_output_models()
    path = Path(found.model_path)
    return next(path.glob("*.onnx")) if path.is_dir() else path  # a folder where weights lie beside the model


def answers(model: Path) -> np.ndarray:
    x = np.random.default_rng(5).standard_normal((4, 3, 12, 10)).astype(np.float32)
    found: np.ndarray = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    return found


def test_every_keyword_is_a_setting() -> None:
    parameters = inspect.signature(onnx_attnprune.prune).parameters.values()
    known = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert known - set(TYPES) == {"dry_run", "from_plan", "tell"}
    assert set(TYPES) <= known


def test_the_pass_gives_what_the_function_gives(tmp_path: Path) -> None:
    path = saved(cnn(), tmp_path)
    made = workflow(path, tmp_path, prune={**EXACT, "layer_ratio": {"w1": 0.2}, "report": [str(tmp_path / "r.json")]})
    alone = onnx_attnprune.prune(
        path, ratio=0.4, round_to=4, recover="none", latency_seconds=0, layer_ratio={"w1": 0.2}
    ).model
    assert [t.dims for t in onnx.load(made).graph.initializer] == [t.dims for t in alone.graph.initializer]
    assert alone.graph.initializer[0].dims[0] < 20
    assert json.loads((tmp_path / "r.json").read_text())["settings"]["ratio"] == 0.4
    np.testing.assert_array_equal(answers(made), answers(saved(alone, tmp_path, "alone.onnx")))


def test_then_quantised(tmp_path: Path) -> None:
    path, data = saved(cnn(), tmp_path), labelled(tmp_path, 40, labels=None)
    prune = {**EXACT, "recover": "auto", "calibrate": str(data)}
    made = workflow(path, tmp_path, prune=prune, quantise={"type": "OnnxDynamicQuantization"})
    model = onnx.load(made)
    assert {"MatMulInteger", "ConvInteger"} & {n.op_type for n in model.graph.node}
    (tmp_path / "exact").mkdir()
    exact = answers(workflow(path, tmp_path / "exact", prune=prune))
    assert np.abs(answers(made) - exact).max() < 0.1 * np.abs(exact).max()


def test_external_data_goes_in_and_out(tmp_path: Path) -> None:
    inner = tmp_path / "in"
    inner.mkdir()
    onnx.save(cnn(), inner / "in.onnx", save_as_external_data=True, location="in.weights", size_threshold=0)
    made = workflow(inner / "in.onnx", tmp_path, prune={**EXACT, "save_as_external_data": True, "size_threshold": 0})
    stored = onnx.load(made, load_external_data=False)
    (location,) = {
        entry.value for t in stored.graph.initializer for entry in t.external_data if entry.key == "location"
    }
    assert (made.parent / location).is_file()
    (tmp_path / "whole").mkdir()
    whole = workflow(saved(cnn(), tmp_path), tmp_path / "whole", prune=EXACT)
    np.testing.assert_array_equal(answers(made), answers(whole))

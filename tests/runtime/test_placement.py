"""Where nodes run, as ONNX Runtime records it and as a profile tells it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from onnx import parser

from onnx_attnprune.errors import ModelError
from onnx_attnprune.runtime import PlacedSession, Placement

MODEL = parser.parse_model(
    '<ir_version: 8, opset_import: ["": 17]> g (float[3] x) => (float[3] y) {a = Neg(x) b = Exp(a) y = Neg(b)}'
)
RECORDING = "get_provider_graph_assignment_info"
FEEDS = {"x": np.ones(3, np.float32)}


@pytest.mark.skipif(not hasattr(ort.InferenceSession, RECORDING), reason="an old version")
def test_all_nodes_are_on_the_cpu_as_recorded() -> None:
    session = PlacedSession(MODEL, threads=1)
    assert session.placement(FEEDS) == Placement({"cpu": 3}, ())
    assert session.run(FEEDS)["y"] == pytest.approx(-np.exp(-1))


def test_all_nodes_are_on_the_cpu_as_profiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for kind in ort.InferenceSession.__mro__:
        if RECORDING in vars(kind):
            monkeypatch.delattr(kind, RECORDING)
    monkeypatch.chdir(tmp_path)
    session = PlacedSession(MODEL, threads=1)
    folder = Path(session._folder.name)
    assert session.placement(FEEDS) == Placement({"cpu": 3}, ())
    assert not folder.exists()
    assert os.listdir(tmp_path) == []


def recording(*parts: tuple[str, list[str]]) -> SimpleNamespace:
    nodes = [
        SimpleNamespace(ep_name=name, get_nodes=lambda ops=ops: [SimpleNamespace(op_type=op) for op in ops])
        for name, ops in parts
    ]
    return SimpleNamespace(get_provider_graph_assignment_info=lambda: nodes)


def session_on(provider: str, inner: SimpleNamespace) -> PlacedSession:
    session = PlacedSession.__new__(PlacedSession)
    session.provider, session._session = provider, inner
    return session


def test_a_provider_that_takes_a_part() -> None:
    inner = recording(
        ("OpenVINOExecutionProvider", ["Conv", "Relu"]),
        ("CPUExecutionProvider", ["TopK"]),
        ("CPUExecutionProvider", ["NonZero"]),
        ("CPUExecutionProvider", ["TopK"]),
    )
    placement = session_on("openvino", inner).placement({})
    assert placement == Placement({"openvino": 2, "cpu": 3}, ("NonZero", "TopK"))
    assert (placement.on("openvino"), placement.on("cuda"), placement.all) == (2, 0, 5)


def test_a_version_that_tells_nothing() -> None:
    with pytest.raises(ModelError, match="does not tell on which provider"):
        session_on("cpu", recording()).placement({})

"""Seconds of each node, from a real profile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import parser

from onnx_attnprune.errors import ModelError
from onnx_attnprune.evaluate.layers import node_seconds
from onnx_attnprune.graph import Graph
from tests.oracle import parse


def seconds(graph: Graph, folder: Path, **feeds: np.ndarray) -> dict[str, float]:  # type: ignore[type-arg]  # any
    found = node_seconds(graph, feeds, provider="cpu", threads=1, folder=folder)
    return {node.outputs[0]: found[node.index] for node in graph.nodes if node.index in found}


def test_a_fused_kernel_counts_for_the_node_that_does_its_work(tmp_path: Path) -> None:
    # 16 and 32 channels, so that ONNX Runtime uses its blocked layout and fuses the activations.
    model = parse(
        """g (float[1, 16, 40, 40] x) => (float[1, 7] y)
        <float[32, 16, 3, 3] w1, float[32] b1, float[48, 32, 3, 3] w2, float[48] b2, float[7, 48] w3, float[7] b3>
        { a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
          r = Relu (a)
          c = Conv <pads = [1, 1, 1, 1]> (r, w2, b2)
          s = Relu (c)
          p = GlobalAveragePool (s)
          f = Flatten (p)
          y = Gemm <transB = 1> (f, w3, b3) }"""
    )
    found = seconds(Graph(model), tmp_path, x=np.zeros((1, 16, 40, 40), np.float32))
    assert {"a", "c", "y"} <= found.keys()
    assert not {"r", "s"} & found.keys()  # they run inside of the convolutions
    # 7 and 22 million multiply-accumulates against 336.
    assert 5 * found["y"] < found["a"] < found["c"]
    assert list(tmp_path.iterdir()) == []


def test_nodes_of_a_body_count_for_themselves(tmp_path: Path) -> None:
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[60, 70] x, float[70, 80] w, bool b) => (float[60, 80] y)
        { y = If (b) <then_branch = t () => (float[60, 80] t1) { t1 = MatMul (x, w) },
                      else_branch = e () => (float[60, 80] e2) { e1 = MatMul (x, w) e2 = Relu (e1) }> }"""
    )
    feeds = {"x": np.ones((60, 70), np.float32), "w": np.ones((70, 80), np.float32), "b": np.array(True)}
    found = seconds(Graph(model), tmp_path, **feeds)
    assert found["t1"] > 0
    assert "e1" not in found


def test_feeds_that_do_not_fit(tmp_path: Path) -> None:
    model = parse("g (float[1, 3] x) => (float[1, 3] y) { y = Relu (x) }")
    with pytest.raises(ModelError, match="can't run the model"):
        seconds(Graph(model), tmp_path, x=np.zeros((2, 5), np.float32))

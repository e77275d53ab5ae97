"""Weights of whole numbers are refitted in their own scales, in whatever form a quantiser writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

from onnx_attnprune import surgery
from onnx_attnprune.graph import Graph, read_model
from onnx_attnprune.grouping import Analysis, alive_of, analyze
from onnx_attnprune.recovery import Calibration, in_batches, recover
from onnx_attnprune.recovery.guard import divergence
from onnx_attnprune.recovery.jobs import jobs_of
from tests.oracle import parse
from tests.recovery.helpers import put, stored
from tests.small import saved
from tests.test_quantisation import Reader

IMAGES = """g (float[N, 3, 12, 10] x) => (float[N, 7] y)
<float[24, 3, 3, 3] w1, float[24] b1, float[16, 24, 3, 3] w2, float[16] b2, float[7, 16] w3, float[7] b3> {
    a = Conv (x, w1, b1)
    c = Relu (a)
    d = Conv <pads = [1, 1, 1, 1]> (c, w2, b2)
    e = Relu (d)
    p = GlobalAveragePool (e)
    f = Flatten (p)
    y = Gemm <transB = 1> (f, w3, b3)
}"""
ROWS = """g (float[N, 3, 12, 10] x) => (float[N, 3, 12, 7] y) <float[10, 24] w1, float[24, 16] w2, float[16, 7] w3> {
    a = MatMul (x, w1)
    c = Relu (a)
    d = MatMul (c, w2)
    e = Relu (d)
    y = MatMul (e, w3)
}"""
GONE = (1, 4, 9, 17, 20)  # of 24 channels, each a copy of the next one


def channels_first(model: ModelProto) -> int:
    return 0 if model.graph.node[0].op_type == "Conv" else 1


def network(text: str) -> ModelProto:
    """Weights in which the channels that will go are copies of others."""
    model = parse(text)
    for name in ("w1", "b1") if "b1" in text else ("w1",):
        w = np.moveaxis(stored(model, name).copy(), channels_first(model) if name == "w1" else 0, 0)
        w[list(GONE)] = w[[k + 1 for k in GONE]]
        put(model, name, np.moveaxis(w, 0, channels_first(model) if name == "w1" else 0))
    return model


def static(per_channel: bool, form: QuantFormat, kind: QuantType) -> Callable[[Path, Path], None]:
    def quantise(source: Path, target: Path) -> None:
        quantize_static(source, target, Reader(), quant_format=form, per_channel=per_channel, activation_type=kind)

    return quantise


def fused(source: Path, target: Path) -> None:
    """Quantised by ranges in the run, in the operators that ONNX Runtime's optimiser makes of that."""
    quantize_dynamic(source, target)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    ort.InferenceSession(target, options)


FORMS = {
    "QDQ": (IMAGES, static(False, QuantFormat.QDQ, QuantType.QUInt8), {"Conv", "Gemm"}),
    "QDQ per channel": (IMAGES, static(True, QuantFormat.QDQ, QuantType.QInt8), {"Conv", "Gemm"}),
    "QLinearConv": (IMAGES, static(False, QuantFormat.QOperator, QuantType.QUInt8), {"QLinearConv"}),
    "QLinearConv per channel": (IMAGES, static(True, QuantFormat.QOperator, QuantType.QUInt8), {"QLinearConv"}),
    "QLinearMatMul": (ROWS, static(False, QuantFormat.QOperator, QuantType.QInt8), {"QLinearMatMul"}),
    "ConvInteger": (IMAGES, quantize_dynamic, {"ConvInteger"}),
    "MatMulInteger": (ROWS, quantize_dynamic, {"MatMulInteger"}),
    "DynamicQuantizeMatMul": (ROWS, fused, {"DynamicQuantizeMatMul"}),
}


def samples(count: int = 128, seed: int = 0) -> Calibration:
    x = np.random.default_rng(seed).standard_normal((count, 3, 12, 10)).astype(np.float32)
    return in_batches({"x": x}, 16, "normal numbers")


def without_copies(model: ModelProto) -> tuple[Analysis, dict[int, np.ndarray]]:  # type: ignore[type-arg]  # masks
    analysis = analyze(Graph(model), {"x": (2, 3, 12, 10)})
    group = next(g for g in analysis.groups if g.size == 24)
    return analysis, alive_of(analysis.groups, {group.id: GONE})


def outputs(model: ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:  # type: ignore[type-arg]  # as above
    options = ort.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # no saturation on CPUs without VNNI
    return {"y": ort.InferenceSession(model.SerializeToString(), options).run(None, feeds)[0]}


def numbers(model: ModelProto) -> dict[int, int]:
    """How many numbers of each type the file holds."""
    found: dict[int, int] = {}
    for tensor in model.graph.initializer:
        found[tensor.data_type] = found.get(tensor.data_type, 0) + numpy_helper.to_array(tensor).size
    return found


@pytest.mark.parametrize("method", ["mix", "least-squares", "sequential"])
@pytest.mark.parametrize("form", FORMS)
def test_whole_numbers_are_refitted_in_their_own_scales(tmp_path: Path, form: str, method: str) -> None:
    text, quantise, operators = FORMS[form]
    quantise(saved(network(text), tmp_path), tmp_path / "small.onnx")
    model = read_model(tmp_path / "small.onnx")
    analysis, alive = without_copies(model)
    assert {job.consumer.node.op for job in jobs_of(analysis, alive)[0]} <= operators
    plain = surgery.prune(analysis, alive)
    found = recover(method, analysis, alive, surgery.prune(analysis, alive), samples())
    assert (found.compensated, found.consumers) == (1, 1), found.notes
    onnx.checker.check_model(found.model)
    assert numbers(found.model) == numbers(plain)
    feeds = dict(samples(16, seed=9).runs[0])
    original = outputs(model, feeds)
    before, after = (divergence([original], [outputs(m, feeds)]) for m in (plain, found.model))
    assert after < 0.05 * before
    assert before > 0.01


def test_what_is_packed_or_inside_of_a_layer_is_refused_with_a_reason() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMulNBits", ["a", "q", "s"], ["y"], "packed", domain="com.microsoft",
                         K=64, N=5, bits=4, block_size=16),
    ]  # fmt: skip  # one node a line
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [
            numpy_helper.from_array(np.ones((3, 64), np.float32), "w"),
            numpy_helper.from_array(np.full((5, 4, 8), 0x7A, np.uint8), "q"),
            numpy_helper.from_array(np.ones((5, 4), np.float32), "s"),
        ],
    )  # fmt: skip  # name, inputs, outputs, constants
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    analysis = analyze(Graph(helper.make_model(graph, opset_imports=opsets, ir_version=10)))
    group = next(g for g in analysis.groups if g.size == 4)
    jobs, notes = jobs_of(analysis, alive_of(analysis.groups, {group.id: [2]}))
    assert not jobs
    assert notes == ["packed (MatMulNBits): not refitted (its weight is packed, with a scale for each block)"]

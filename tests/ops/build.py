"""Models with ONNX Runtime's own operators, and with given values, for the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import Analysis, analyze
from tests.oracle import check, fill, told


def microsoft(text: str, values: Mapping[str, Any] | None = None, opset: int = 17, seed: int = 0) -> ModelProto:
    """A model from the text of its graph; `values` (broadcast to the declared shape) instead of random weights."""
    head = f'<ir_version: 10, opset_import: ["" : {opset}, "com.microsoft" : 1]>'
    model = onnx.parser.parse_model(f"{head}\n{text}")
    for value in [v for v in model.graph.value_info if v.name in (values or {})]:
        tensor = value.type.tensor_type
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        shape = [d.dim_value for d in tensor.shape.dim]
        array = np.broadcast_to(np.asarray((values or {})[value.name]), shape).astype(dtype, order="C")
        model.graph.initializer.append(numpy_helper.from_array(array, value.name))
        model.graph.value_info.remove(value)
    fill(model, seed)
    return model


def sizes(model: onnx.ModelProto, *free: int) -> Analysis:
    """The groups have these sizes, and random cuts of them are exact."""
    shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in model.graph.input}
    if not free:
        analysis = analyze(Graph(model), shapes)
        assert not analysis.groups, told(analysis)
        return analysis
    found = check(model, shapes=shapes, seeds=(0, 1, 2, 3))
    assert sorted(g.size for g in found.groups) == sorted(free), told(found)
    return found

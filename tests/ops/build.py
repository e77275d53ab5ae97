"""Models with ONNX Runtime's own operators, and with given values, for the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import Analysis, analyze
from tests.oracle import Feeds, Runner, assert_exact, fill, told

# What ONNX Runtime's documentation says of its operators that have a kernel for other devices only.
DEFINITIONS = """
<domain: "written", opset_import: ["" : 18, "com.microsoft" : 1]>
BiasAdd (x, bias, skip) => (y) { s = Add (x, bias) y = Add (s, skip) }

<domain: "written", opset_import: ["" : 18, "com.microsoft" : 1]>
BiasSplitGelu (x, bias) => (y) {
    s = Add (x, bias) left, right = Split <axis = -1, num_outputs = 2> (s)
    g = com.microsoft.Gelu (right) y = Mul (left, g) }

<domain: "written", opset_import: ["" : 18, "com.microsoft" : 1]>
GemmFastGelu (x, w, bias) => (y) { p = MatMul (x, w) y = com.microsoft.FastGelu (p, bias) }

<domain: "written", opset_import: ["" : 18, "com.microsoft" : 1]>
BiasSoftmax <axis> (data, bias) => (y) { s = Add (data, bias) y = Softmax <axis: int = @axis> (s) }

<domain: "written", opset_import: ["" : 18, "com.microsoft" : 1]>
NhwcConv <group: int = 1, pads: ints, strides: ints> (x, w, b) => (y) {
    x1 = Transpose <perm = [0, 3, 1, 2]> (x) w1 = Transpose <perm = [0, 3, 1, 2]> (w)
    c = Conv <group: int = @group, pads: ints = @pads, strides: ints = @strides> (x1, w1, b)
    y = Transpose <perm = [0, 2, 3, 1]> (c) }

<domain: "written", opset_import: ["" : 18, "com.microsoft" : 1]>
GroupNorm <groups: int, activation: int = 1> (x, gamma, beta) => (y) {
    x1 = Transpose <perm = [0, 3, 1, 2]> (x)
    g = Constant <value_int: int = @groups> () one = Constant <value_ints = [1]> ()
    g1 = Reshape (g, one) ends = Constant <value_ints = [0]> () rest = Constant <value_ints = [-1]> ()
    into = Concat <axis = 0> (ends, g1, rest) rows = Reshape (x1, into)
    unit = ConstantOfShape <value = float[1] {1.0}> (g1) nought = ConstantOfShape <value = float[1] {0.0}> (g1)
    even = InstanceNormalization <epsilon = 0.00001> (rows, unit, nought)
    shape = Shape (x1) e1 = Reshape (even, shape) e = Transpose <perm = [0, 2, 3, 1]> (e1)
    scaled = Mul (e, gamma) z = Add (scaled, beta) s = Sigmoid (z) y = Mul (z, s) }

<domain: "written", opset_import: ["" : 18, "com.microsoft" : 1, "written" : 1]>
SkipGroupNorm <groups: int, activation: int = 1> (x, gamma, beta, skip, bias) => (y, sum) {
    a = Add (x, skip) sum = Add (a, bias)
    y = written.GroupNorm <groups: int = @groups> (sum, gamma, beta) }

<domain: "written", opset_import: ["" : 18, "com.microsoft" : 1]>
RemovePadding (x, count) => (y, offset, edges, longest) {
    shape = Shape <start = 2> (x) rest = Constant <value_ints = [-1]> () into = Concat <axis = 0> (rest, shape)
    y = Reshape (x, into) two = Shape <end = 2> (x) all = ReduceProd <keepdims = 0> (two)
    from = Constant <value_int = 0> () by = Constant <value_int = 1> () row = Range (from, all, by)
    o = Reshape (row, two) offset = Cast <to = 6> (o)
    ends = Constant <value_ints = [0]> () ends1 = Cast <to = 6> (ends) axis = Constant <value_int = 0> ()
    sums = CumSum (count, axis) edges = Concat <axis = 0> (ends1, sums)
    longest = ReduceMax <keepdims = 1> (count) }

<domain: "written", opset_import: ["" : 18, "com.microsoft" : 1]>
RestorePadding (x, offset) => (y) {
    two = Shape (offset) width = Shape <start = 1> (x) into = Concat <axis = 0> (two, width) y = Reshape (x, into) }

<domain: "written", opset_import: ["" : 18, "com.microsoft" : 1]>
PackedAttention <num_heads: int, qkv_hidden_sizes: ints, scale: float = 0.0>
(x, w, b, offset, edges, added) => (y) {
    p = MatMul (x, w) s = Add (p, b) zero = Constant <value_ints = [0]> () t = Unsqueeze (s, zero)
    parts = Constant <value_ints: ints = @qkv_hidden_sizes> () q, k, v = Split <axis = -1> (t, parts)
    a = com.microsoft.MultiHeadAttention <num_heads: int = @num_heads, scale: float = @scale>
        (q, k, v, , , added) y = Squeeze (a, zero) }

<domain: "written", opset_import: ["" : 18, "com.microsoft" : 1]>
PackedMultiHeadAttention <num_heads: int, scale: float = 0.0> (q, k, v, b, offset, edges) => (y) {
    zero = Constant <value_ints = [0]> () q1 = Unsqueeze (q, zero) k1 = Unsqueeze (k, zero) v1 = Unsqueeze (v, zero)
    a = com.microsoft.MultiHeadAttention <num_heads: int = @num_heads, scale: float = @scale> (q1, k1, v1, b)
    y = Squeeze (a, zero) }

<domain: "written", opset_import: ["" : 18, "com.microsoft" : 1]>
RelativePositionBias (table, q, k) => (y) {
    from = Constant <value_int = 0> () by = Constant <value_int = 1> () all = Add (q, k) row = Range (from, q, by)
    column = Range (from, k, by) zero = Constant <value_ints = [0]> () one = Constant <value_ints = [1]> ()
    r = Unsqueeze (row, one) c = Unsqueeze (column, zero) apart = Sub (c, r) far = Abs (apart)
    most = Constant <value_int = 4> () bucket = Min (far, most) found = Gather (table, bucket)
    turned = Transpose <perm = [2, 0, 1]> (found) y = Unsqueeze (turned, zero) }

<domain: "written", opset_import: ["" : 18, "com.microsoft" : 1]>
GatedRelativePositionBias <num_heads: int> (query, shift, bias, w, b, eco) => (y) {
    s = Add (query, shift) heads = Constant <value_int: int = @num_heads> () one = Constant <value_ints = [1]> ()
    h = Reshape (heads, one) keep = Constant <value_ints = [0, 0]> () rest = Constant <value_ints = [-1]> ()
    grid = Concat <axis = 0> (keep, h, rest) g = Reshape (s, grid) turned = Transpose <perm = [0, 2, 1, 3]> (g)
    p = MatMul (turned, w) l = Add (p, b) halves = Constant <value_ints = [0, 0, 0, 2, -1]> ()
    two = Reshape (l, halves) sum = ReduceSum <keepdims = 0> (two, rest) o = Sigmoid (sum)
    u, r = Split <axis = -1, num_outputs = 2> (o) unit = Constant <value_float = 1.0> ()
    twice = Constant <value_float = 2.0> () e = Mul (r, eco) m = Sub (e, unit) n = Mul (u, m) gate = Add (n, twice)
    y = Mul (gate, bias) }
"""


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


class Written(Runner):
    """Runs operators that ONNX Runtime has no CPU kernel for as they are defined here, by ONNX's own operators."""

    def __init__(self, original: ModelProto) -> None:
        super().__init__(written(original))

    def run(self, model: ModelProto, feeds: Feeds) -> Feeds:
        return super().run(written(model), feeds)


def written(model: ModelProto) -> ModelProto:
    """The model with such operators as functions of a domain of their own."""
    copy = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]> g () => () {{}} {DEFINITIONS}')
    functions = {f.name: f for f in copy.functions}
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.domain == "com.microsoft" and node.op_type in functions:
            node.domain = "written"
    copy.functions.extend(functions.values())
    copy.opset_import.append(helper.make_opsetid("written", 1))
    return copy


def assert_sizes(model: onnx.ModelProto, *free: int, runs: type[Runner] = Runner) -> Analysis:
    """The groups have these sizes, and random cuts of them are exact."""
    shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in model.graph.input}
    if not free:
        analysis = analyze(Graph(model), shapes)
        assert not analysis.groups, told(analysis)
        return analysis
    found = assert_exact(model, shapes=shapes, seeds=(0, 1, 2, 3), runs=runs)
    assert sorted(g.size for g in found.groups) == sorted(free), told(found)
    return found

"""Weights that a file computes: which of them are stored as they come out, and what can silence their channels."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from onnx_attnprune.graph import Fold, Graph, folded
from onnx_attnprune.runtime import Optimisation, Session
from tests.oracle import parse

STANDARDISED = """m = ReduceMean (w, axes)
  d = Sub (w, m)
  s = ReduceSumSquare (d, axes)
  e = Add (s, small)
  r = Sqrt (e)
  u = Div (d, r)
  f = Mul (u, gain)"""
BATCH_NORM = """t = Reshape (w, rows)
  n, mean, variance = BatchNormalization <training_mode = 1, momentum = 1.0> (t, ones, zeros, zeros, ones)
  f = Reshape (n, shape)"""
WEIGHT_NORM = """s = ReduceL2 (w, axes)
  q = Div (gain, s)
  f = Mul (w, q)"""
WHOLE = """s = ReduceL2 <keepdims = 0> (w)
  f = Div (w, s)"""
TURNED = """m = ReduceMean (w, axes)
  d = Sub (w, m)
  f = Transpose <perm = [1, 0, 2, 3]> (d)"""


def net(body: str, reads: str = "y = Conv (x, f)", more: str = "") -> ModelProto:
    """A convolution of 7 channels to 5 whose weight `f` the body makes."""
    text = f"""g (float[2, 7, 9, 8] x) => (float[2, A, B, C] y)
    <float[5, 7, 3, 2] w, float[5, 1, 1, 1] gain, float small = {{1e-5}}, int64[3] axes = {{1, 2, 3}}
     , int64[3] rows = {{1, 5, 42}}, int64[4] shape = {{5, 7, 3, 2}}, float[5] ones = {{1, 1, 1, 1, 1}}
     , float[5] zeros = {{0, 0, 0, 0, 0}}{more}>
    {{ {body}
       {reads} }}"""
    return parse(text)


@pytest.mark.parametrize(
    ("body", "reads", "fold"),
    [
        (STANDARDISED, "y = Conv (x, f)", Fold("w", 0, 0)),
        (BATCH_NORM, "y = Conv (x, f)", Fold("w", 0, 0)),
        (WEIGHT_NORM, "y = Conv (x, f)", Fold("gain", 0, 0)),  # a norm of zeros is divided by: the gain it has to be
        (TURNED, "v = Conv (x, k) y = ConvTranspose (v, f)", Fold("w", 0, 1)),
        (
            STANDARDISED,
            "a = Conv (x, f) b = Conv (x, w) y = Add (a, b)",
            Fold("gain", 0, 0),
        ),  # w makes other channels too
    ],
)
def test_a_weight_is_stored_as_it_comes_out(body: str, reads: str, fold: Fold) -> None:
    model = net(body, reads, ", float[7, 7, 1, 1] k")
    before = model.SerializeToString()
    graph = folded(model)
    assert graph.folds == {"f": fold}
    assert model.SerializeToString() == before
    assert graph.file is model
    assert {n.op for n in graph.nodes} <= {"Conv", "ConvTranspose", "Add"}
    unread = {name for n in Graph(model).nodes for name in n.inputs} - {name for n in graph.nodes for name in n.inputs}
    assert unread.isdisjoint(graph.constants)
    x = {"x": np.random.default_rng(0).standard_normal((2, 7, 9, 8)).astype(np.float32)}
    one, other = (Session(m, optimisation=Optimisation.NONE).run(x)["y"] for m in (model, graph.model))
    assert np.abs(one - other).max() < 1e-5 * np.abs(one).max()


@pytest.mark.parametrize(
    ("body", "reads"),
    [
        (WHOLE, "y = Conv (x, f)"),  # zeros in one channel change the norm of all
        (STANDARDISED, "a = Conv (x, f) b = Conv (x, f) y = Add (a, b)"),  # the two may lose different channels
        (STANDARDISED, "a = Conv (x, f) b = Conv (x, w) c = Add (a, b) g = Reshape (gain, one) y = Mul (c, g)"),
    ],
)
def test_a_weight_may_have_no_source_that_silences_it(body: str, reads: str) -> None:
    graph = folded(net(body, reads, ", int64[4] one = {1, 5, 1, 1}"))
    assert graph.folds == {"f": Fold("", -1, -1)}


@pytest.mark.parametrize(
    ("body", "reads"),
    [
        ("f = Mul (w, gain)", "y = Conv (x, f)"),  # every number of it is one of the file's
        (STANDARDISED, "a = Conv (x, w) b = ReduceMean (f) y = Mul (a, b)"),  # no weight of a layer
    ],
)
def test_other_weights_stay_as_they_are(body: str, reads: str) -> None:
    model = net(body, reads, ", int64[4] one = {1, 5, 1, 1}")
    graph = folded(model)
    assert graph.model is model
    assert graph.folds == {}


def test_what_a_weight_is_computed_from_with_the_input_is_not_stored() -> None:
    body = "p = ReduceMean (x) d = Add (w, p) m = ReduceMean (d, axes) f = Sub (d, m)"
    assert folded(net(body)).folds == {}


def test_constant_nodes_hold_weights_too() -> None:
    model = net(STANDARDISED)
    (w,) = (t for t in model.graph.initializer if t.name == "w")
    array = numpy_helper.to_array(w)
    model.graph.initializer.remove(w)
    node = model.graph.node.add(op_type="Constant", output=["w"])
    node.attribute.add(name="value", type=4).t.CopyFrom(numpy_helper.from_array(array, "w"))
    model.graph.node.insert(0, node)
    del model.graph.node[-1]
    assert folded(model).folds == {"f": Fold("w", 0, 0)}


def test_a_graph_without_such_weights_is_the_file() -> None:
    model = net("f = Identity (w)")
    assert Graph(model).file is model
    assert folded(model).model is model

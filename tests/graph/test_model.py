"""The index of a graph: bodies in the order of execution, names that are given twice."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx_attnprune.evaluate.equivalence import compare
from onnx_attnprune.graph import Graph, add_initializer, nodes_of, store_constant, with_outputs
from onnx_attnprune.runtime import Session


def branch(name: str, weight: np.ndarray) -> onnx.GraphProto:
    """A body with a constant of its own that is called `w` in every body."""
    return helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["inner"]), helper.make_node("Relu", ["inner"], ["result"])],
        name,
        [],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )


def two_branches() -> onnx.ModelProto:
    """y = relu(x w) with one of two weights, both called `w`."""
    rng = np.random.default_rng(0)
    one, other = (rng.standard_normal((7, 5)).astype(np.float32) for _ in range(2))
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("yes", one), else_branch=branch("no", other))
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, []),
         helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 5])],
    )  # fmt: skip  # inputs in a row
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_names_that_bodies_share_are_told_apart_and_nothing_else_changes() -> None:
    model = two_branches()
    graph = Graph(model)
    assert graph.repeated == {"w", "inner", "result"}
    names = [o for n in nodes_of(graph.model.graph) for o in n.output]
    assert len(set(names)) == len(names)
    assert [n.name for n in model.graph.node[0].attribute[0].g.initializer] == ["w"]  # the original is untouched
    rng = np.random.default_rng(1)
    for c in (True, False):
        feeds = {"c": np.array(c), "x": rng.standard_normal((3, 7)).astype(np.float32)}
        same = compare(["y"], Session(model).run(feeds), Session(graph.model).run(feeds))
        assert same[0].max_abs == 0


def test_bodies_come_before_the_node_that_they_belong_to() -> None:
    steps = [(n.op, entered) for n, entered in Graph(two_branches()).steps]
    assert steps == [
        ("If", True), ("MatMul", False), ("Relu", False), ("MatMul", False), ("Relu", False), ("If", False),
    ]  # fmt: skip  # one line


def dense(ir_version: int) -> onnx.ModelProto:
    """y = x w, and z = x w with the same w."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("MatMul", ["x", "w"], ["z"])]
    weight = numpy_helper.from_array(np.ones((7, 5), np.float32), "w")
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3, 5]) for n in "yz"]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 7])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=ir_version)
    if ir_version < 4:
        model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [7, 5]))
    return model


def test_a_constant_that_others_read_is_replaced_for_one_reader_alone() -> None:
    for ir_version in (3, 8):
        model = dense(ir_version)
        store_constant(
            model,
            Graph(model),
            Graph(model).fresh_names(),
            [(model.graph.node[0], 1)],
            np.full((7, 5), 2.0),
            TensorProto.FLOAT,
        )
        onnx.checker.check_model(model, full_check=True)
        got = Session(model).run({"x": np.ones((3, 7), np.float32)})
        assert got["y"][0, 0] == 14
        assert got["z"][0, 0] == 7


def test_a_constant_of_all_its_readers_is_replaced_in_place() -> None:
    model = dense(8)
    uses = [(n, 1) for n in model.graph.node]
    store_constant(model, Graph(model), Graph(model).fresh_names(), uses, np.full((7, 5), 3.0), TensorProto.FLOAT)
    assert [t.name for t in model.graph.initializer] == ["w"]
    assert Session(model).run({"x": np.ones((3, 7), np.float32)})["z"][0, 0] == 21


def test_before_ir_version_4_a_fresh_initializer_is_an_input_too() -> None:
    old, new = dense(3), dense(8)
    for model in (old, new):
        add_initializer(model, numpy_helper.from_array(np.zeros(2, np.float32), "fresh"))
    assert [v.name for v in old.graph.input] == ["x", "w", "fresh"]
    assert [v.name for v in new.graph.input] == ["x"]


def test_inner_tensors_become_outputs() -> None:
    model = dense(8)
    del model.graph.output[1]
    data = with_outputs(model, ["z", "y"])
    assert [v.name for v in onnx.load_from_string(data).graph.output] == ["y", "z"]  # each once
    assert set(Session(data).run({"x": np.ones((3, 7), np.float32)})) == {"y", "z"}

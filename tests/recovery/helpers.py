"""Graphs whose channels are normal, or constant, by construction; and running them."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, numpy_helper

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import Analysis, alive_of, analyze
from onnx_attnprune.runtime import Optimisation, Session
from tests.oracle import Runner

Array = np.ndarray[Any, Any]


def run(model: ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    """The outputs, by ONNX Runtime without its optimiser where it has the operators, else by onnx itself."""
    return Runner(model).run(model, feeds)


def session(model: ModelProto) -> Session:
    """A session that computes what the graph says."""
    return Session(model, optimisation=Optimisation.NONE, threads=1)


def stored(model: ModelProto, name: str) -> Array:
    """The numbers of an initializer."""
    return numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name))


def put(model: ModelProto, name: str, values: Array) -> None:
    """Other numbers for an initializer, of its own element type."""
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(values.astype(numpy_helper.to_array(tensor).dtype), name))


def silence(model: ModelProto, scale: str, channels: list[int]) -> None:
    """Make channels constant: a scale of zero in a batch normalisation."""
    values = stored(model, scale).copy()
    values[channels] = 0
    put(model, scale, values)


def without(model: ModelProto, removed: dict[str, list[int]]) -> tuple[Analysis, dict[int, BoolArray]]:
    """The analysis, and masks without the given channels of the groups that a tensor lies in, by its name."""
    analysis = analyze(Graph(model))
    ids = {m.slot.tensor: g.id for g in reversed(analysis.groups) for m in g.members if m.role in ("producer", "scale")}
    return analysis, alive_of(analysis.groups, {ids[name]: gone for name, gone in removed.items()})

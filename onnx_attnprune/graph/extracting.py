"""Parts of a model: the nodes between tensors that are held and tensors that are wanted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, helper

from onnx_attnprune.graph.editing import empty_like
from onnx_attnprune.graph.model import names_read

FIRST_OWN_INITIALIZERS = 4  # the IR version from which on initializers need not be listed among the inputs


def part_of(
    model: ModelProto, given: Mapping[str, tuple[np.dtype[Any], Sequence[int | None]]], wanted: Sequence[str]
) -> bytes:
    """A serialized model that computes the tensors `wanted` from those `given`, of the main graph: name to element type
    and shape (None: a size that varies). A name that the graph lacks is for the runtime to refuse."""
    graph = model.graph
    needed, nodes = set(wanted), []
    for node in reversed(graph.node):
        if any(o in needed and o not in given for o in node.output):
            nodes.append(node)
            needed.update(names_read(node))
    part = empty_like(model)
    part.ir_version = max(part.ir_version, FIRST_OWN_INITIALIZERS)
    for field in ("input", "output", "sparse_initializer", "quantization_annotation"):
        part.graph.ClearField(field)
    part.graph.node.extend(reversed(nodes))
    part.graph.initializer.extend(t for t in graph.initializer if t.name in needed)
    part.graph.sparse_initializer.extend(t for t in graph.sparse_initializer if t.values.name in needed)
    for name, (dtype, shape) in given.items():
        if name in needed:
            kind = helper.np_dtype_to_tensor_dtype(dtype)
            part.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    return bytes(part.SerializeToString())


def live_at(model: ModelProto, before: Collection[str], goals: Collection[str]) -> list[str]:
    """The tensors that depend on the inputs, are known before the first node of the main graph that makes one of
    `before`, and that `goals` rest on from there on."""
    graph = model.graph
    stored = {t.name for t in graph.initializer}
    varying = {v.name for v in graph.input} - stored
    early = set(varying)
    cut = len(graph.node)
    for k, node in enumerate(graph.node):
        if cut > k and any(o in before for o in node.output):
            cut = k
        if any(name in varying for name in names_read(node)):
            varying.update(node.output)
            if k < cut:
                early.update(node.output)
    needed = set(goals)
    for node in reversed(graph.node[cut:]):
        if any(o in needed for o in node.output):
            needed.update(names_read(node))
    return sorted(name for name in needed if name and name in early)

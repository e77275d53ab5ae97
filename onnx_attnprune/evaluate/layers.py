"""Where the time of a model goes, node by node, as ONNX Runtime's own profile tells it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from onnx_attnprune.evaluate.latency import Array
from onnx_attnprune.evaluate.staging import loadable
from onnx_attnprune.graph import Graph, ModelProto, Node, nodes_of
from onnx_attnprune.runtime import kernels_of

RUNS, WARM_UP = 20, 3
_SUFFIXES = re.compile(r"(_nchwc|_nhwc)+$")
_LAID_OUT = re.compile(r"Reorder|Transpose|Memcpy")  # what the optimiser adds for its own layouts


def node_seconds(
    graph: Graph, feeds: Mapping[str, Array], *, provider: str, threads: int, folder: Path
) -> dict[int, float]:
    """Seconds that one run spends in each node, by its index: the median of 20 runs.

    The model runs as users run it, optimised. A fused kernel counts for the node that does its work: the first of the
    operator that the kernel has, upstream of the tensor that it computes. Kernels that the optimiser adds, to lay
    tensors out anew, count for nobody. Raises ModelError where the model does not run on the feeds.
    """
    named = ModelProto()
    named.CopyFrom(graph.model)
    for proto in nodes_of(named.graph):
        proto.name = next((o for o in proto.output if o), "")  # unique, and what the optimiser names its own nodes by
    with loadable(named, folder) as source:
        runs = kernels_of(source, feeds, WARM_UP + RUNS, provider=provider, threads=threads)
    owner, found = _Owner(graph), dict[int, list[float]]()
    for run in runs[WARM_UP:]:
        spent: dict[int, float] = {}
        for kernel in run:
            node = owner.of(_SUFFIXES.sub("", kernel.name), kernel.op)
            if node is not None:
                spent[node.index] = spent.get(node.index, 0.0) + kernel.seconds
        for index, seconds in spent.items():
            found.setdefault(index, []).append(seconds)
    return {index: float(np.median(seconds)) for index, seconds in found.items()}


class _Owner:
    """Finds the node of the model that a kernel of the optimised graph does the work of."""

    def __init__(self, graph: Graph) -> None:
        self._makers: Mapping[str, Node] = graph.makers

    def of(self, name: str, op: str) -> Node | None:
        """The node that makes the tensor `name`, or the nearest one upstream of it that has the kernel's operator."""
        last = self._makers.get(name.removeprefix("fused "))
        node, seen = last, 0
        while node is not None and node.op not in op and seen < 4:  # a kernel fuses a few nodes at most
            node, seen = next((self._makers[i] for i in node.inputs if i in self._makers), None), seen + 1
        return last if node is None or node.op not in op or _LAID_OUT.match(op) else node

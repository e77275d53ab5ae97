"""What is known of the graph's inputs before any rule has run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onnx_attnprune.axes import Reason, Space, Var
from onnx_attnprune.graph import Signature
from onnx_attnprune.ops import Tensor

UNSEEN = 97  # a stand-in for a size that nothing states
GRAPH_INPUT = "graph input"


def inputs_of(
    inputs: Sequence[Signature], space: Space, shapes: Mapping[str, Sequence[int]]
) -> Iterator[tuple[str, Tensor]]:
    """Each input by name, every axis of it kept; without axes where neither the file nor `shapes` tells its rank."""
    named: dict[str, Var] = {}
    for signature in inputs:
        stated: Sequence[int | str | None] | None = signature.dims
        sizes = shapes.get(signature.name)
        if stated is None:
            if sizes is None:
                yield signature.name, Tensor(None, signature.dtype)
                continue
            stated = [None] * len(sizes)
        if sizes is None:
            sizes = [d if isinstance(d, int) else UNSEEN for d in stated]
        reason = Reason(GRAPH_INPUT, signature.name)
        axes = []
        for size, dim in zip(sizes, stated, strict=True):
            if isinstance(dim, str):
                axes.append(named.setdefault(dim, space.var(size, reason, dynamic=True)))
            else:
                axes.append(space.var(size, reason, dynamic=dim is None))
        yield signature.name, Tensor(tuple(axes), signature.dtype, silent=True)

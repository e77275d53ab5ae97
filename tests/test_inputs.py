"""What is known of graph inputs before any rule has run."""

from __future__ import annotations

from onnx_attnprune.axes import Space
from onnx_attnprune.graph import Signature
from onnx_attnprune.grouping.inputs import inputs_of


def test_sizes_that_are_given_for_an_unknown_rank_stay_free() -> None:
    """They are those of one run; the file states none."""
    space = Space()
    [(name, tensor)] = inputs_of([Signature("x", 1, None)], space, {"x": (2, 7)})
    assert name == "x"
    assert tensor.axes is not None
    assert [(axis.size, space.is_dynamic(axis), space.is_kept(axis)) for axis in tensor.axes] == [
        (2, True, True), (7, True, True),
    ]  # fmt: skip  # a table

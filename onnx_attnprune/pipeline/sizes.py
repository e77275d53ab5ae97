"""Sizes of free dimensions, where the usual ones are none that a network takes."""

from __future__ import annotations

from pathlib import Path

from onnx_attnprune.errors import ModelError
from onnx_attnprune.evaluate.feeds import other_shapes, random_feeds
from onnx_attnprune.evaluate.selfcheck import in_float32_too
from onnx_attnprune.evaluate.staging import is_coarse, session_of
from onnx_attnprune.graph import Graph, index_limits
from onnx_attnprune.pipeline.source import Shapes, Source


def sizes_that_run(source: Source, folder: Path) -> Shapes | None:
    """Shapes of a single sample at which the model runs, of the other usual ones for what is free; None where none do.

    Raises ModelError where ONNX Runtime can't load the model.
    """
    limits, coarse = index_limits(Graph(source.model)), is_coarse(source.model)
    session = session_of(source.model, folder)
    for shapes in other_shapes(source.specs, source.asked):
        feeds = random_feeds(source.specs, shapes, 0, limits)
        try:
            session.run({name: in_float32_too(array) for name, array in feeds.items()} if coarse else feeds)
        except ModelError:  # the answer that is looked for: not at these sizes
            continue
        return shapes
    return None

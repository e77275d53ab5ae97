"""Sizes of free dimensions, where the usual ones are none that a network takes."""

from __future__ import annotations

from pathlib import Path

from onnx_attnprune.errors import ModelError
from onnx_attnprune.evaluate.feeds import other_shapes, random_feeds
from onnx_attnprune.evaluate.staging import loadable
from onnx_attnprune.graph import Graph, as_float32, float_type, index_limits
from onnx_attnprune.pipeline.source import Shapes, Source
from onnx_attnprune.runtime import Session


def sizes_that_run(source: Source, folder: Path) -> Shapes | None:
    """Shapes of a single sample at which the model runs, of the other usual ones for what is free; None where none do.

    Raises ModelError where ONNX Runtime can't load the model.
    """
    model = as_float32(source.model) if float_type(source.model) == "bfloat16" else source.model
    limits = index_limits(Graph(model))
    with loadable(model, folder) as given:
        session = Session(given)
        for shapes in other_shapes(source.specs, source.asked):
            try:
                session.run(random_feeds(source.specs, shapes, 0, limits))
            except ModelError:  # the answer that is looked for: not at these sizes
                continue
            return shapes
    return None

"""A look at a model: analysed, and nothing else."""

from __future__ import annotations

from pathlib import Path

from onnx_attnprune.evaluate.feeds import with_batch
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import analyze
from onnx_attnprune.pipeline.choice import one_sample_masks
from onnx_attnprune.pipeline.request import Clock, Request, Tell
from onnx_attnprune.pipeline.source import Shapes, read
from onnx_attnprune.planning import Settings
from onnx_attnprune.report import Outputs, check_outputs
from onnx_attnprune.report.inspection import Inspection, look


def inspect_file(model: Path, shapes: Shapes, picture: Path | None = None, tell: Tell = lambda _: None) -> Inspection:
    """What of a model file can be pruned, and what is in the way; `picture` is where to draw it (.svg or .html).

    shapes: sizes for inputs with free dimensions, by input name. Raises a subclass of AttnPruneError.
    """
    clock = Clock(tell)
    if picture is not None:
        check_outputs([picture], [model])
    source = read(Request(model, None, Settings(), shapes=shapes), clock)
    with clock.stage("analyse"):
        analysis = analyze(Graph(source.model), source.shapes)
    single = one_sample_masks(analysis, source, source.shapes)
    sample = source.shapes if single is None else with_batch(source.specs, source.shapes, source.free, 1)
    with clock.stage("look"):
        found = look(analysis, single or {}, model=str(model), shapes=sample)
    if picture is not None:
        with clock.stage("draw"), Outputs() as outputs:
            from onnx_attnprune.report.inspection.picture import draw

            outputs.put_text(draw(analysis, found), picture)
            outputs.commit()
    return found

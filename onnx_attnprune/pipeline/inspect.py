"""A look at a model: analysed, and nothing else."""

from __future__ import annotations

from pathlib import Path

from onnx_attnprune.evaluate.feeds import with_batch
from onnx_attnprune.graph import external_files, folded
from onnx_attnprune.grouping import analyze
from onnx_attnprune.pipeline.choice import one_sample_masks
from onnx_attnprune.pipeline.request import Clock, Request, Tell
from onnx_attnprune.pipeline.source import Shapes, one_sample, read
from onnx_attnprune.planning import Settings
from onnx_attnprune.report import check_outputs, write_text
from onnx_attnprune.report.inspection import Inspection, draw, look, page


def inspect_file(model: Path, shapes: Shapes, picture: Path | None = None, tell: Tell = lambda _: None) -> Inspection:
    """What of a model file can be pruned, and what is in the way; `picture` is where to draw it (.svg or .html).

    shapes: sizes for inputs with free dimensions, by input name. Raises a subclass of AttnPruneError.
    """
    clock = Clock(tell)
    if picture is not None:
        check_outputs([picture], [model])
    source = read(Request(model, None, Settings(), shapes=shapes), clock)
    if picture is not None:
        check_outputs([picture], external_files(model))
    with clock.stage("analyse"):
        graph, used = folded(source.model), source.shapes
        analysis = analyze(graph, used)
        if not analysis.groups and one_sample(source) != used:
            # Some models state a free batch, but hold shapes that were computed for a single sample.
            used = one_sample(source)
            analysis = analyze(graph, used)
    with clock.stage("look"):
        single = one_sample_masks(analysis, source, used)
        sample = used if single is None else with_batch(source.specs, used, source.free, 1)
        found = look(analysis, single or {}, model=str(model), shapes=sample)
    if picture is not None:
        with clock.stage("draw"):
            svg = draw(analysis, found)
            write_text(page(found, svg) if picture.suffix.lower() == ".html" else svg, picture)
    return found

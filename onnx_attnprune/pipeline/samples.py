"""The samples of a run that a repair is fitted on: the user's, or made-up ones."""

from __future__ import annotations

import math

import numpy as np

from onnx_attnprune.evaluate.data import Dataset
from onnx_attnprune.evaluate.feeds import with_batch
from onnx_attnprune.graph import index_limits
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.pipeline.request import Request
from onnx_attnprune.pipeline.source import Shapes, Source
from onnx_attnprune.recovery import (
    SHORTEST,
    UNSEEN,
    Calibration,
    Inputs,
    handed_on,
    in_batches,
    likely_range,
    procedural,
    states_of,
    waveforms_of,
)

SAMPLES, FEWEST, BATCH = 256, 32, 16
MADE_UP = 768  # made-up pictures for a small network: they tell less than the user's, and cost nothing but time
NUMBERS = 10_000_000  # that more than SAMPLES made-up pictures may hold together: large ones take long to draw
# What one pass of procedural samples may cost, of which a repair takes some ten: of more than SAMPLES, of more than
# FEWEST, and of any.
LEAST_MACS, MACS, MOST_MACS = 100_000_000_000, 500_000_000_000, 1_000_000_000_000


def calibration_of(request: Request, source: Source, analysis: Analysis, shapes: Shapes, sample: Shapes) -> Calibration:
    """Samples for a model that was analysed at `shapes`, of which `sample` are those of a single one: SAMPLES of the
    user's, evenly spread over all that were given, or made-up ones."""
    whole_batch = set(source.free) == {s.name for s in source.specs}
    single = next(iter(sample.values()), (1,))
    if source.calibration is not None and source.calibration.whole:
        runs = tuple(source.calibration.run(k) for k in range(min(source.calibration.size, SAMPLES)))
        return Calibration(runs, f"{len(runs)} runs of {_out_of(source.calibration)}", False)
    if source.calibration is not None:
        feeds = {n: np.asarray(a[:SAMPLES]) for n, a in source.calibration.feeds.items()}
        batch = _batch(min(source.calibration.size, SAMPLES)) if whole_batch else single[0]
        return in_batches(feeds, batch, _out_of(source.calibration))
    pictures = any(len(shape) > 3 for shape in shapes.values())
    macs = analysis.macs({}) // max(next(iter(shapes.values()), (1,))[0], 1)
    numbers = sum(math.prod(shape[1:]) for shape in shapes.values())
    samples = made_up(macs, drawn(numbers) if pictures else SAMPLES)
    batch = min(BATCH, samples // UNSEEN) if whole_batch else 1  # what no fit sees is a run of its own
    shapes = with_batch(source.specs, source.shapes, source.free, batch) if whole_batch else sample
    limits = index_limits(analysis.graph)
    states = states_of(analysis)
    inputs = Inputs(
        shapes, {s.name: s.dtype for s in source.specs}, limits, batch if whole_batch else 1,
        frozenset(n for n in waveforms_of(analysis) if shapes[n][-1] >= SHORTEST), frozenset(states),
    )  # fmt: skip  # in the order of the fields
    return handed_on(analysis.graph.model, procedural(inputs, samples, likely_range(analysis, inputs)), states)


def _batch(samples: int) -> int:
    """About BATCH, so that batches of one size leave as few samples out as can be."""
    return samples // -(-samples // BATCH)


def made_up(macs: int, most: int) -> int:
    """How many procedural samples a network is repaired on that takes so many MACs for one, at most SAMPLES or `most`
    where it is small: by these, not by the clock, so that every machine makes the same of it."""
    fewest = max(min(FEWEST, MOST_MACS // max(macs, 1)), UNSEEN)
    return max(min(max(MACS // max(macs, 1), fewest), SAMPLES), min(LEAST_MACS // max(macs, 1), most))


def drawn(numbers: int) -> int:
    """How many pictures of so many numbers each are made up for a small network, if more than SAMPLES."""
    return min(MADE_UP, NUMBERS // max(numbers, 1))


def _out_of(given: Dataset) -> str:
    """The name of a dataset, and what SAMPLES of it are taken out of, where it has more."""
    return given.name if given.size <= SAMPLES else f"{given.name} (evenly out of {given.size:,})"


def unlabelled(request: Request, source: Source) -> tuple[Dataset | None, tuple[str, ...]]:
    """Samples to measure drift and latency on where there are no labelled ones: the user's that no repair has seen.

    With them a note where a repair has seen all of them.
    """
    given = source.calibration
    if given is None or source.data is not None:
        return None, ()
    if not request.fits:
        return given, ()
    if given.size >= SAMPLES + BATCH:
        return given.part(slice(SAMPLES, None)), ()
    return given, (
        "drift is measured on samples that the repair was fitted on; on others the outputs may move further",
    )

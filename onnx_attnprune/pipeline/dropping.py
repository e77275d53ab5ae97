"""How much accuracy a model loses against the unpruned one, and how much that may be on other samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.evaluate.chance import known_to, largest
from onnx_attnprune.evaluate.data import Dataset, fixed_batch
from onnx_attnprune.evaluate.likeness import Likeness, likeness, said
from onnx_attnprune.evaluate.loading import told
from onnx_attnprune.evaluate.measure import BATCH
from onnx_attnprune.evaluate.metrics import Assessment, all_outputs, assess
from onnx_attnprune.evaluate.staging import is_coarse, session_of
from onnx_attnprune.graph import ModelProto
from onnx_attnprune.pipeline.request import Request
from onnx_attnprune.pipeline.samples import SAMPLES
from onnx_attnprune.pipeline.source import Source

Array = NDArray[Any]
FEWEST = 16  # unlabelled samples, those included that a repair is fitted on


@dataclass(frozen=True, slots=True)
class Drop:
    """How much lower a model comes. most: what that is at most on other samples, in nine cases of ten; known: to what
    the samples tell it (both None where only all samples together have a figure)."""

    value: float
    most: float | None = None
    known: float | None = None


@dataclass(frozen=True, slots=True)
class Dropping:
    """What drops are measured by. `vouched`: the least drop that so many samples can vouch for (0: not known)."""

    measure: str
    samples: int
    vouched: float
    of: Callable[[ModelProto], Drop]


def apart(request: Request, source: Source) -> tuple[Source, Dataset]:
    """The samples that accuracy is measured on, and the source without them, where they are for calibration too."""
    if source.data is not None:
        return source, source.data
    given = source.calibration
    if given is None or given.size < FEWEST:
        raise SettingsError(
            f"{told(request.calibration)}: --max-drop needs {FEWEST} samples or more without --eval, of which it "
            "keeps a quarter to judge on (some hundred tell more)"
        )
    if given.whole:
        raise SettingsError(f"{told(request.calibration)}: --max-drop needs --eval where samples are whole runs")
    fitted = min(SAMPLES, given.size * 3 // 4)
    return replace(source, calibration=given.part(slice(None, fitted))), given.part(slice(fitted, None))


def dropping(request: Request, source: Source, samples: Dataset, folder: Path) -> Dropping:
    """How models are measured: against labels, or against what the unpruned model says."""
    samples = samples.in_float32() if is_coarse(source.model) else samples
    rows = fixed_batch(source.specs, samples)
    session = partial(session_of, folder=folder, provider=request.provider, threads=request.threads)

    if source.data is None:
        reference = said(all_outputs(session(source.model), samples, BATCH, rows), samples.size)

        def like(model: ModelProto) -> Likeness:
            return likeness(reference, all_outputs(session(model), samples, BATCH, rows))

        def unlike(model: ModelProto) -> Drop:
            found = like(model)
            return _drop(1 - found.main, None if found.each is None else 1 - found.each)

        return Dropping(like(source.model).measure, samples.size, known_to(np.zeros(samples.size)), unlike)

    def figures(model: ModelProto) -> Assessment:
        return assess(session(model), samples, BATCH, rows, source.metric)

    first = figures(source.model)

    def lower(model: ModelProto) -> Drop:
        now = figures(model)
        each = None if first.each is None or now.each is None else first.each - now.each
        return _drop(first.figures.main - now.figures.main, each)

    vouched = 0.0 if first.each is None else known_to(np.zeros(samples.size))
    return Dropping(first.figures.measure, samples.size, vouched, lower)


def _drop(value: float, each: Array | None) -> Drop:
    return Drop(value) if each is None else Drop(value, largest(each), known_to(each))

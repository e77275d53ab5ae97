"""Whether the result of a run still is of use: by labels, or by its likeness to the original."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import DataError, ModelError
from onnx_attnprune.evaluate.data import Dataset, fixed_batch
from onnx_attnprune.evaluate.likeness import KEPT, Likeness, likeness, said
from onnx_attnprune.evaluate.measure import BATCH
from onnx_attnprune.evaluate.metrics import Assessment, assess
from onnx_attnprune.evaluate.staging import is_coarse, session_of
from onnx_attnprune.graph import ModelProto
from onnx_attnprune.pipeline.budgets import Budgets
from onnx_attnprune.pipeline.request import Request
from onnx_attnprune.pipeline.samples import BATCH as ROWS
from onnx_attnprune.pipeline.samples import SAMPLES
from onnx_attnprune.pipeline.source import Source
from onnx_attnprune.recovery import Calibration, in_batches, outputs_of

MOST = 512  # samples that are looked at


@dataclass(frozen=True)
class Judge:
    """What results are judged by. `judge`: how like the original a model is, 1 being as good. samples, on: on how many,
    and for people which. fitting: what a repair may look at meanwhile, where the repair of the result has seen the
    samples (None: it has not). power: of the squared error of the outputs, with which a judgement falls."""

    judge: Callable[[ModelProto], Likeness]
    samples: int
    on: str
    fitting: Calibration | None
    power: float


def judge_of(request: Request, source: Source, budgets: Budgets, folder: Path) -> Judge | None:
    """By the labels, where there are some; else by samples that the repair has not seen, or the quarter of those that
    it has seen that a repair can do without. None where nothing can be compared: there is too little of it, or made-up
    samples do not suit the model."""
    if source.data is not None:
        return _by_labels(request, source, source.data, folder)
    try:
        given = source.calibration
        if given is not None and not given.whole and given.size >= SAMPLES + ROWS:
            rest = given.part(slice(SAMPLES, SAMPLES + MOST))
            feeds = {name: np.asarray(rows) for name, rows in rest.feeds.items()}
            judging = in_batches(feeds, fixed_batch(source.specs, rest) or ROWS, rest.name)
            return _by_likeness(source.model, judging, None, rest.name)
        fitting, judging = budgets.calibration.apart
        if fitting is judging:
            return None
        return _by_likeness(source.model, judging, fitting, budgets.calibration.source)
    except (DataError, ModelError):
        return None


def _by_labels(request: Request, source: Source, data: Dataset, folder: Path) -> Judge | None:
    part = data.drawn(MOST)
    part = part.in_float32() if is_coarse(source.model) else part
    rows = fixed_batch(source.specs, part)

    def found(model: ModelProto) -> Assessment:
        session = session_of(model, folder, provider=request.provider, threads=request.threads)
        return assess(session, part, BATCH, rows, source.metric)

    first = found(source.model)
    before = first.figures.main
    if not before > 0:
        return None

    def judge(model: ModelProto) -> Likeness:
        now = found(model)
        left = None if first.each is None or now.each is None else 1 - (first.each - now.each) / before
        return Likeness(f"share of {now.figures.measure} that is left", now.figures.main / before, left, KEPT)

    return Judge(judge, part.size, f"{part.size:,} samples of {part.name}", None, 0.5)


def _by_likeness(original: ModelProto, judging: Calibration, fitting: Calibration | None, name: str) -> Judge:
    """Raises DataError where the outputs say nothing of each sample, ModelError where the original does not run."""

    def outputs(model: ModelProto) -> dict[str, NDArray[Any]]:
        runs = outputs_of(model, judging.runs)
        try:
            return {n: np.concatenate([np.atleast_1d(run[n]) for run in runs]) for n in runs[0]}
        except ValueError as error:
            raise DataError("outputs of different runs have different shapes") from error

    reference = said(outputs(original), judging.samples)
    power = 0.5 if any(one.chooses for one in reference) else 1.0  # choices change in proportion to the error
    return Judge(
        lambda model: likeness(reference, outputs(model)), judging.samples, f"{judging.samples:,} of {name}",
        fitting, power,
    )  # fmt: skip  # in the order of the fields

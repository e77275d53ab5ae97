"""How a pruned model runs beside its original: outputs, drift, accuracy, and the limits that a user sets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from onnx_attnprune.errors import ModelError
from onnx_attnprune.evaluate.classification import Confusion
from onnx_attnprune.evaluate.data import Dataset, batches, fixed_batch
from onnx_attnprune.evaluate.drift import Drift, drift_at, drift_on
from onnx_attnprune.evaluate.equivalence import TOLERANCE, within
from onnx_attnprune.evaluate.feeds import random_feeds, shapes_text
from onnx_attnprune.evaluate.likeness import likeness, said
from onnx_attnprune.evaluate.measure import BATCH, Accuracy
from onnx_attnprune.evaluate.metrics import all_outputs, assess, scores_of
from onnx_attnprune.evaluate.selfcheck import in_float32_too
from onnx_attnprune.evaluate.staging import is_coarse, session_of
from onnx_attnprune.graph import Graph, ModelProto, float_type, index_limits
from onnx_attnprune.pipeline.replay import Replayed
from onnx_attnprune.pipeline.request import Clock
from onnx_attnprune.pipeline.source import Source
from onnx_attnprune.pipeline.verify_request import VerifyRequest
from onnx_attnprune.report import ROOM
from onnx_attnprune.report.verification import Check
from onnx_attnprune.runtime import Session

HARM = 3.0  # decibels: twice the energy of the error; less may be the chance of which samples the repair saw
MOST_NAMED = 3
REFITS = 10  # times the tolerance of rounding: a fit multiplies the rounding of what it is fitted on


@dataclass(frozen=True, slots=True)
class Judged:
    """What running both models tells."""

    checks: tuple[Check, ...]
    drift: Drift | None = None
    accuracy: Accuracy | None = None
    confusion: tuple[Confusion, Confusion] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Pair:
    """Both models, loaded, and what they are fed: samples (None: random inputs), of which `feeds` is the first run."""

    before: Session
    after: Session
    data: Dataset | None
    rows: int | None
    feeds: Mapping[str, NDArray[Any]]


def judge(
    request: VerifyRequest,
    source: Source,
    pruned: ModelProto,
    planned: Replayed,
    clock: Clock,
    folder: Path,
) -> Judged:
    """Run both models on the same samples. planned: what the plan told before.

    Raises ModelError where the original does not run, DataError where the labels do not fit its outputs. A pruned
    model that does not run is a failed check.
    """
    coarse = is_coarse(source.model)
    data = source.data or source.calibration
    notes: tuple[str, ...] = (f"{data.name}: {data.about}",) if data is not None and data.about else ()
    if coarse:
        data = None if data is None else data.in_float32()
        notes += ("run as float32: ONNX Runtime has no bfloat16 kernels here",)

    session = partial(session_of, folder=folder, provider=request.provider, threads=request.threads)
    with clock.stage("run"):
        before, rows = session(source.model), fixed_batch(source.specs, data)
        feeds = _feeds(source, data, rows, coarse)
        before.run(feeds)  # an original that does not run is an error, and no finding
        try:
            pair = _Pair(before, session(pruned), data, rows, feeds)
            found = _measured(request, source, pair)
        except ModelError as error:
            return Judged((Check("outputs", "failed", f"the pruned model does not run: {error}"),), notes=notes)
        if planned.redone is not None:
            found = replace(found, checks=(*found.checks, _redone(session(planned.redone), pair, source)))
        elif planned.cut is not None and data is not None and found.drift is not None:
            cut = drift_on(before, session(planned.cut), data, BATCH, rows)
            found = replace(found, checks=(*found.checks, _unharmed(found.drift, cut)))
    return replace(found, notes=notes)


def _feeds(source: Source, data: Dataset | None, rows: int | None, coarse: bool) -> Mapping[str, NDArray[Any]]:
    """What the models are fed first."""
    if data is not None:
        return next(batches(data, BATCH, rows)).feeds
    feeds = random_feeds(source.specs, source.shapes, 1, index_limits(Graph(source.model)))
    return {name: in_float32_too(array) for name, array in feeds.items()} if coarse else feeds


def _measured(request: VerifyRequest, source: Source, pair: _Pair) -> Judged:
    if pair.data is None:
        drift = drift_at(pair.before, pair.after, pair.feeds, f"random inputs ({shapes_text(source.shapes)})")
    else:
        drift = drift_on(pair.before, pair.after, pair.data, BATCH, pair.rows)
    checks = [_outputs(drift)]
    accuracy = confusion = None
    if source.data is not None and pair.data is not None:
        one, two = (assess(s, pair.data, BATCH, pair.rows, source.metric) for s in (pair.before, pair.after))
        accuracy = Accuracy(source.data.source, one.figures, None, two.figures)
        if one.confusion is not None and two.confusion is not None:
            confusion = one.confusion, two.confusion
    if request.max_drop is not None:
        checks.append(_drop(request.max_drop, pair, accuracy))
    if request.min_agreement is not None:
        checks.append(_agreement(request.min_agreement, drift, pair))
    return Judged(tuple(checks), drift, accuracy, confusion)


def _outputs(drift: Drift) -> Check:
    """Every output must be comparable at all: of the same shape and type, without new nan or infinity."""
    broken = [d.output for d in drift.outputs if d.max_abs == math.inf]
    if broken:
        told = f"another shape or type, or new nan or infinity, on {drift.inputs}: {', '.join(broken)}"
        return Check("outputs", "failed", told)
    return Check("outputs", "passed", f"same shapes and types, no new nan or infinity, on {drift.inputs}")


def _redone(redone: Session, pair: _Pair, source: Source) -> Check:
    """The repair done again must give a model that says the same, but for the rounding of what it was fitted on."""
    differences = drift_at(redone, pair.after, pair.feeds, "").outputs
    limit = REFITS * TOLERANCE[float_type(source.model)]
    worst = max(differences, key=lambda d: d.max_rel)
    how = f"{worst.output} is off by {worst.max_rel:.1e} of its largest value (limit {limit:.0e})"
    if within(differences, limit):
        return Check("repair", "passed", f"done again, it gives the same model: {how}")
    return Check("repair", "failed", f"done again (on these samples, if any), it gives another model: {how}")


def _unharmed(drift: Drift, cut: Drift) -> Check:
    """A repair must not take the outputs further away from the original's than the cut alone does."""
    energy = {d.output: d.sqnr_db for d in cut.outputs}
    worse = [d for d in drift.outputs if d.sqnr_db < energy[d.output] - HARM]
    if worse:
        figures = f"{energy[worse[0].output]:.1f} dB instead of {worse[0].sqnr_db:.1f} dB"
        return Check("repair", "failed", f"without it {worse[0].output} is nearer to the original's: {figures}")
    figures = ", ".join(f"{d.output} {energy[d.output]:.1f} to {d.sqnr_db:.1f} dB" for d in drift.outputs[:MOST_NAMED])
    return Check("repair", "passed", f"it took the outputs no further from the original's: {figures}")


# ---------------------------------------------------------------- limits
def _drop(limit: float, pair: _Pair, accuracy: Accuracy | None) -> Check:
    assert pair.data is not None  # as the request has made sure of
    if accuracy is not None:
        measure, drop = accuracy.before.measure, accuracy.before.main - accuracy.after.main
    else:
        one, two = (all_outputs(s, pair.data, BATCH, pair.rows) for s in (pair.before, pair.after))
        same = likeness(said(one, pair.data.size), two)
        measure, drop = same.measure, 1 - same.main
    kept = drop <= limit + ROOM  # nan, where the outputs are broken, keeps no limit
    told = f"{measure} drops by {drop:+.4f} (at most {limit:g})"
    return Check("largest drop", "passed" if kept else "failed", told)


def _agreement(limit: float, drift: Drift, pair: _Pair) -> Check:
    name = "least agreement"
    shares = {d.output: d.top1_agreement for d in drift.outputs if d.top1_agreement is not None}
    if not shares:
        # raises DataError where nothing holds scores
        scores_of(pair.before.run(pair.feeds), len(next(iter(pair.feeds.values()))))
        return Check(name, "failed", "the scores can't be compared")
    worst = min(shares, key=lambda output: shares[output])
    told = f"{worst}: the same top-1 in {shares[worst]:.2%} of {drift.samples:,} samples (at least {limit:.2%})"
    return Check(name, "passed" if shares[worst] >= limit - ROOM else "failed", told)

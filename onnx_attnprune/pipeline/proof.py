"""The finished model on its targets: the execution providers that the user names, and a phone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onnx_attnprune.deploy.usability import changes, usability
from onnx_attnprune.errors import ModelError
from onnx_attnprune.evaluate.bench import Model, Row, Setup, cases_of, measure_all
from onnx_attnprune.evaluate.measure import Given, Speed
from onnx_attnprune.graph import read_model
from onnx_attnprune.pipeline.request import Clock, Request
from onnx_attnprune.report import PhoneChange

NNAPI = "nnapi"


def bench_rows(request: Request, files: Sequence[Path], given: Given, clock: Clock) -> tuple[Row, ...]:
    """The original and the pruned model file in turns on the providers of `request.bench`; two rows each.

    What could not be measured is a row that says why.
    """
    if not request.bench:
        return ()
    with clock.stage("bench"):
        models = [Model(path, tuple(given.specs), given.limits) for path in files]
        cases = [case for model in models for case in cases_of(model, given.single, ())]
        rows = measure_all([cases], request.bench, Setup(request.threads, request.latency_seconds), clock.tell)
    names = (str(request.model), str(request.output))
    return tuple(replace(row, model=names[k % len(names)]) for k, row in enumerate(rows))


def speed_on(rows: Sequence[Row], provider: str) -> Speed | None:
    """What the rows say of both models on one provider; None where one of them was not measured."""
    found = [row for row in rows if row.provider == provider]
    if not found:
        return None
    before, after = found
    if before.latency is None or after.latency is None or after.speed_up is None:
        return None
    return Speed(provider, before.latency, after.latency, after.speed_up.factor, after.shapes)


def phone_change(
    deploy: object, request: Request, files: Sequence[Path], given: Given, clock: Clock
) -> tuple[PhoneChange | None, tuple[str, ...]]:
    """What NNAPI takes of the original and of the pruned model file where the plan is made for it (`deploy`).

    With it a note where ONNX Runtime's analysis takes one of them for no model: that says nothing against the result,
    which has run.
    """
    if deploy != NNAPI:
        return None, ()
    with clock.stage("phone"):
        try:
            before, after = (
                usability(read_model(path), given.single, str(name), files[1].parent)
                for path, name in zip(files, (request.model, request.output), strict=True)
            )
        except ModelError as error:
            return None, (f"what NNAPI takes is not known: {error}",)
    return PhoneChange(before, after, changes(before, after)), ()

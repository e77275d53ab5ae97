"""What a user asks of a verification."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.evaluate.feeds import Shape
from onnx_attnprune.evaluate.loading import DataSource
from onnx_attnprune.evaluate.own import MetricFunction
from onnx_attnprune.pipeline.request import Request
from onnx_attnprune.planning import Settings
from onnx_attnprune.runtime import check_threads


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What a user asks of a verification.

    plan: what was removed; without it nothing says what the pruned model must equal. recover: how it was repaired, to
    be done again on `calibration` (or the same made-up samples) and compared; "none": it must equal the masked
    original; None: nobody says. evaluation, calibration, preprocess, metric: see `Request`. max_drop: of accuracy on
    `evaluation`, or without labels of the share of `calibration` on which the largest output stays the same.
    min_agreement: the share of samples on which the largest score of an output must stay the same.
    """

    original: Path
    pruned: Path
    plan: Path | None = None
    recover: str | None = None
    evaluation: DataSource | None = None
    calibration: DataSource | None = None
    preprocess: str = ""
    metric: str | MetricFunction | None = None
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    provider: str = "cpu"
    threads: int = 0
    max_drop: float | None = None
    min_agreement: float | None = None
    report: Path | None = None
    command: str = ""

    def __post_init__(self) -> None:
        check_threads(self.threads)
        if self.recover is not None and self.plan is None:
            raise SettingsError("--recover needs --plan, which says what was removed before the repair")
        if self.max_drop is not None and not 0 <= self.max_drop < math.inf:
            raise SettingsError(f"--max-drop {self.max_drop:g}: must be 0 or more (0.01: a point of top-1)")
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            raise SettingsError(f"--min-agreement {self.min_agreement:g}: a share of the samples, from 0 to 1")
        for name, limit in (("--max-drop", self.max_drop), ("--min-agreement", self.min_agreement)):
            if limit is not None and self.evaluation is None and self.calibration is None:
                raise SettingsError(f"{name} needs samples: --eval, or --calibrate without labels")

    def as_run(self) -> Request:
        """The same as what is asked of a run that cuts the original by the plan again."""
        reports = () if self.report is None else (self.report,)
        return Request(
            self.original, None, Settings(), provider=self.provider, recover=self.recover or "none", shapes=self.shapes,
            evaluation=self.evaluation, calibration=self.calibration, preprocess=self.preprocess, metric=self.metric,
            from_plan=self.plan, reports=reports, latency_seconds=0, threads=self.threads, command=self.command,
        )  # fmt: skip  # some fields a line

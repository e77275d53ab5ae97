"""What a comparison of a pruned model with its original found, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from onnx_attnprune.evaluate.classification import Confusion
from onnx_attnprune.evaluate.drift import Drift
from onnx_attnprune.evaluate.measure import Accuracy
from onnx_attnprune.report.model import Stage

FORMAT, VERSION = "onnx-attnprune/verification", 1

Status = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, what came out of it, and the figures or the reason in a line."""

    name: str
    status: Status
    told: str


@dataclass(frozen=True, slots=True)
class Verification:
    """All that was checked and measured of a pruned model beside its original.

    `drift` and `accuracy` are None where the models could not be run side by side, or without labels; `confusion` is
    that of the original and of the pruned model, for classifiers. notes: what a user should know.
    """

    original: str
    pruned: str
    plan: str | None
    command: str
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    checks: tuple[Check, ...]
    drift: Drift | None
    accuracy: Accuracy | None
    confusion: tuple[Confusion, Confusion] | None
    stages: tuple[Stage, ...]
    notes: tuple[str, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status == "failed")

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain data for JSON, with its format and version."""
        return {"format": FORMAT, "version": VERSION, "passed": self.passed, **asdict(self)}

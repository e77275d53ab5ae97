"""What pruning gives to a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnx_attnprune.api.models import PathLike
from onnx_attnprune.errors import SettingsError
from onnx_attnprune.graph import ModelProto, read_model
from onnx_attnprune.report import Outputs, Report, check_outputs


@dataclass(frozen=True)
class Result:
    """A pruned model with its report and its plan.

    report: all figures, as dataclasses; `report.as_dict()` is the JSON report. plan: what was removed where, as the
    content of a plan file; `prune(..., from_plan=result.plan)` does the same again.
    """

    report: Report
    plan: Mapping[str, Any]
    _model: ModelProto | Path | None = field(repr=False)

    @property
    def model(self) -> ModelProto:
        """The pruned model, its weights within. Raises SettingsError after a dry run, which makes none."""
        if self._model is None:
            raise SettingsError("a dry run cuts no model")
        if isinstance(self._model, Path):
            object.__setattr__(self, "_model", read_model(self._model))  # read once, when it is asked for
        assert isinstance(self._model, ModelProto)
        return self._model

    def save(self, path: PathLike) -> Path:
        """Write the model, whole or not at all; over 2 GB the weights go to a file beside it. Raises OutputError."""
        target, model = Path(path), self.model
        check_outputs([target], [])
        with Outputs() as outputs:
            outputs.put_model(model, target)
            outputs.commit()
        return target

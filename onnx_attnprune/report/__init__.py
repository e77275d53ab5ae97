"""One `Report` of a run, and its texts."""

from onnx_attnprune.report.jsontext import to_json
from onnx_attnprune.report.model import (
    Accuracy,
    Change,
    GroupRow,
    KeptRow,
    Repair,
    Report,
    Speed,
    Stage,
)
from onnx_attnprune.report.terminal import render

__all__ = [
    "Accuracy", "Change", "GroupRow", "KeptRow", "Repair", "Report", "Speed", "Stage", "render", "to_json",
]  # fmt: skip  # one list

"""The error of each channel group against its width: as data, on a terminal, as a chart."""

from onnx_attnprune.report.sensitivity.chart import chart
from onnx_attnprune.report.sensitivity.model import GroupCurve, Sensitivity, Suggestion, finished, read_finished
from onnx_attnprune.report.sensitivity.terminal import render

__all__ = ["GroupCurve", "Sensitivity", "Suggestion", "chart", "finished", "read_finished", "render"]

"""Several runs on one model side by side: what each costs, what each keeps, and which none of the others beats."""

from onnx_attnprune.report.comparison.build import compare
from onnx_attnprune.report.comparison.model import Comparison, Front, Point, Run
from onnx_attnprune.report.comparison.page import page
from onnx_attnprune.report.comparison.read import read_report
from onnx_attnprune.report.comparison.terminal import render

__all__ = ["Comparison", "Front", "Point", "Run", "compare", "page", "read_report", "render"]

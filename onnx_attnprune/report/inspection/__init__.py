"""What a look at a network tells before anything is cut: groups with their costs, obstacles, a picture."""

from onnx_attnprune.report.inspection.build import look
from onnx_attnprune.report.inspection.model import GroupCost, Inspection, MemberRow, Obstacle, Share
from onnx_attnprune.report.inspection.page import page
from onnx_attnprune.report.inspection.picture import draw
from onnx_attnprune.report.inspection.terminal import render

__all__ = ["GroupCost", "Inspection", "MemberRow", "Obstacle", "Share", "draw", "look", "page", "render"]

"""Runs the rules over a graph: channel groups, and the reason for every axis that is kept."""

from onnx_attnprune.grouping.inputs import GRAPH_INPUT, UNSEEN
from onnx_attnprune.grouping.model import Analysis, Group, Kept, Member, Slot, alive_of
from onnx_attnprune.grouping.run import GRAPH_OUTPUT, NO_RULE, analyze
from onnx_attnprune.grouping.streams import residual_streams

__all__ = [
    "GRAPH_INPUT", "GRAPH_OUTPUT", "NO_RULE", "UNSEEN", "Analysis", "Group", "Kept", "Member", "Slot", "alive_of",
    "analyze", "residual_streams",
]  # fmt: skip  # a list of names

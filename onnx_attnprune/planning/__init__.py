"""Scores, budget and granularity to a `Plan`."""

from onnx_attnprune.planning.plan import Plan, PlanFile, PlannedGroup, read_plan, to_json
from onnx_attnprune.planning.select import choose
from onnx_attnprune.planning.settings import HEADS, SCOPES, Settings

__all__ = ["HEADS", "SCOPES", "Plan", "PlanFile", "PlannedGroup", "Settings", "choose", "read_plan", "to_json"]

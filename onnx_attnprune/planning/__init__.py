"""Scores, budget and granularity to a `Plan`."""

from onnx_attnprune.planning.budget import Kept, Left, Path, Uniform, first_within, grown, removed_by
from onnx_attnprune.planning.budget_shares import (
    Losses,
    Term,
    allocate,
    channel_terms,
    mac_terms,
    time_terms,
    weight_terms,
)
from onnx_attnprune.planning.plan import Plan, PlanFile, PlannedGroup, read_plan, to_json
from onnx_attnprune.planning.select import choose, emptied, refuse_groupless
from onnx_attnprune.planning.settings import (
    AMOUNTS,
    DEPLOYS,
    HEADS,
    SCOPES,
    STREAMS,
    Heads,
    Scope,
    Settings,
    Streams,
    option,
)

__all__ = [
    "AMOUNTS", "DEPLOYS", "HEADS", "SCOPES", "STREAMS", "Heads", "Kept", "Left", "Losses", "Path", "Plan", "PlanFile",
    "PlannedGroup", "Scope", "Settings", "Streams", "Term", "Uniform", "allocate", "channel_terms", "choose", "emptied",
    "first_within", "grown", "mac_terms", "option", "read_plan", "refuse_groupless", "removed_by", "time_terms",
    "to_json", "weight_terms",
]  # fmt: skip  # a list of names

"""Repair of a pruned model without training; `RECOVERIES` lists the methods, `recover` runs one by name."""

from onnx_attnprune.recovery import compensate as compensate  # registers "mean"
from onnx_attnprune.recovery.registry import RECOVERIES, Recovery, recover

__all__ = ["RECOVERIES", "Recovery", "recover"]

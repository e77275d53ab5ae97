"""Repair of a pruned model without training: `RECOVERIES` lists the methods, `recover` runs one by name."""

from onnx_attnprune.recovery import compensate, layouts, least_squares, through
from onnx_attnprune.recovery.calibration import Calibration, Inputs, in_batches, procedural
from onnx_attnprune.recovery.consumers import consumers_of
from onnx_attnprune.recovery.losses import losses_of
from onnx_attnprune.recovery.ranges import likely_range
from onnx_attnprune.recovery.registry import RECOVERIES, Recovery, recover

__all__ = [
    "RECOVERIES", "Calibration", "Inputs", "Recovery", "consumers_of", "in_batches", "likely_range", "losses_of",
    "procedural", "recover",
]  # fmt: skip  # a list of names

# Importing a file registers what it holds: methods, and what carries means through operators.
METHODS = (compensate, least_squares)
OPERATORS = (through, layouts)

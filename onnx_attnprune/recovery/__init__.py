"""Repair of a pruned model without training: `RECOVERIES` lists the methods, `recover` runs one by name."""

from onnx_attnprune.recovery import compensate, energies, layouts, least_squares, mix, obs, paired, sequential, through
from onnx_attnprune.recovery.calibration import UNSEEN, Calibration, Inputs, in_batches, procedural
from onnx_attnprune.recovery.consumers import consumers_of, followers_of
from onnx_attnprune.recovery.curves import SHARES, Curve, curves_for, widest_cut
from onnx_attnprune.recovery.gathered import Gathered
from onnx_attnprune.recovery.guard import guarded, outputs_of
from onnx_attnprune.recovery.losses import Probe, losses_of
from onnx_attnprune.recovery.ranges import likely_range
from onnx_attnprune.recovery.reach import operand_sizes, within_reach
from onnx_attnprune.recovery.registry import DEFAULT_MEMORY, RECOVERIES, Limits, Recovery, recover
from onnx_attnprune.recovery.sampled import samples_of
from onnx_attnprune.recovery.sounds import SHORTEST, waveforms_of
from onnx_attnprune.recovery.spent import Spent
from onnx_attnprune.recovery.states import handed_on, states_of

__all__ = [
    "DEFAULT_MEMORY", "RECOVERIES", "SHARES", "SHORTEST", "UNSEEN", "Calibration", "Curve", "Gathered", "Inputs",
    "Limits", "Probe", "Recovery", "Spent", "consumers_of", "curves_for", "followers_of", "guarded", "handed_on",
    "in_batches", "likely_range", "losses_of", "operand_sizes", "outputs_of", "procedural", "recover", "samples_of",
    "states_of", "waveforms_of", "widest_cut", "within_reach",
]  # fmt: skip  # a list of names

# Importing a file registers what it holds: methods, criteria that go by samples, what carries means through operators.
METHODS = (compensate, mix, least_squares, sequential, paired)
CRITERIA = (energies, obs)
OPERATORS = (through, layouts)

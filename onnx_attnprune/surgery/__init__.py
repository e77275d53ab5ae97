"""Applies removals to a copy of a model: slices constants, restates sizes. Knows no operator."""

from onnx_attnprune.surgery.constants import Cuts, Removed, Use, cuts_of, mask, named_cuts, prune, silenced, sliced
from onnx_attnprune.surgery.means import release

__all__ = ["Cuts", "Removed", "Use", "cuts_of", "mask", "named_cuts", "prune", "release", "silenced", "sliced"]

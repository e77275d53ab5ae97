"""The oracle on every run: the pruned model computes what the original computes with the removed channels silenced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from onnx_attnprune.errors import ModelError, SelfCheckError
from onnx_attnprune.evaluate.equivalence import TOLERANCE, Difference, compare, within
from onnx_attnprune.graph import interface_change, structural_fault
from onnx_attnprune.runtime import Optimisation, Session

if TYPE_CHECKING:
    import onnx

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """What was compared, and how close it came: `differences` per output, each at most `tolerance` (relative to the
    largest value of the masked original); `inputs` says what the models were fed."""

    differences: tuple[Difference, ...]
    tolerance: float
    inputs: str

    @property
    def largest(self) -> float:
        """The largest relative difference over the outputs."""
        return max((d.max_rel for d in self.differences), default=0.0)


def check_structure(original: onnx.ModelProto, pruned: onnx.ModelProto) -> None:
    """Same interface, and onnx.checker (full check) has no new complaint. Raises SelfCheckError."""
    change = interface_change(original, pruned)
    if change:
        raise SelfCheckError(f"self-check: {change}; nothing was written (please report this)")
    fault = structural_fault(pruned)
    if fault and not structural_fault(original):
        raise SelfCheckError(f"self-check: onnx.checker rejects the pruned model: {fault}; nothing was written")


def check_equivalence(
    masked: onnx.ModelProto, pruned: onnx.ModelProto, feeds: Feeds, weights: str, inputs: str
) -> SelfCheck:
    """Run both with the optimiser off and compare every output.

    `weights`: name of the coarsest float type among the weights, whose tolerance holds for all outputs. Raises
    SelfCheckError where an output differs, ModelError where ONNX Runtime can't run the original.
    """
    reference = Session(masked, optimisation=Optimisation.NONE).run(feeds)
    try:
        got = Session(pruned, optimisation=Optimisation.NONE).run(feeds)
    except ModelError as error:
        raise SelfCheckError(f"self-check: the pruned model does not run: {error}; nothing was written") from None
    tolerance = max(TOLERANCE.get(weights, 0.0), TOLERANCE["float32"] if weights not in TOLERANCE else 0.0)
    differences = compare(list(reference), reference, got)
    if not within(differences, tolerance):
        worst = max(differences, key=lambda d: d.max_rel)
        raise SelfCheckError(
            f"self-check: output {worst.output!r} is off the masked original by {worst.max_rel:.2g} of its largest "
            f"value (at most {tolerance:.2g} is rounding); nothing was written (please report this)"
        )
    return SelfCheck(differences, tolerance, inputs)

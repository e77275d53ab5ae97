"""Moments of what the unpruned network's consumers read, gathered once for the criterion and the losses of a plan."""

from __future__ import annotations

from collections.abc import Iterable

from onnx_attnprune.graph import ModelProto
from onnx_attnprune.recovery.calibration import Calibration
from onnx_attnprune.recovery.jobs import Views
from onnx_attnprune.recovery.least_squares import AllMoments, gather


class Gathered:
    """Samples, and the moments of what one unpruned network's consumers read of them. Those that were asked for last
    are held, no others: whoever asks for the same needs no run of the network, and no more memory is taken by all that
    ask than by the one who asks for most.

    calibration: all samples. fitting, judging: those that moments are of, and the others (see `Calibration.apart`).
    """

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration
        self.fitting, self.judging = calibration.apart
        self._held: AllMoments = {}

    def moments(self, model: ModelProto, sources: Iterable[Views]) -> AllMoments:
        """For each source and group the moments of its rows, see `gather`. `model`: the network, or what it is without
        the branches that no sample takes. Raises ModelError where it does not run on the samples."""
        wanted = list(dict.fromkeys(sources))
        known = {views: self._held[views] for views in wanted if views in self._held}
        self._held = {}  # frees the others before there are more
        new = gather(model, [views for views in wanted if views not in known], self.fitting)
        self._held = {**known, **new}
        return self._held

    def forget(self) -> None:
        """Hold none any more."""
        self._held = {}

"""The cut of a run, and the proof that it is exact."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from onnx_attnprune import surgery
from onnx_attnprune.errors import FeedError
from onnx_attnprune.evaluate.feeds import random_feeds, shapes_text
from onnx_attnprune.evaluate.selfcheck import SelfCheck, check_equivalence, check_structure
from onnx_attnprune.graph import ModelProto, float_type, index_limits
from onnx_attnprune.pipeline.choice import Work
from onnx_attnprune.pipeline.request import Clock
from onnx_attnprune.pipeline.source import Shapes, Source

HEAVY = 5_000_000_000  # MACs of one sample, from which on the self-check runs on one sample only


def cut(source: Source, work: Work, clock: Clock, folder: Path) -> tuple[ModelProto, SelfCheck]:
    """The model without what `work` removes, checked. Raises SelfCheckError, or FeedError (see `proven`)."""
    with clock.stage("cut"):
        pruned = surgery.prune(work.analysis, work.alive)
    with clock.stage("self-check"):
        check_structure(source.model, pruned)
        return pruned, proven(source, work, pruned, folder)


def proven(source: Source, work: Work, pruned: ModelProto, folder: Path) -> SelfCheck:
    """The comparison of a cut model with the masked original.

    Raises SelfCheckError where they differ, FeedError where the original does not run on what it is fed.
    """
    feeds, told = _check_feeds(source, work)
    try:
        return check_equivalence(
            lambda: surgery.mask(work.analysis, work.alive), pruned, feeds, float_type(source.model), told, folder
        )
    except FeedError as error:
        raise FeedError(f"{error} (fed with {told}; give sizes that it takes with --shape)") from None


def check_shapes(work: Work) -> Shapes:
    """The input shapes that models are compared at."""
    heavy = work.analysis.macs(work.single) > HEAVY
    return work.sample if heavy else work.shapes


def _check_feeds(source: Source, work: Work) -> tuple[Mapping[str, NDArray[Any]], str]:
    """What the self-check runs on: the user's samples where there are any, else random inputs; and its name."""
    shapes, given = check_shapes(work), source.data or source.calibration
    if given is None:
        feeds = random_feeds(source.specs, shapes, 0, index_limits(work.analysis.graph))
        return feeds, f"random inputs ({shapes_text(shapes)})"
    taken = given.first(shapes)
    return taken, f"given samples ({shapes_text({name: array.shape for name, array in taken.items()})})"

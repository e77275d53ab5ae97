"""A plan carried out again on the original, and a pruned model beside what that gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnx_attnprune import surgery
from onnx_attnprune.errors import SelfCheckError
from onnx_attnprune.evaluate.selfcheck import NOTHING, SelfCheck
from onnx_attnprune.graph import Altered, Mismatch, ModelProto, altered_operands
from onnx_attnprune.pipeline.choice import Work, choose_channels
from onnx_attnprune.pipeline.cut import cut, proven
from onnx_attnprune.pipeline.repair import repair
from onnx_attnprune.pipeline.request import Clock, Request
from onnx_attnprune.pipeline.source import Source
from onnx_attnprune.recovery import operand_sizes, within_reach
from onnx_attnprune.report.verification import Check


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the plan tells of a pruned model that was repaired, if it was.

    cut: what the plan leaves of the original, before any repair. redone: the same after the repair that the user names.
    """

    checks: tuple[Check, ...]
    cut: ModelProto | None = None
    redone: ModelProto | None = None


def replay(
    run: Request, recover: str | None, source: Source, pruned: ModelProto, clock: Clock, folder: Path
) -> Replayed:  # fmt: skip  # two lines
    """Cut the original by the plan of `run` again, prove that cut, and compare the pruned model with it.

    recover: how the pruned model was repaired; None where nobody says. Raises PlanError for a plan that does not belong
    to the original, FeedError where the original does not run on the plan's sizes.
    """
    if source.plan is None:
        return Replayed((Check("equivalence", "skipped", "no --plan says what was removed"),))
    work = choose_channels(run, source, source.shapes, clock)
    try:
        again, proof = cut(source, work, clock, folder)
    except SelfCheckError as error:
        return Replayed((Check("surgery", "failed", f"what the plan says can't be cut exactly: {_reason(error)}"),))
    told = f"the original, cut again by the plan, equals the masked original {_how(proof)}"
    exact = Check("surgery", "passed", told)
    with clock.stage("compare"):
        try:
            altered, released = _changes(again, pruned, work)
        except Mismatch as difference:
            fault = Check("structure", "failed", f"not what the plan leaves: {difference}")
            skipped = Check("equivalence", "skipped", "the pruned model is not what the plan leaves")
            return Replayed((exact, fault, skipped))
    told = f"{len(again.graph.node):,} nodes and their operands are what the plan leaves"
    checks = exact, Check("structure", "passed", told)
    if recover == "none" or not (altered or released):
        with clock.stage("self-check"):
            return Replayed((*checks, _equivalence(source, work, pruned, altered, folder)))
    repaired = _repaired(altered, released)
    if recover is None:
        return Replayed((*checks, repaired), again)
    with clock.stage("repair"):
        return Replayed((*checks, repaired), redone=repair(run, source, work, again).model)


def _changes(again: ModelProto, pruned: ModelProto, work: Work) -> tuple[tuple[Altered, ...], bool]:
    """What the pruned model has other numbers for than the cut, and whether its means over channels are let go, as a
    repair does. Raises Mismatch where anything else is different."""
    try:
        altered = altered_operands(again, pruned)
        _refuse_foreign(altered, work)
        return altered, False
    except Mismatch:
        released = ModelProto()
        released.CopyFrom(again)
        surgery.release(released, work.analysis, work.alive)
        if len(released.graph.node) == len(again.graph.node):
            raise
    altered = altered_operands(released, pruned)
    _refuse_foreign(altered, work)
    return altered, True


def _repaired(altered: tuple[Altered, ...], released: bool) -> Check:
    nodes = len({a.node for a in altered})
    told = f"repaired: {len(altered)} weights and biases of {nodes} nodes were refitted, "
    told += "means over channels were let go, " if released else ""
    told += "and nothing else; a repaired model does not equal the masked original"
    return Check("equivalence", "skipped", told)


def _refuse_foreign(altered: tuple[Altered, ...], work: Work) -> None:
    """Raise Mismatch for numbers that no repair would have changed, or not in this way."""
    reach, sizes = within_reach(work.analysis, work.alive), operand_sizes(work.analysis, work.alive)
    for a in altered:
        told = f"operand {a.place} ({a.tensor!r}) of the node that makes {a.node!r}"
        if a.reordered:
            raise Mismatch(f"{told} holds the same numbers in another order")
        if a.node not in reach:
            raise Mismatch(f"{told} holds other numbers, and no repair reaches it")
        size = sizes.get((a.node, a.place))
        if size is not None and not a.added and len(size) == len(a.dims) > 1 and size != a.dims:
            raise Mismatch(f"{told} has the shape {list(a.dims)} instead of {list(size)}")


def _equivalence(
    source: Source, work: Work, pruned: ModelProto, altered: tuple[Altered, ...], folder: Path
) -> Check:  # fmt: skip  # two lines
    try:
        proof = proven(source, work, pruned, folder)
    except SelfCheckError as error:
        changed = f"; {len(altered)} operands hold other numbers, as after a repair" if altered else ""
        return Check("equivalence", "failed", f"{_reason(error)}{changed}")
    return Check("equivalence", "passed", f"pruned == masked original {_how(proof)}")


def _how(proof: SelfCheck) -> str:
    return f"on {proof.inputs}: off by at most {proof.largest:.1e} of the largest value (limit {proof.tolerance:.0e})"


def _reason(error: SelfCheckError) -> str:
    """What the check found, without what a run that prunes says of it."""
    return str(error).removeprefix("self-check: ").partition(f"; {NOTHING}")[0]

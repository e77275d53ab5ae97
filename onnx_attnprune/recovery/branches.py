"""Networks that branch the same way on all samples, as the samples run through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onnx_attnprune.graph import ModelProto, Taken, ifs_of, inlined, with_outputs
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.calibration import Calibration, Feeds, runnable
from onnx_attnprune.runtime import Session


def branches_of(model: ModelProto, runs: Sequence[Feeds]) -> Taken:
    """Which branch all runs take, of each If of the main graph and of those inside of taken branches.

    Ifs whose branch differs from run to run are left out. Raises ModelError where the model does not run.
    """
    model, runs = runnable(model, runs)
    taken: dict[str, bool] = {}
    seen: set[str] = set()
    while new := [n for n in ifs_of(inlined(model, taken)) if n.output[0] not in seen]:
        names = list(dict.fromkeys(n.input[0] for n in new))
        session = Session(with_outputs(inlined(model, taken), names))
        found = [session.run(feeds, names) for feeds in runs]
        for node in new:
            seen.add(node.output[0])
            ways = {bool(out[node.input[0]].reshape(-1)[0]) for out in found}
            if len(ways) == 1:
                taken[node.output[0]] = ways.pop()
    return taken


def taken_of(analysis: Analysis, calibration: Calibration) -> Taken:
    """The same for the analysed network, at no cost where it has no If."""
    model = analysis.graph.model
    return branches_of(model, calibration.runs) if ifs_of(model) else {}


def straightened(analysis: Analysis, taken: Taken) -> Analysis:
    """The analysis of the network without its branches: every tensor of a taken one is of the main graph."""
    if not taken:
        return analysis
    return replace(analysis, graph=analysis.graph.like(inlined(analysis.graph.model, taken)))

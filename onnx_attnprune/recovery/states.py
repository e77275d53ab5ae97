"""States that a network is handed back from run to run: how they are found, and made-up runs that hand them on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from onnx_attnprune.graph import ModelProto, Signature
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.ops import FLOATS
from onnx_attnprune.recovery.calibration import Calibration, Feeds, runnable
from onnx_attnprune.runtime import Session


def states_of(analysis: Analysis) -> dict[str, str]:
    """Float inputs whose first axis counts no samples, with the output of the same shape whose name begins alike."""
    inputs, outputs = analysis.graph.inputs, analysis.graph.outputs
    batches = {i.dims[0] for i in inputs if i.dims and isinstance(i.dims[0], str)}
    found: dict[str, str] = {}
    for one in inputs if len(inputs) > 1 else ():
        fixed = one.dtype in FLOATS and len(one.dims or ()) > 1 and isinstance((one.dims or (None,))[0], int)
        behind = fixed and any(d in batches or not isinstance(d, int) or d == 1 for d in (one.dims or ())[1:])
        for other in outputs if behind else ():
            if other.name.startswith(one.name) and _alike(one, other):
                found.setdefault(one.name, other.name)
    return found


def _alike(one: Signature, other: Signature) -> bool:
    if one.dtype != other.dtype or one.dims is None or other.dims is None or len(one.dims) != len(other.dims):
        return False
    pairs = zip(one.dims, other.dims, strict=True)
    return all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))


def handed_on(model: ModelProto, calibration: Calibration, states: Mapping[str, str]) -> Calibration:
    """The same runs, each state what the run before has left, the first one as it is.

    Raises ModelError where the model does not run on them.
    """
    if not states:
        return calibration
    model, runs = runnable(model, calibration.runs)
    session = Session(model)
    found: list[Feeds] = []
    left: Feeds = {}
    for feeds in runs:
        feeds = {**feeds, **left}
        found.append(feeds)
        out = session.run(feeds, list(states.values()))
        left = {a: np.asarray(out[b]) for a, b in states.items() if out[b].shape == feeds[a].shape}
    return replace(calibration, runs=tuple(found))

"""The registry of criteria that go by samples, and what hands their judgement down to `scoring`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.branches import straightened, taken_of
from onnx_attnprune.recovery.gathered import Gathered
from onnx_attnprune.recovery.rows import Array
from onnx_attnprune.scoring import SAMPLED, Samples

# By group id, for every channel, at what error the group's consumers end once it goes, all less important ones gone
# before: [channels], as a share of what a consumer gives (of several consumers the sum of their shares).
Errors = dict[int, Array]
Method = Callable[[Analysis, Mapping[int, BoolArray], Gathered], Errors]
METHODS: dict[str, Method] = {}


def sampled(name: str) -> Callable[[Method], Method]:
    """Register a criterion by a name of `scoring.SAMPLED`. Raises ValueError for other names and for a taken one."""

    def register(method: Method) -> Method:
        if name in METHODS:
            raise ValueError(f"there is a criterion {name!r} already: {METHODS[name].__name__}")
        if name not in SAMPLED:
            raise ValueError(f"scoring knows no criterion {name!r} that goes by samples")
        METHODS[name] = method
        return method

    return register


def samples_of(analysis: Analysis, gathered: Gathered) -> Samples:
    """What `scoring` judges the channels of this analysis by; the unpruned network is judged only once."""
    analysis = straightened(analysis, taken_of(analysis, gathered.calibration))
    whole: dict[str, Errors] = {}

    def judge(name: str, alive: Mapping[int, BoolArray]) -> Errors:
        if alive:
            return METHODS[name](analysis, alive, gathered)
        if name not in whole:
            whole[name] = METHODS[name](analysis, alive, gathered)
        return whole[name]

    return Samples(gathered.calibration.source, judge)


def running(costs: Array) -> Array:
    """What each channel and all cheaper ones cost together, [channels]."""
    out = np.empty(len(costs))
    order = np.argsort(costs, kind="stable")
    out[order] = np.cumsum(costs[order])
    return out

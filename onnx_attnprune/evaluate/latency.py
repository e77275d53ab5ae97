"""Latency of two models, measured side by side so that what else the machine does falls on both."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.runtime import Session

Array = NDArray[Any]

_FEWEST_ROUNDS = 5  # of a model so slow that one run takes longer than the whole time: still a median of something
_TICK = 1e-9  # seconds; no run is shorter, whatever the clock says


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one run: median, 90th percentile and smallest of `runs`; `spread` is IQR over median."""

    median_ms: float
    p90_ms: float
    min_ms: float
    spread: float
    runs: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """From at least one measured run."""
        low, median, high, p90 = np.percentile(np.asarray(seconds) * 1e3, [25, 50, 75, 90])
        return cls(float(median), float(p90), min(seconds) * 1e3, float((high - low) / median), len(seconds))


def measure_pair(
    session_a: Session,
    session_b: Session,
    feeds: Mapping[str, Array],
    *,
    min_seconds: float = 1.0,
    max_runs: int = 200,
    warmup: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Latency, Latency, float]:
    """The latency of each session on `feeds`, and how many times as fast B is as A (above 1: B is faster).

    After `warmup` runs of each that do not count, one run of A and one of B make a round, and the rounds alternate
    their order. Rounds go on until A and B have each run for `min_seconds`, but no fewer than 5 nor more than
    `max_runs` of them (fewer than 5 only if `max_runs` is). The speed-up is the median over rounds of A's time by B's:
    whatever slows down the machine for a while slows down both parts of a round. `clock` returns seconds.

    Raises SettingsError for settings that measure nothing, ModelError when a run fails.
    """
    if max_runs < 1 or warmup < 0 or not min_seconds >= 0:
        raise SettingsError(f"can't measure {max_runs} runs in {min_seconds} s after {warmup} to warm up")
    sessions = (session_a, session_b)
    for _ in range(warmup):
        for session in sessions:
            session.run(feeds)
    seconds: tuple[list[float], list[float]] = ([], [])
    fewest = min(_FEWEST_ROUNDS, max_runs)
    for turn in range(max_runs):
        if turn >= fewest and min(map(sum, seconds)) >= min_seconds:
            break
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            start = clock()
            sessions[which].run(feeds)
            seconds[which].append(max(clock() - start, _TICK))
    ratios = np.asarray(seconds[0]) / np.asarray(seconds[1])
    return Latency.of(seconds[0]), Latency.of(seconds[1]), float(np.median(ratios))

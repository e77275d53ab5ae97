"""Latency of models, measured in turns so that what else the machine does falls on all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.runtime import Session

Array = NDArray[Any]
Verdict = Literal["faster", "slower", "same", "unclear"]
Run = Callable[[], object]

_FEWEST_ROUNDS = 5  # of a model so slow that one run takes longer than the whole time: still a median of something
_TICK = 1e-9  # seconds; no run is shorter, whatever the clock says
ODDS = 100  # to 1 that the interval of a speed-up holds the true one, where rounds are independent
INDISTINCT = 0.02  # speed-ups this near to 1 say nothing: two sessions of one model differ by as much


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


@dataclass(frozen=True)
class SpeedUp:
    """How many times as fast as another model (above 1: faster): the median over rounds, which lies in [low, high].

    The interval is that of the sign test: all but one in `ODDS` such intervals hold the true median, whatever the
    distribution of the rounds. Both ends are None where there are too few rounds for one.
    """

    factor: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, theirs: Sequence[float], its: Sequence[float]) -> SpeedUp:
        """From the seconds of the other model and of this one in the same rounds."""
        ratios = np.sort(np.asarray(theirs) / np.asarray(its))
        k = _outside(len(ratios))
        low, high = (None, None) if k is None else (float(ratios[k]), float(ratios[len(ratios) - 1 - k]))
        return cls(float(np.median(ratios)), low, high)

    @property
    def verdict(self) -> Verdict:
        """What the figures allow to say; "same": any difference is within the noise; "unclear": too few rounds."""
        if self.low is None or self.high is None:
            return "unclear"
        if self.low > 1 + INDISTINCT:
            return "faster"
        return "slower" if self.high < 1 / (1 + INDISTINCT) else "same"


def _outside(rounds: int) -> int | None:
    """How many of the sorted rounds lie on either side of the interval; None where even the whole range is too little.

    The true median lies under the k + 1 smallest of n with a chance of sum(C(n, i), i <= k) / 2^n.
    """
    chance, term, k = 0, 1, -1  # of 2^rounds; whole numbers, which floats could not hold
    while 2 * (chance + term) * ODDS <= 2**rounds:
        k += 1
        chance += term
        term = term * (rounds - k) // (k + 1)
    return None if k < 0 else k


def in_turns(
    runs: Sequence[Run],
    *,
    min_seconds: float = 1.0,
    max_runs: int = 200,
    warmup: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[tuple[float, ...], ...]:
    """Seconds that each of `runs` took in each round.

    After `warmup` runs of each that do not count, every run once makes a round, and each round begins with the next
    one, so that all of them stand equally often in each place. Rounds go on until each has run for `min_seconds`, but
    no fewer than 5 nor more than `max_runs` of them (fewer than 5 only if `max_runs` is). `clock` returns seconds.

    Raises SettingsError for settings that measure nothing, ModelError when a run fails.
    """
    if max_runs < 1 or warmup < 0 or not min_seconds >= 0:
        raise SettingsError(f"can't measure {max_runs} runs in {min_seconds} s after {warmup} to warm up")
    for _ in range(warmup):
        for run in runs:
            run()
    seconds: tuple[list[float], ...] = tuple([] for _ in runs)
    spent = [0.0] * len(runs)
    fewest = min(_FEWEST_ROUNDS, max_runs)
    for turn in range(max_runs):
        if turn >= fewest and min(spent) >= min_seconds:
            break
        for place in range(len(runs)):
            which = (place + turn) % len(runs)
            start = clock()
            runs[which]()
            seconds[which].append(max(clock() - start, _TICK))
            spent[which] += seconds[which][-1]
    return tuple(map(tuple, seconds))


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

    Settings and errors are those of `in_turns`. The speed-up is the median over rounds of A's time by B's: whatever
    slows down the machine for a while slows down both parts of a round.
    """
    runs = [session.prepared(feeds) for session in (session_a, session_b)]
    a, b = in_turns(runs, min_seconds=min_seconds, max_runs=max_runs, warmup=warmup, clock=clock)
    return Latency.of(a), Latency.of(b), SpeedUp.of(a, b).factor

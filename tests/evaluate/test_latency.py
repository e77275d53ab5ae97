"""The order of the runs and the figures, with a clock that the fake sessions turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import numpy as np
import pytest
from onnx import parser

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.evaluate.latency import INDISTINCT, Latency, SpeedUp, in_turns, measure_pair
from onnx_attnprune.runtime import Session


class Watch:
    def __init__(self) -> None:
        self.now = 0.0
        self.log = ""

    def read(self) -> float:
        return self.now


class Fake:
    def __init__(self, name: str, watch: Watch, seconds: Iterator[float]) -> None:
        self.name, self.watch, self.seconds = name, watch, seconds

    def prepared(self, feeds: Any) -> Callable[[], None]:
        return self.run

    def run(self) -> None:
        self.watch.now += next(self.seconds)
        self.watch.log += self.name


def measure(a: Iterator[float], b: Iterator[float], **settings: Any) -> tuple[Latency, Latency, float, str]:
    watch = Watch()
    pair = Fake("a", watch, a), Fake("b", watch, b)
    result = measure_pair(*pair, {}, clock=watch.read, **settings)
    return (*result, watch.log)


def test_rounds_alternate_after_the_warmup() -> None:
    *_, log = measure(repeat(1.0), repeat(1.0), max_runs=4, warmup=2)
    assert log == "abab" + "abbaabba"


def test_each_of_three_stands_in_each_place() -> None:
    watch = Watch()
    runs = [Fake(name, watch, repeat(1.0)).run for name in "abc"]
    seconds = in_turns(runs, max_runs=4, warmup=1, clock=watch.read)
    assert watch.log == "abc" + "abcbcacababc"
    assert seconds == ((1.0,) * 4,) * 3


def test_runs_until_both_had_their_time() -> None:
    slow, fast, speedup, _ = measure(repeat(0.5), repeat(0.25), min_seconds=2.0, warmup=0)
    assert (slow.runs, fast.runs) == (8, 8)
    assert speedup == pytest.approx(2.0)
    assert (slow.median_ms, fast.median_ms) == (pytest.approx(500), pytest.approx(250))


def test_a_slow_model_gets_five_rounds_and_a_fast_one_no_more_than_allowed() -> None:
    slow, *_ = measure(repeat(60.0), repeat(60.0), warmup=0)
    assert slow.runs == 5
    fast, *_ = measure(repeat(1e-6), repeat(1e-6), max_runs=7, warmup=0)
    assert fast.runs == 7
    single, *_ = measure(repeat(60.0), repeat(60.0), max_runs=1, warmup=0)
    assert single.runs == 1


def test_warmup_runs_do_not_count() -> None:
    a, *_ = measure(iter([100.0, *[1.0] * 5]), iter([100.0, *[1.0] * 5]), max_runs=5, warmup=1)
    assert a.median_ms == pytest.approx(1000)
    assert a.spread == pytest.approx(0)


def test_a_slow_spell_of_the_machine_does_not_move_the_speedup() -> None:
    spell = [1.0, 1.0, 9.0, 9.0, 9.0]
    a, _, speedup, _ = measure(iter(spell), iter([second / 3 for second in spell]), max_runs=5, warmup=0)
    assert a.median_ms == pytest.approx(9000)
    assert speedup == pytest.approx(3.0)


def test_the_speedup_is_the_median_of_the_rounds_not_the_ratio_of_the_medians() -> None:
    *_, speedup, _ = measure(iter([1.0, 2.0, 8.0]), iter([1.0, 4.0, 4.0]), max_runs=3, warmup=0)
    assert speedup == pytest.approx(1.0)  # the medians would say 0.5


def test_figures_of_known_times() -> None:
    latency = Latency.of([float(second) for second in range(1, 12)])
    assert latency == Latency(
        median_ms=pytest.approx(6000),
        p90_ms=pytest.approx(10000),
        min_ms=pytest.approx(1000),
        spread=pytest.approx(5 / 6),
        runs=11,
    )


# ---------------------------------------------------------------- speed-ups
def speed_up(*ratios: float) -> SpeedUp:
    return SpeedUp.of([*ratios], [1.0] * len(ratios))


def test_the_interval_is_that_of_the_sign_test() -> None:
    """Tables give the places for the median at 99 %: of 8 rounds both ends, of 20 the fourth from each end."""
    assert speed_up(*range(1, 8)).low is None
    for rounds, k in ((8, 1), (10, 1), (20, 4), (25, 6), (100, 37)):
        found = speed_up(*range(rounds, 0, -1))
        assert (found.low, found.high) == (k, rounds + 1 - k)


def test_the_interval_of_many_rounds_is_narrow() -> None:
    found = speed_up(*np.linspace(1, 2, 10_001))
    assert found.factor == pytest.approx(1.5)
    assert found.high == pytest.approx(1.5 + 2.576 / 2 / np.sqrt(10_001), abs=1e-3)  # the normal approximation


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.5] * 20, "faster"),
        ([0.5] * 20, "slower"),
        ([1.0] * 20, "same"),
        ([1 + INDISTINCT / 2] * 20, "same"),
        ([1.01, 1.9] * 10, "same"),
        ([1.5] * 7, "unclear"),
    ],
)
def test_verdicts(ratios: list[float], verdict: str) -> None:
    assert speed_up(*ratios).verdict == verdict
    opposite = {"faster": "slower", "slower": "faster"}.get(verdict, verdict)
    assert speed_up(*(1 / r for r in ratios)).verdict == opposite


def test_a_clock_too_coarse_for_the_model_does_not_divide_by_zero() -> None:
    a, b, speedup, _ = measure(repeat(0.0), repeat(0.0), max_runs=3)
    assert (speedup, a.spread, b.runs) == (1.0, 0.0, 3)


@pytest.mark.parametrize("settings", [{"max_runs": 0}, {"warmup": -1}, {"min_seconds": -1.0}, {"min_seconds": np.nan}])
def test_settings_that_measure_nothing(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="can't measure"):
        measure(repeat(1.0), repeat(1.0), **settings)


def test_with_real_sessions() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[N, 64] x) => (float[N, 64] y) {y = Relu(x)}'
    session = Session(parser.parse_model(text), threads=1)
    a, b, speedup = measure_pair(session, session, {"x": np.ones((4, 64), np.float32)}, min_seconds=0, warmup=1)
    assert a.runs == b.runs == 5
    assert 0 < a.min_ms <= a.median_ms <= a.p90_ms
    assert speedup > 0

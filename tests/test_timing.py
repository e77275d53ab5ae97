"""The search for a model that is fast enough, with a stopwatch that counts multiply-accumulates instead of time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnx_attnprune.errors import PromiseError
from onnx_attnprune.evaluate.latency import Latency
from onnx_attnprune.evaluate.measure import Speed
from onnx_attnprune.pipeline import timing
from onnx_attnprune.pipeline.choice import Work
from onnx_attnprune.pipeline.timing import hold_latency
from onnx_attnprune.report import TimedTrial, Timing
from tests.small import cnn, files, run, saved
from tests.test_budgets import wide

CALLS = 0.2  # of the time, which no cut lowers


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replaces the clock; the shares that it told, in order."""
    told: list[float] = []

    def share(self: timing._Stopwatch, work: Work, longer: int = 1) -> float:
        left = work.analysis.macs({**work.alive, **work.single}) / work.analysis.macs(work.single)
        told.append(CALLS + (1 - CALLS) * left)
        return told[-1]

    monkeypatch.setattr(timing._Stopwatch, "share", share)
    monkeypatch.setattr("onnx_attnprune.pipeline.run.hold_latency", lambda *_: None)
    return told


@pytest.mark.parametrize("limit", [0.8, 0.5])
def test_the_largest_model_that_is_fast_enough(tmp_path: Path, counted: list[float], limit: float) -> None:
    given = ["--target-latency", limit, "--round-to", 2, "--json", "--latency-seconds", 0.01]
    done = run(saved(wide(), tmp_path), tmp_path / "out.onnx", *given)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    search = found["timing"]
    taken = search["trials"][search["chosen"]]
    assert limit - 0.08 < taken["latency"] <= limit * 0.98
    assert taken["confirmed"] == taken["latency"]
    assert len(search["trials"]) <= 9
    share = found["macs"]["after"] / found["macs"]["before"]
    assert taken["macs"] == pytest.approx(share)
    assert taken["macs"] == max(t["macs"] for t in search["trials"] if t["latency"] <= limit * 0.98)


def test_a_table_for_people(tmp_path: Path, counted: list[float]) -> None:
    given = ["--target-latency", 0.7, "--round-to", 2, "--latency-seconds", 0.01]
    done = run(saved(wide(), tmp_path), tmp_path / "out.onnx", *given)
    assert "search: at most 0.7 of the latency on cpu" in done.stdout
    assert "taken" in done.stdout


def test_a_latency_that_can_not_be_had_says_what_could(tmp_path: Path, counted: list[float]) -> None:
    given = ["--target-latency", 0.15, "--round-to", 2, "--latency-seconds", 0.01]
    done = run(saved(wide(), tmp_path), tmp_path / "out.onnx", *given)
    assert done.exit_code == 5
    assert "--target-latency 0.15 can't be kept: the fastest choice that was tried takes 0.2" in done.stderr
    assert files(tmp_path) == {"in.onnx"}


def test_nodes_that_take_no_time_can_save_none(
    tmp_path: Path, counted: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing._Stopwatch, "node_seconds", lambda self: dict.fromkeys(range(99), 0.0))
    given = ["--target-latency", 0.9, "--round-to", 2, "--latency-seconds", 0.01]
    done = run(saved(wide(), tmp_path), tmp_path / "out.onnx", *given)
    assert done.exit_code == 5
    assert "--target-latency 0.9 can't be kept: by the time that each node takes" in done.stderr
    assert files(tmp_path) == {"in.onnx"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--dry-run"], "--target-latency has to cut and to measure"),
        (["--latency-seconds", 0], "can't be had with --latency-seconds 0"),
        (["--ratio", 0.3], "got --ratio, --target-latency"),
    ],
)
def test_contradictions(tmp_path: Path, given: list[object], said: str) -> None:
    done = run(saved(cnn(), tmp_path), tmp_path / "o.onnx", "--latency-seconds", 0.1, "--target-latency", 0.5, *given)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_finished_model_that_is_too_slow_is_refused() -> None:
    found = Timing(0.7, "cpu", (TimedTrial(0.5, 0.6, 0.68, 0.69),), 0)
    one = Latency(1.0, 1.0, 1.0, 0.0, 9)
    hold_latency(found, Speed("cpu", one, one, 1 / 0.7, {}))
    with pytest.raises(PromiseError, match=r"takes 0\.720 of the time, after 0\.690 in the search"):
        hold_latency(found, Speed("cpu", one, one, 1 / 0.72, {}))
    hold_latency(None, Speed("cpu", one, one, 0.5, {}))

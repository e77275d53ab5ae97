"""Networks in which rounding alone ranks what they select."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from onnx_attnprune.pipeline import Request, prune_file
from onnx_attnprune.pipeline.ties import MOVED
from onnx_attnprune.planning import Settings
from onnx_attnprune.report import Report
from tests.oracle import parse
from tests.small import saved

NET = """g (float[4, 5] x) => (int64[4, 30] best)
<float[5, 4] w1, float[4, 600] w2, float[600, 90] w3, int64[1] k = {30}>
{ a = MatMul (x, w1)
  r = Relu (a)
  b = MatMul (r, w2)
  s = Sigmoid (b)
  y = MatMul (s, w3)
  v, best = TopK (y, k) }"""


def ranking(spread: float, near: int = 0) -> ModelProto:
    """The 30 best of 90 scores, which differ by `spread` of themselves, but for the `near` largest, which are hardly
    apart; w2 has channels enough to round anew."""
    model = parse(NET)
    rng = np.random.default_rng(0)
    scores = 1 + spread * rng.standard_normal((600, 90))
    scores[:, :near] = 2 + 1e-6 * rng.standard_normal((600, near))
    place = next(t for t in model.graph.initializer if t.name == "w3")
    place.CopyFrom(numpy_helper.from_array(scores.astype(np.float32), "w3"))
    return model


def pruned(model: ModelProto, folder: Path, plan: Path | None = None, **settings: Any) -> Report:
    """A run that cuts and repairs nothing, and writes its plan."""
    asked = Settings(**{"ratio": 0.5, **settings})
    out = {"output": folder / "out.onnx", "plan": folder / "plan.json", "from_plan": plan}
    return prune_file(
        Request(saved(model, folder), settings=asked, round_to=1, recover="none", latency_seconds=0, **out)
    )


def kept(report: Report) -> dict[str, int]:
    return {g.name: g.kept for g in report.groups}


def test_what_changes_ranks_by_rounding_stays_whole(tmp_path: Path) -> None:
    report = pruned(ranking(1e-6), tmp_path)
    assert kept(report) == {"w1": 2, "w2": 600}
    assert report.self_check is not None
    assert [(d.output, d.max_rel) for d in report.self_check.differences] == [("best", 0.0)]
    assert report.self_check.moved == 0.0
    assert any("most of what the network selects ties" in note and "w2" in note for note in report.notes)
    assert "ties" in [stage.name for stage in report.stages]


def test_the_ranks_may_be_left_to_rounding(tmp_path: Path) -> None:
    report = pruned(ranking(1e-6), tmp_path, ties="cut")
    assert kept(report) == {"w1": 2, "w2": 300}
    assert report.self_check is not None
    assert [d.output for d in report.self_check.differences] == ["y"]
    assert report.self_check.moved > MOVED
    assert not any("ties" in note for note in report.notes)


@pytest.mark.parametrize("near", [0, 3])
def test_scores_that_tell_most_apart_cost_no_channel(tmp_path: Path, near: int) -> None:
    report = pruned(ranking(1e-1, near), tmp_path)
    assert kept(report) == {"w1": 2, "w2": 300}
    assert report.self_check is not None
    assert (report.self_check.moved > 0) == (near > 0)
    assert "ties" not in [stage.name for stage in report.stages]


def test_groups_that_are_meant_by_name_go(tmp_path: Path) -> None:
    report = pruned(ranking(1e-6), tmp_path, include=("w2",))
    assert kept(report)["w2"] == 300


def test_where_nothing_else_can_go_ranks_are_left_to_rounding(tmp_path: Path) -> None:
    report = pruned(ranking(1e-6), tmp_path, exclude=("w1",))
    assert kept(report)["w2"] == 300


def test_a_budget_is_kept_rather_than_the_ranks(tmp_path: Path) -> None:
    report = pruned(ranking(1e-6), tmp_path, ratio=None, target_macs=0.6)
    assert report.macs.after <= 0.6 * report.macs.before
    assert report.self_check is not None
    assert report.self_check.moved > MOVED


def test_a_plan_is_carried_out_as_it_is(tmp_path: Path) -> None:
    pruned(ranking(1e-6), tmp_path, ties="cut")
    plan = (tmp_path / "plan.json").rename(tmp_path / "given.json")
    report = pruned(ranking(1e-6), tmp_path, plan)
    assert kept(report) == {"w1": 2, "w2": 300}
    assert "ties" not in [stage.name for stage in report.stages]

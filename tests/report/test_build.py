"""What analysis and plan tell: parameters that go, reasons that keep."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from onnx import numpy_helper

from onnx_attnprune import surgery
from onnx_attnprune.graph import Graph, parameter_count
from onnx_attnprune.grouping import Kept, alive_of, analyze
from onnx_attnprune.planning import Plan, PlannedGroup
from onnx_attnprune.report import GroupRow, begin, to_json
from onnx_attnprune.report.build import kept_rows, lost_parameters
from tests.oracle import parse
from tests.report.test_terminal import REPORT, difference

# b is read by three nodes that lose different channels, s by two that lose the same, k stands in a Constant node.
TEXT = """g (float[N, 3, 5, 4] x) => (float[N, 2, 5, 4] y, float[N, 12, 5, 4] z)
<float[12, 3, 1, 1] w1, float[12, 12, 1, 1] w2, float[12] b, float[1, 12, 1, 1] s, float[2, 12, 1, 1] w3,
 float[12, 12, 1, 1] w4>
{ a = Conv (x, w1, b)
  r = Mul (a, s)
  q = Add (r, s)
  c = Conv (q, w2, b)
  k = Constant <value = float[1, 12, 1, 1] {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}> ()
  d = Mul (c, k)
  y = Conv (d, w3)
  z = Conv (d, w4, b) }"""


def test_lost_parameters_are_those_of_the_surgery() -> None:
    model = parse(TEXT)
    analysis = analyze(Graph(model))
    for removed in ({0: (1, 5)}, {1: (0, 2, 11)}, {0: (3,), 1: (3,)}, {0: (1, 2), 1: (3, 4, 5)}, {}):
        alive = alive_of(analysis.groups, removed)
        pruned = surgery.prune(analysis, alive)
        lost = lost_parameters(analysis, surgery.cuts_of(analysis, alive))
        assert parameter_count(model) - lost == parameter_count(pruned), removed


def rows_of(removed: dict[int, tuple[int, ...]], scores: dict[int, tuple[float, ...]]) -> tuple[GroupRow, ...]:
    """The group rows of a report on the model above."""
    analysis = analyze(Graph(parse(TEXT)))
    groups = tuple(PlannedGroup(g.id, g.name, g.size, removed.get(g.id, ()), scores[g.id])
                   for g in analysis.groups if g.id in scores)  # fmt: skip  # two lines
    report = begin(analysis, Plan("ab", {}, groups), {}, {}, model="m", output=None, command="", settings={}, shapes={})
    assert report.sha256 == "ab"
    return report.groups


def test_a_damaged_model_is_told_of() -> None:
    model = parse(TEXT)
    for name in ("w2", "b"):
        tensor = next(t for t in model.graph.initializer if t.name == name)
        array = np.full(tensor.dims, np.nan, np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, name))
    plan = Plan("ab", {}, (), ("another note",))
    told = begin(analyze(Graph(model)), plan, {}, {}, model="m", output=None, command="", settings={}, shapes={}).notes
    assert told == ("the model is damaged: nan among the weights of w2, b", "another note")


def test_scores_are_counted_in_bins() -> None:
    rising = tuple(k / 11 for k in range(12))
    first, second = rows_of({0: (0, 1, 2), 1: (0, 11)}, {0: rising, 1: rising})
    assert first.scores is not None
    assert second.scores is not None
    assert first.scores.cut == pytest.approx(2.5 / 11)
    assert second.scores.cut is None  # the best goes, and worse ones stay: no line divides them
    assert (sum(first.scores.removed), sum(first.scores.kept), first.scores.earlier) == (3, 9, 0)
    assert first.scores.removed[0] == 1  # 0 to 0.04
    assert first.scores.kept[-1] == 1  # 1 lies in the last bin
    assert (first.kept, second.kept) == (9, 10)


def test_what_went_in_an_earlier_stage_has_no_score() -> None:
    scores = (-math.inf, -math.inf, 0.0, *(0.5 for _ in range(9)))
    first, second = rows_of({0: (0, 1, 2)}, {0: scores, 1: (0.5, 0.25)})
    assert first.scores is not None
    assert (first.scores.earlier, sum(first.scores.removed), first.scores.cut) == (2, 1, 0.25)
    assert second.scores is None  # scores that do not fit, as in a plan written by hand


def test_groups_that_a_plan_leaves_out_stay_whole() -> None:
    assert [(g.kept, g.scores) for g in rows_of({}, {})] == [(12, None), (12, None)]


def test_reasons_are_counted() -> None:
    kept = [Kept(f"w{k}", 0, size, "n", op, why) for k, (size, op, why) in enumerate(
        [(3, "", "graph input"), (7, "Softmax", "normalised over"), (9, "Softmax", "normalised over"),
         (5, "Loop", "normalised over")]
    )]  # fmt: skip  # a list
    assert [(r.why, r.op, r.axes, r.channels, r.example) for r in kept_rows(kept)] == [
        ("normalised over", "Softmax", 2, 16, "w1 axis 0"),
        ("normalised over", "Loop", 1, 5, "w3 axis 0"),
        ("graph input", "", 1, 3, "w0 axis 0"),
    ]


def test_json_holds_what_json_can_hold() -> None:
    assert REPORT.drift is not None
    odd = replace(
        REPORT,
        drift=replace(REPORT.drift, outputs=(replace(difference("y"), sqnr_db=math.inf, max_abs=np.float64(2.5)),)),
        shapes={"x": (np.int64(1), 3)},  # type: ignore[dict-item]  # numpy's numbers are among the figures
    )
    document = json.loads(to_json(odd))
    assert document["drift"]["outputs"][0]["sqnr_db"] is None
    assert document["drift"]["outputs"][0]["max_abs"] == 2.5
    assert document["shapes"] == {"x": [1, 3]}
    assert (document["format"], document["version"]) == ("onnx-attnprune/report", 1)
    assert document["warnings"] == []

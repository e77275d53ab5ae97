"""Whole runs on weights that the file computes: what the plan names in the file silences what was cut."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from onnx_attnprune.graph import folded
from onnx_attnprune.grouping import alive_of, analyze
from onnx_attnprune.pipeline import Request, prune_file
from onnx_attnprune.planning import Settings
from onnx_attnprune.report import Report
from onnx_attnprune.runtime import Optimisation, Session
from onnx_attnprune.surgery import cuts_of, mask, named_cuts
from tests.oracle import parse
from tests.small import saved

STANDARDISED = """m{k} = ReduceMean (w{k}, axes)
  d{k} = Sub (w{k}, m{k})
  s{k} = ReduceSumSquare (d{k}, axes)
  e{k} = Add (s{k}, small)
  r{k} = Sqrt (e{k})
  f{k} = Div (d{k}, r{k})"""


def net(between: str, group: int = 1) -> ModelProto:
    """Two standardised convolutions, of 3 to 10 channels and on to 6, and an operator between them."""
    return parse(
        f"""g (float[2, 3, 7, 6] x) => (float[2, 6, A, B] y)
        <float[10, 3, 1, 1] w1, float[10] b, float[6, {10 // group}, 3, 2] w2, float small = {{1e-5}}
         , int64[3] axes = {{1, 2, 3}}, float[1, 10, 1, 1] varying>
        {{ {STANDARDISED.format(k=1)}
           {STANDARDISED.format(k=2)}
           h = Conv (x, f1, b)
           {between}
           y = Conv <group = {group}> (t, f2) }}"""
    )


def pruned(model: ModelProto, folder: Path, **options: object) -> tuple[Report, dict[str, dict[str, list[int]]]]:
    """A run that repairs nothing, and what its plan says of the file's tensors."""
    given = {"recover": "none", "latency_seconds": 0.0, "plan": folder / "plan.json", **options}
    report = prune_file(Request(saved(model, folder), folder / "out.onnx", Settings(ratio=0.3), 1, **given))  # type: ignore[arg-type]  # the fields of Request
    return report, json.loads((folder / "plan.json").read_text())["initializers"]


def hold(model: ModelProto, folder: Path) -> dict[str, dict[str, list[int]]]:
    """Prune a model and hold the result against the original, in which what the plan names is zero; what it names."""
    report, cut = pruned(model, folder)
    assert report.channels.after < report.channels.before
    assert not json.loads((folder / "plan.json").read_text()).get("uses")
    silent = ModelProto()
    silent.CopyFrom(model)
    for tensor in silent.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        for axis, gone in cut.get(tensor.name, {}).items():
            np.moveaxis(array, int(axis), 0)[gone] = 0
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    (x,) = model.graph.input
    shape = [d.dim_value for d in x.type.tensor_type.shape.dim]
    feeds = {x.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    expected, got = (
        Session(m, optimisation=Optimisation.NONE).run(feeds)["y"] for m in (silent, onnx.load(folder / "out.onnx"))
    )
    assert np.abs(expected - got).max() < 1e-5 * np.abs(expected).max()
    assert cut.keys() <= {t.name for t in model.graph.initializer}
    return cut


@pytest.mark.parametrize("between", ["t = Relu (h)", "s = Sigmoid (h) t = Mul (h, s)", "t = Mul (h, varying)"])
@pytest.mark.parametrize("group", [1, 2])
def test_what_the_plan_names_silences_what_was_cut(tmp_path: Path, between: str, group: int) -> None:
    assert "w2" not in hold(net(between, group), tmp_path)  # whose columns make up the mean of its rows


def test_channels_that_no_zeros_in_the_file_make_are_silenced_by_what_reads_them(tmp_path: Path) -> None:
    text = """g (float[2, 3, 5] x) => (float[2, 4, 5] y) <float[10, 3, 1] w, float[10] b, float[4, 10, 1] v>
    { s = ReduceL2 <keepdims = 0> (w)
      f = Div (w, s)
      h = Conv (x, f, b)
      t = Sigmoid (h)
      y = Conv (t, v) }"""
    assert hold(parse(text), tmp_path).keys() == {"b", "v"}


def test_a_computed_weight_that_two_layers_read(tmp_path: Path) -> None:
    text = """g (float[2, 5] x) => (float[2, 4] y) <float[5, 9] w, float[9, 4] v, float[9, 4] u, int64[1] rows = {0}>
    { m = ReduceMean (w, rows)
      f = Sub (w, m)
      a = MatMul (x, f)
      r = Relu (x)
      b = MatMul (r, f)
      s = Sigmoid (a)
      c = MatMul (s, v)
      d = MatMul (b, u)
      y = Add (c, d) }"""
    assert hold(parse(text), tmp_path).keys() == {"v", "u"}


def test_what_is_not_zero_where_a_computed_weight_reads_it_stays() -> None:
    analysis = analyze(folded(net("t = Sigmoid (h)")))
    assert analysis.groups == ()
    assert "the file computes this weight" in {k.why.split(",")[0] for k in analysis.kept}


def test_the_masked_model_leaves_columns_of_a_computed_weight_as_they_are() -> None:
    analysis = analyze(folded(net("t = Relu (h)")))
    (group,) = analysis.groups
    masked = mask(analysis, alive_of(analysis.groups, {group.id: [1, 4]}))
    stored = {t.name: numpy_helper.to_array(t) for t in masked.graph.initializer}
    assert not stored["f1"][[1, 4]].any()
    assert stored["f2"].all()


def test_the_report_counts_what_the_file_holds(tmp_path: Path) -> None:
    report, _ = pruned(net("t = Relu (h)"), tmp_path)
    assert report.parameters.before == 10 * 3 + 10 + 6 * 10 * 6 + 10
    assert report.parameters.after == 7 * 3 + 7 + 6 * 7 * 6 + 10  # of what nobody reads nothing is cut
    assert any("2 weights that the file computes" in note and "f1" in note and "w1" in note for note in report.notes)


def test_a_plan_is_carried_out_again(tmp_path: Path) -> None:
    model = net("t = Relu (h)")
    first, _ = pruned(model, tmp_path)
    plan = (tmp_path / "plan.json").rename(tmp_path / "given.json")
    again, _ = pruned(model, tmp_path, from_plan=plan)
    assert first.channels == again.channels


def test_axes_of_the_weight_and_of_what_it_is_computed_from_need_not_be_the_same() -> None:
    text = """g (float[2, 5] x) => (float[2, 4] y) <float[9, 5] w, float[9, 4] v, int64[1] rows = {1}>
    { m = ReduceMean (w, rows)
      d = Sub (w, m)
      f = Transpose <perm = [1, 0]> (d)
      h = MatMul (x, f)
      t = Relu (h)
      y = MatMul (t, v) }"""
    analysis = analyze(folded(parse(text)))
    cuts = cuts_of(analysis, alive_of(analysis.groups, {0: [2, 7]}))
    assert cuts.whole == {"f": {1: (2, 7)}, "v": {0: (2, 7)}}
    assert named_cuts(analysis, cuts) == {"w": {0: (2, 7)}, "v": {0: (2, 7)}}


def test_of_a_weight_that_is_normalised_by_the_channels_that_it_reads_those_can_go() -> None:
    text = """g (float[2, 3, 9] x) => (float[2, 4, C] y)
    <float[10, 3, 1] w, float[10, 6, 2] u, float[4, 6, 1] v, int64[2] rows = {1, 2}>
    { h = Conv (x, w)
      t = Sigmoid (h)
      m = ReduceMean (u, rows)
      f = Sub (u, m)
      s = ConvTranspose (t, f)
      y = Conv (s, v) }"""
    analysis = analyze(folded(parse(text)))
    assert [(g.name, g.size) for g in analysis.groups] == [("w", 10), ("f", 6)]
    cuts = cuts_of(analysis, alive_of(analysis.groups, {0: [2, 7], 1: [3]}))
    assert named_cuts(analysis, cuts) == {"w": {0: (2, 7)}, "u": {0: (2, 7)}, "v": {1: (3,)}}


def test_a_layer_of_which_nothing_is_silenced_gives_no_zeros_to_a_computed_weight(tmp_path: Path) -> None:
    text = """g (float[2, 3, 5] x) => (float[2, 4, 5] y)
    <float[10, 3, 1] w, float[8, 10, 1] u, float[4, 8, 1] v, int64[2] rows = {1, 2}>
    { s = ReduceL2 <keepdims = 0> (w)
      e = Div (w, s)
      h = Conv (x, e)
      m = ReduceMean (u, rows)
      f = Sub (u, m)
      t = Conv (h, f)
      y = Conv (t, v) }"""
    model = parse(text)
    assert [(g.name, g.size) for g in analyze(folded(model)).groups] == [("f", 8)]
    assert hold(model, tmp_path).keys() == {"u", "v"}

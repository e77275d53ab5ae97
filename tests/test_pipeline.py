"""Whole runs: what comes out, what is measured, and what stays as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from onnx_attnprune import surgery
from onnx_attnprune.errors import DataError, FeedError, NothingToPruneError, PlanError, SelfCheckError, SettingsError
from onnx_attnprune.graph import parameter_count, read_model
from onnx_attnprune.pipeline import Request, prune_file
from onnx_attnprune.planning import Settings
from onnx_attnprune.report import Report
from onnx_attnprune.runtime import Session
from tests.oracle import parse
from tests.small import cnn, files, labelled, saved

SHARED = """g (float[N, 3, 5, 4] x) => (float[N, 2, 5, 4] y)
<float[12, 3, 1, 1] w1, float[12, 12, 1, 1] w2, float[12] b, float[2, 12, 1, 1] w3>
{ a = Conv (x, w1, b)
  r = Relu (a)
  c = Conv (r, w2, b)
  y = Conv (c, w3) }"""


def prune(model: ModelProto, folder: Path, **options: object) -> Report:
    """A run on a model in `folder`, out.onnx beside it; exact counts, no latency, but for `options`."""
    given: dict[str, object] = {
        "settings": Settings(ratio=0.3), "round_to": 1, "latency_seconds": 0.0, "output": folder / "out.onnx",
    }  # fmt: skip  # two lines
    path = saved(model, folder)
    return prune_file(Request(path, **{**given, **options}))  # type: ignore[arg-type]  # the fields of Request


def test_what_a_run_tells(tmp_path: Path) -> None:
    data = labelled(tmp_path)
    stages: list[str] = []
    path = saved(cnn(), tmp_path)
    report = prune_file(
        Request(path, tmp_path / "out.onnx", Settings(), 1, evaluation=data, latency_seconds=0.01), stages.append
    )
    assert report.channels.before == 56
    assert report.channels.after == 39
    assert report.size is not None
    assert report.size.before == path.stat().st_size
    assert report.size.after == (tmp_path / "out.onnx").stat().st_size < report.size.before
    assert report.parameters.after == parameter_count(onnx.load(tmp_path / "out.onnx"))
    assert report.macs.before == 12 * 10 * 20 * 27 + 12 * 10 * 36 * 180 + 36 * 7  # of one sample
    assert report.shapes == {"x": (1, 3, 12, 10)}
    assert report.self_check is not None
    assert report.self_check.inputs == "given samples (2x3x12x10)"
    assert report.self_check.largest < 1e-5
    assert report.drift is not None
    assert (report.drift.samples, report.drift.inputs) == (30, "30 samples of data.npz")
    assert report.accuracy is not None
    assert report.accuracy.before.n == report.accuracy.after.n == 30
    assert report.speed is not None
    assert report.speed.shapes == {"x": (1, 3, 12, 10)}
    assert [g.kept for g in report.groups] == [14, 25]
    assert {k.why for k in report.kept} == {"graph input", "graph output"}
    assert list(dict.fromkeys(s.name for s in report.stages)) == list(
        dict.fromkeys(s for s in stages if s != "scoring" and ": " not in s)
    )
    assert files(tmp_path) == {"in.onnx", "out.onnx", "data.npz"}


def test_the_input_is_as_it_was(tmp_path: Path) -> None:
    before = saved(cnn(), tmp_path).read_bytes()
    prune(cnn(), tmp_path)
    assert (tmp_path / "in.onnx").read_bytes() == before


# ---------------------------------------------------------------- parameters
@pytest.mark.parametrize("model", [cnn(), parse(SHARED)], ids=["whole", "shared"])
def test_a_dry_run_counts_the_parameters_of_the_real_one(tmp_path: Path, model: ModelProto) -> None:
    told = prune(model, tmp_path, output=None)
    done = prune(model, tmp_path, recover="none")
    assert told.parameters == done.parameters
    assert done.parameters.after == parameter_count(onnx.load(tmp_path / "out.onnx")) < done.parameters.before
    assert (told.channels, told.macs) == (done.channels, done.macs)


def test_the_shared_bias_is_cut_for_each_reader(tmp_path: Path) -> None:
    prune(parse(SHARED), tmp_path, plan=tmp_path / "plan.json")
    uses = json.loads((tmp_path / "plan.json").read_text())["uses"]
    assert {(u["tensor"], u["consumer"], u["input"]) for u in uses} == {("b", "a", 2), ("b", "c", 2)}


def test_a_dry_run_writes_the_plan_and_the_report_alone(tmp_path: Path) -> None:
    report = prune(cnn(), tmp_path, output=None, plan=tmp_path / "p.json", reports=(tmp_path / "r.json",),
                   evaluation=labelled(tmp_path))  # fmt: skip  # two lines
    assert files(tmp_path) == {"in.onnx", "p.json", "r.json", "data.npz"}
    assert report.self_check is report.size is report.drift is None
    assert "a dry run measures no accuracy" in report.notes
    assert json.loads((tmp_path / "r.json").read_text())["output"] is None


# ---------------------------------------------------------------- plans
def test_a_plan_replays_to_the_same_bytes(tmp_path: Path) -> None:
    prune(cnn(), tmp_path, plan=tmp_path / "p.json", settings=Settings(ratio=0.4, steps=2, criterion="random", seed=5))
    first = (tmp_path / "out.onnx").read_bytes()
    report = prune(cnn(), tmp_path, from_plan=tmp_path / "p.json", plan=tmp_path / "q.json")
    assert (tmp_path / "out.onnx").read_bytes() == first
    assert (tmp_path / "q.json").read_text() == (tmp_path / "p.json").read_text()
    assert (report.settings["criterion"], report.settings["seed"]) == ("random", 5)


def test_the_plan_of_a_dry_run_replays(tmp_path: Path) -> None:
    prune(cnn(), tmp_path)
    first = (tmp_path / "out.onnx").read_bytes()
    prune(cnn(), tmp_path, output=None, plan=tmp_path / "p.json")
    prune(cnn(), tmp_path, from_plan=tmp_path / "p.json")
    assert (tmp_path / "out.onnx").read_bytes() == first


def test_an_edited_plan(tmp_path: Path) -> None:
    prune(cnn(), tmp_path, output=None, plan=tmp_path / "p.json")
    document = json.loads((tmp_path / "p.json").read_text())
    document["groups"][0]["removed"] = [0, 19]
    document["groups"][1]["removed"] = []
    (tmp_path / "p.json").write_text(json.dumps(document))
    prune(cnn(), tmp_path, from_plan=tmp_path / "p.json", recover="none")
    before, after = (
        {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / name).graph.initializer}
        for name in ("in.onnx", "out.onnx")
    )
    np.testing.assert_array_equal(after["w1"], before["w1"][1:19])
    np.testing.assert_array_equal(after["w2"], before["w2"][:, 1:19])
    np.testing.assert_array_equal(after["w3"], before["w3"])


def test_a_plan_of_another_model(tmp_path: Path) -> None:
    prune(cnn(), tmp_path, plan=tmp_path / "p.json")
    (tmp_path / "out.onnx").unlink()
    with pytest.raises(PlanError, match="made for another model"):
        prune(cnn(seed=1), tmp_path, from_plan=tmp_path / "p.json")
    assert files(tmp_path) == {"in.onnx", "p.json"}


# ---------------------------------------------------------------- rounding
def test_automatic_rounding_goes_down_where_nothing_would_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnx_attnprune.pipeline.choice.preferred_multiple", lambda _: 64)
    report = prune(cnn(), tmp_path, round_to=None)
    assert [g.kept for g in report.groups] == [16, 24]
    assert "multiples of 64 would leave every channel in place: rounded to multiples of 8" in report.notes
    assert report.settings["round_to"] == 8
    with pytest.raises(NothingToPruneError, match="try --round-to 1"):
        prune(cnn(), tmp_path, round_to=64)
    with pytest.raises(NothingToPruneError, match=r"36 channels\)$"):
        prune(cnn(), tmp_path, round_to=None, settings=Settings(min_channels=40))


# ---------------------------------------------------------------- what the models are fed
def baked() -> ModelProto:
    """A free batch, but a Reshape that takes one sample only."""
    return parse(
        """g (float[N, 3, 4, 4] x) => (float[M, 5] y)
        <float[12, 3, 1, 1] w, float[192, 5] v, int64[2] s = {1, 192}>
        { h = Conv (x, w)
          f = Reshape (h, s)
          y = MatMul (f, v) }"""
    )


def test_a_free_batch_that_is_not_free(tmp_path: Path) -> None:
    report = prune(baked(), tmp_path, latency_seconds=0.001)
    assert report.self_check is not None
    assert report.self_check.inputs == "random inputs (1x3x4x4)"
    assert [(g.size, g.kept) for g in report.groups] == [(12, 8)]


def test_a_heavy_model_is_checked_on_one_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnx_attnprune.pipeline.cut.HEAVY", 1000)
    report = prune(cnn(), tmp_path)
    assert report.self_check is not None
    assert report.self_check.inputs == "random inputs (1x3x12x10)"


def test_shapes_that_are_asked_for(tmp_path: Path) -> None:
    report = prune(cnn(), tmp_path, shapes={"x": (5, 3, 12, 10)})
    assert report.self_check is not None
    assert report.self_check.inputs == "random inputs (5x3x12x10)"
    assert report.shapes == {"x": (5, 3, 12, 10)}
    with pytest.raises(SettingsError, match="the model fixes"):
        prune(cnn(), tmp_path, shapes={"x": (5, 3, 12, 11)})


def test_a_fixed_batch(tmp_path: Path) -> None:
    report = prune(cnn("4"), tmp_path, evaluation=labelled(tmp_path, 10), latency_seconds=0.001)
    assert report.shapes == {"x": (4, 3, 12, 10)}
    assert report.accuracy is not None
    assert report.accuracy.before.n == 10
    assert report.drift is not None
    assert report.drift.samples == 10


def test_inputs_that_the_model_does_not_take(tmp_path: Path) -> None:
    model = parse(
        """g (float[N, A, 4] x) => (float[N, 5] y)
        <float[4, 9] u, float[9, 12] w, float[37, 5] v, int64[2] s = {-1, 37}>
        { e = MatMul (x, u)
          h = MatMul (e, w)
          f = Reshape (h, s)
          y = MatMul (f, v) }"""
    )
    with pytest.raises(FeedError, match=r"fed with random inputs \(1x16x4\); give sizes that it takes with --shape"):
        prune(model, tmp_path)
    assert files(tmp_path) == {"in.onnx"}
    assert prune(model, tmp_path, shapes={"x": (1, 37, 4)}).self_check is not None


def test_calibration_data_repairs(tmp_path: Path) -> None:
    data = labelled(tmp_path, 60)
    bare = prune(cnn(), tmp_path, recover="none", evaluation=data)
    report = prune(cnn(), tmp_path, recover="least-squares", calibration=data, evaluation=data)
    assert report.repair is not None
    assert (report.repair.consumers, report.repair.compensated) == (2, 2)
    assert report.drift is not None
    assert bare.drift is not None
    assert report.drift.outputs[0].sqnr_db > bare.drift.outputs[0].sqnr_db + 3
    assert report.accuracy is not None
    assert report.accuracy.unrepaired is not None
    assert bare.accuracy is not None
    assert bare.accuracy.unrepaired is None


@pytest.mark.parametrize(
    ("samples", "recover", "measured_on", "seen"),
    [(40, "auto", 40, True), (280, "auto", 24, False), (40, "none", 40, False)],
)
def test_drift_is_measured_on_the_users_samples(
    tmp_path: Path, samples: int, recover: str, measured_on: int, seen: bool
) -> None:
    data = labelled(tmp_path, samples, labels=None)
    criterion = "obs" if recover == "none" else "attention"
    settings = Settings(ratio=0.3, criterion=criterion)
    report = prune_file(
        Request(
            saved(cnn(), tmp_path),
            tmp_path / "out.onnx",
            settings,
            recover=recover,
            calibration=data,
            latency_seconds=0,
        )
    )
    assert report.drift is not None
    assert report.drift.inputs == f"{measured_on} samples of data.npz"
    assert any("samples that the repair was fitted on" in note for note in report.notes) == seen


def test_data_needs_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no array 'labels'"):
        prune(cnn(), tmp_path, evaluation=labelled(tmp_path, labels=None))


# ---------------------------------------------------------------- the self-check
def spoiled(change: Callable[[ModelProto], None]) -> Callable[..., ModelProto]:
    real = surgery.prune

    def prune(*arguments: object) -> ModelProto:
        model = real(*arguments)  # type: ignore[arg-type]  # passed through
        change(model)
        return model

    return prune


def _rename(model: ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "z"


def _disconnect(model: ModelProto) -> None:
    model.graph.node[1].input[0] = "nowhere"


def _wrong_value(model: ModelProto) -> None:
    bias = next(t for t in model.graph.initializer if t.name == "b3")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.1), "b3"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_rename, r"the outputs were \['y'\] and are \['z'\]"),
        (_disconnect, "onnx.checker rejects the pruned model"),
        (_wrong_value, "output 'y' is off the masked original by"),
    ],
)
def test_a_wrong_model_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[ModelProto], None], told: str
) -> None:
    monkeypatch.setattr(surgery, "prune", spoiled(change))
    (tmp_path / "out.onnx").write_text("what was there")
    with pytest.raises(SelfCheckError, match=told):
        prune(cnn(), tmp_path, plan=tmp_path / "p.json", reports=(tmp_path / "r.json",))
    assert files(tmp_path) == {"in.onnx", "out.onnx"}
    assert (tmp_path / "out.onnx").read_text() == "what was there"


def test_bfloat16_without_kernels_is_checked_as_float32(tmp_path: Path) -> None:
    text = """g (bfloat16[N, 6] x) => (bfloat16[N, 7] y)
    <bfloat16[6, 20] w, bfloat16[20, 7] v>
    { h = MatMul (x, w)
      r = Relu (h)
      y = MatMul (r, v) }"""
    data = tmp_path / "data.npz"
    np.savez(data, x=np.ones((9, 6), np.float32), labels=np.zeros(9, int))
    report = prune(parse(text), tmp_path, evaluation=data, latency_seconds=1.0)
    assert report.self_check is not None
    assert report.self_check.in_float32
    assert report.self_check.inputs == "given samples (2x6), as float32 (no bfloat16 kernels here)"
    assert report.self_check.tolerance == 1e-3
    assert report.speed is None
    assert "no latency: ONNX Runtime has no bfloat16 kernels here" in report.notes
    assert report.accuracy is not None
    assert report.drift is not None
    written = onnx.load(tmp_path / "out.onnx")
    assert {t.data_type for t in written.graph.initializer} == {TensorProto.BFLOAT16}
    assert files(tmp_path) == {"in.onnx", "out.onnx", "data.npz"}


# ---------------------------------------------------------------- weights in other files
def test_external_weights_count_and_are_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "in.onnx"
    onnx.save(cnn(), path, save_as_external_data=True, location="weights.bin", size_threshold=100)
    weights = (tmp_path / "weights.bin").read_bytes()
    request = Request(path, tmp_path / "out.onnx", Settings(), 1, latency_seconds=0.0)
    report = prune_file(request)
    assert report.size is not None
    assert report.size.before == path.stat().st_size + len(weights)
    for output in ("weights.bin", "sub/../weights.bin"):
        (tmp_path / "sub").mkdir(exist_ok=True)
        with pytest.raises(SettingsError, match="would overwrite an input"):
            prune_file(Request(path, tmp_path / output, Settings(), 1))
    (tmp_path / "weights.bin").rename(tmp_path / "two.onnx.data")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "two.onnx.data"
    onnx.save(model, path)
    with pytest.raises(SettingsError, match=r"two.onnx.data: the output would overwrite an input"):
        prune_file(Request(path, tmp_path / "two.onnx", Settings(), 1))
    assert (tmp_path / "two.onnx.data").read_bytes() == weights


def test_a_result_over_the_limit_of_protobuf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = prune(cnn(), tmp_path)
    expected = Session(tmp_path / "out.onnx").run({"x": np.ones((1, 3, 12, 10), np.float32)})
    (tmp_path / "out.onnx").unlink()
    monkeypatch.setattr("onnx_attnprune.graph.writing.PROTOBUF_LIMIT", 10_000)
    report = prune(cnn(), tmp_path)
    assert files(tmp_path) == {"in.onnx", "out.onnx", "out.onnx.data"}
    assert (tmp_path / "out.onnx.data").stat().st_mode == (tmp_path / "in.onnx").stat().st_mode
    assert report.self_check == usual.self_check
    assert report.size is not None
    assert report.size.after == sum((tmp_path / name).stat().st_size for name in ("out.onnx", "out.onnx.data"))
    np.testing.assert_array_equal(
        Session(tmp_path / "out.onnx").run({"x": np.ones((1, 3, 12, 10), np.float32)})["y"], expected["y"]
    )
    assert parameter_count(read_model(tmp_path / "out.onnx")) == report.parameters.after


@pytest.mark.parametrize("wrong", [{"latency_seconds": -1.0}, {"latency_seconds": float("nan")}, {"threads": -1}])
def test_requests_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="must be 0"):
        Request(Path("a"), None, Settings(), **wrong)  # type: ignore[arg-type]  # wrong on purpose

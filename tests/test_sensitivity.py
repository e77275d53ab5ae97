"""Sensitivity from file to file: figures, resumption, several processes, and what is refused."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from onnx_attnprune.cli import main
from onnx_attnprune.errors import ModelError, SettingsError
from onnx_attnprune.pipeline import SensitivityRequest, sensitivity_file
from onnx_attnprune.pipeline.sensitivity import _Bench, _bench_there, share_of_cores
from onnx_attnprune.recovery import least_squares, losses
from onnx_attnprune.report.sensitivity import GroupCurve
from onnx_attnprune.runtime import Session
from tests.oracle import parse
from tests.small import cnn, files, labelled, saved
from tests.small import run as prune


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["sensitivity", *map(str, arguments)])


def measured(path: Path) -> list[str]:
    return [g["name"] for g in json.loads(path.read_text())["groups"]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(cnn(), tmp_path)


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The groups that are measured in this process."""
    seen: list[int] = []
    whole = _Bench.measure

    def measure(bench: _Bench, orders: Mapping[int, Sequence[int]]) -> Iterator[GroupCurve]:
        for found in whole(bench, orders):
            seen.append(found.id)
            yield found

    monkeypatch.setattr(_Bench, "measure", measure)
    return seen


# ---------------------------------------------------------------- what it tells
def test_json_file_and_output_are_the_same(model: Path, tmp_path: Path) -> None:
    done = run(model, "--calibrate", labelled(tmp_path, 64, labels=None), "--out", tmp_path / "s.json", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (tmp_path / "s.json").read_text()
    found = json.loads(done.stdout)
    assert found["format"] == "onnx-attnprune/sensitivity"
    assert found["calibration"] == "64 samples of data.npz"
    assert found["notes"] == []
    assert [g["size"] for g in found["groups"]] == [20, 36]
    for g in found["groups"]:
        assert sorted(g["order"]) == list(range(g["size"]))
        assert g["outputs"][0] == g["consumers"][0] == 0
        assert g["outputs"] == sorted(g["outputs"])
        assert g["consumers"][-1] == pytest.approx(1, rel=1e-6)
        assert [k for k, _ in g["measured"]] == [int(g["size"] * s) for s in (0.1, 0.25, 0.5, 0.75)]
        assert g["outputs"][round(g["size"] * g["cuts"]["0.05"])] <= 0.05
    assert files(tmp_path) == {"in.onnx", "data.npz", "s.json"}


def test_the_suggestion_can_be_pasted_and_keeps_its_error(model: Path, tmp_path: Path) -> None:
    data = labelled(tmp_path, 64, labels=None)
    done = run(model, "--calibrate", data, "--max-error", "0.2")
    assert done.exit_code == 0, done.output
    told = "\n".join(line.rstrip() for line in done.stdout.splitlines())
    options = shlex.split(told.split(" together\n")[1].split("\n\n")[0].replace("\\\n", " "))  # as a shell does
    pruned = prune(model, tmp_path / "out.onnx", "--calibrate", data, "--round-to", 1, "--json", *options)
    assert pruned.exit_code == 0, pruned.output
    report = json.loads(pruned.stdout)
    asked = dict(report["settings"]["layer_ratios"])
    assert {g["name"]: g["kept"] for g in report["groups"]} == {
        g["name"]: g["size"] - round(g["size"] * asked[g["name"]]) for g in report["groups"]
    }
    assert any(asked.values())
    found = json.loads(run(model, "--calibrate", data, "--max-error", "0.2", "--json").stdout)["suggestion"]
    assert found["ratios"] == asked
    assert 0 < found["together"] <= 0.2


def test_nothing_to_suggest_is_said(model: Path) -> None:
    done = run(model, "--max-error", "1e-9")
    assert done.exit_code == 0, done.output
    assert "no channel can go within an error of < 0.1%" in done.stdout
    assert "made-up samples" in " ".join(done.stdout.split())


def test_a_chart_is_drawn(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert")
    done = run(model, "--chart", tmp_path / "c.svg", "--criterion", "l2")
    assert done.exit_code == 0, done.output
    svg = (tmp_path / "c.svg").read_text()
    assert svg.startswith("<svg")
    assert all(text in svg for text in ("w1", "w2", "in.onnx", "channels gone", "error at the outputs"))
    assert f"drawn      {tmp_path}"[:20] in done.stdout


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits(model: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    done = run(model, "--criterion", "l1")
    assert all(len(line.rstrip()) <= width for line in done.stdout.splitlines() if "--layer-ratio" not in line)
    assert "criterion l1" in done.stdout


def test_a_model_of_a_free_batch_that_holds_shapes_of_one_sample(tmp_path: Path) -> None:
    text = """g (float[N, 3, 6, 5] x) => (float[N, 7] y)
    <float[20, 3, 3, 3] w1, float[240, 7] w2, int64[2] shape = {1, 240}>
    { a = Conv (x, w1)  r = Reshape (a, shape)  y = MatMul (r, w2) }"""
    done = run(saved(parse(text), tmp_path), "--json")
    assert done.exit_code == 0, done.output
    assert [g["size"] for g in json.loads(done.stdout)["groups"]] == [20]


# ---------------------------------------------------------------- interrupted and taken up
def test_what_is_finished_is_kept_and_taken_up(
    model: Path, tmp_path: Path, spied: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "s.json"
    whole = sensitivity_file(SensitivityRequest(model, out=tmp_path / "whole.json"))
    assert spied == [0, 1]

    spy = _Bench.measure

    def failing(bench: _Bench, orders: Mapping[int, Sequence[int]]) -> Iterator[GroupCurve]:
        for found in spy(bench, orders):
            if found.id == 1:
                raise ModelError("the power went")
            yield found

    with monkeypatch.context() as patch:
        patch.setattr(_Bench, "measure", failing)
        with pytest.raises(ModelError, match="the power went"):
            sensitivity_file(SensitivityRequest(model, out=out))
    assert len(measured(out)) == 1
    assert json.loads(out.read_text())["suggestion"] is None
    spied.clear()
    again = sensitivity_file(SensitivityRequest(model, out=out, resume=True))
    assert spied == [1]
    assert again == whole
    assert out.read_bytes() == (tmp_path / "whole.json").read_bytes()
    spied.clear()
    assert sensitivity_file(SensitivityRequest(model, out=out, resume=True)) == whole
    assert spied == []
    sensitivity_file(SensitivityRequest(model, out=out))  # without --resume everything is measured anew
    assert spied == [0, 1]


def test_other_processes_find_the_same(model: Path, tmp_path: Path) -> None:
    alone = sensitivity_file(SensitivityRequest(model, criterion="l1"))
    assert sensitivity_file(SensitivityRequest(model, criterion="l1", jobs=2)).groups == alone.groups


def test_an_interrupt_ends_the_processes_and_keeps_what_is_finished(model: Path, tmp_path: Path) -> None:
    out, whole = tmp_path / "s.json", sensitivity_file(SensitivityRequest(model, criterion="l1"))

    def interrupting(stage: str) -> None:
        if stage == "group 2 of 2":
            raise KeyboardInterrupt

    request = SensitivityRequest(model, criterion="l1", jobs=2, out=out)
    with pytest.raises(KeyboardInterrupt):
        sensitivity_file(request, interrupting)
    assert multiprocessing.active_children() == []
    assert len(measured(out)) == 1
    assert files(tmp_path) == {"in.onnx", "s.json"}
    assert sensitivity_file(replace(request, jobs=1, resume=True)).groups == whole.groups


def test_processes_share_the_cores(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Counted(Session):
        def __init__(self, *given: Any, threads: int = 0, **more: Any) -> None:
            asked.append(threads)
            super().__init__(*given, threads=threads, **more)

    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert [share_of_cores(jobs) for jobs in (1, 2, 3, 9)] == [0, 3, 2, 1]
    for file in (losses, least_squares):
        monkeypatch.setattr(file, "Session", Counted)
    for jobs, threads in ((3, 2), (1, 0)):
        asked.clear()
        bench = _bench_there(pickle.dumps(SensitivityRequest(model, jobs=jobs)))
        group = bench.budgets.analysis.groups[0]
        assert [g.id for g in bench.measure({group.id: range(group.size)})] == [group.id]
        assert set(asked) == {threads}


def test_a_cluster_finds_the_same(model: Path) -> None:
    distributed = pytest.importorskip("distributed")
    alone = sensitivity_file(SensitivityRequest(model, criterion="l1"))
    options: dict[str, Any] = {"threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}
    with distributed.LocalCluster(n_workers=1, **options) as cluster:
        request = SensitivityRequest(model, criterion="l1", scheduler=cluster.scheduler_address)
        assert sensitivity_file(request).groups == alone.groups


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"criterion": "l2"}, "criterion differ"),
        ({"seed": 3}, "seed differ"),
        ({"shapes": {"x": (4, 3, 12, 10)}}, "the samples and shapes differ"),
        ({"model": None}, "the model differ"),
    ],
)
def test_another_measurement_is_not_taken_up(model: Path, tmp_path: Path, change: dict[str, Any], why: str) -> None:
    out = tmp_path / "s.json"
    sensitivity_file(SensitivityRequest(model, criterion="l1", out=out))
    before = out.read_bytes()
    if "model" in change:
        change = {"model": saved(cnn(seed=1), tmp_path, "other.onnx")}
    given = {"model": model, "criterion": "l1", "out": out, "resume": True, **change}
    with pytest.raises(SettingsError, match=why):
        sensitivity_file(SensitivityRequest(**given))
    assert out.read_bytes() == before


# ---------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("options", "code", "why"),
    [
        ("--resume", 2, "--resume goes on from the file of --out, which is not given"),
        ("--max-error 0", 2, "--max-error 0: the error lies between 0 and 1"),
        ("--jobs 0", 2, "--jobs 0: must be at least 1"),
        ("--jobs 2 --dask tcp://h:1", 2, "leave out one of them"),
        ("--chart c.png", 2, "--chart c.png: the name must end in .svg"),
        ("--out {model}", 2, "would overwrite an input"),
        ("--out {folder}/nowhere/s.json", 7, "nowhere"),
        ("--out {noise} --resume", 4, "not a file that a measurement of sensitivity has written"),
        ("--out {other} --resume", 4, "not a file that a measurement of sensitivity has written"),
        ("--calibrate {noise}", 4, "noise"),
    ],
)
def test_what_makes_no_sense_is_one_line(model: Path, tmp_path: Path, options: str, code: int, why: str) -> None:
    (tmp_path / "noise").write_text("hm")
    (tmp_path / "other").write_text('{"format": "onnx-attnprune/plan", "version": 1}')
    names = {"model": model, "folder": tmp_path, "noise": tmp_path / "noise", "other": tmp_path / "other"}
    done = run(model, *options.format(**names).split())
    assert done.exit_code == code, done.output
    assert why in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_a_model_without_groups_is_refused(tmp_path: Path) -> None:
    text = "g (float[N, 3] x) => (float[N, 5] y) <float[3, 5] w> { y = MatMul (x, w) }"
    done = run(saved(parse(text), tmp_path), "--out", tmp_path / "s.json")
    assert done.exit_code == 5
    assert "no channel group" in done.stderr
    assert files(tmp_path) == {"in.onnx"}

"""The command that measures: real runs on the CPU, its exit codes, and what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from onnx_attnprune.cli import main
from onnx_attnprune.pipeline import bench as pipeline
from onnx_attnprune.runtime import available_providers
from tests.oracle import parse
from tests.small import cnn, files, saved

QUICK = ("--seconds", "0.01", "--threads", "1")


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


def test_the_help_of_the_command() -> None:
    done = bench("--help")
    assert done.exit_code == 0
    assert done.output.startswith("Usage: onnx-attnprune bench [OPTIONS] MODEL...\n")
    assert all(p.help for p in main.commands["bench"].params if p.param_type_name == "option")  # type: ignore[attr-defined]  # of options


def test_two_models_at_two_batches(tmp_path: Path) -> None:
    one, two = saved(cnn(), tmp_path, "one.onnx"), saved(cnn(seed=1), tmp_path, "two.onnx")
    done = bench(one, two, "--batch", "1,3", *QUICK, "--json", "--report", tmp_path / "r.json")
    assert done.exit_code == 0, done.output
    assert done.stdout == (tmp_path / "r.json").read_text()
    told = json.loads(done.stdout)
    rows = told["rows"]
    assert [(Path(r["model"]).stem, r["batch"], r["outcome"]) for r in rows] == [
        (name, batch, "measured") for batch in (1, 3) for name in ("one", "two")
    ]
    assert [r["shapes"]["x"] for r in rows] == [[b, 3, 12, 10] for b in (1, 1, 3, 3)]
    assert all(r["placement"]["nodes"] == {"cpu": 7} for r in rows)
    assert all(r["latency"]["runs"] >= 5 and r["creation_ms"] > 0 for r in rows)
    assert [r["speed_up"] is None for r in rows] == [True, False, True, False]
    assert told["versions"]["onnxruntime"]


def test_a_table_for_people(tmp_path: Path) -> None:
    done = bench(saved(cnn(), tmp_path), *QUICK)
    assert (done.exit_code, done.stderr) == (0, "")
    for text in ("latency, batch 1 (1x3x12x10)", "sessions", "7 of 7"):
        assert text in done.stdout


def test_a_shape_of_one_model_only(tmp_path: Path) -> None:
    other = saved(parse("g (float[N, 4] z) => (float[N, 4] y) {y = Neg(z)}"), tmp_path, "other.onnx")
    done = bench(saved(cnn(), tmp_path), other, "--shape", "z=2x4", *QUICK, "--json")
    assert done.exit_code == 0, done.output
    one, two = json.loads(done.stdout)["rows"]
    assert (one["batch"], one["shapes"], two["batch"], two["shapes"]) == (1, {"x": [1, 3, 12, 10]}, None, {"z": [2, 4]})


def test_a_provider_that_falls_back_is_an_error_after_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnx_attnprune.evaluate import bench as evaluate
    from onnx_attnprune.evaluate.probe import Probe
    from onnx_attnprune.runtime import Placement

    model = saved(cnn(), tmp_path)
    monkeypatch.setattr(pipeline, "resolve_provider", lambda name: name)
    monkeypatch.setattr(evaluate, "probe", lambda *_: Probe(1.0, None, Placement({"cpu": 7}, ())))
    done = bench(model, "--provider", "openvino,cpu", *QUICK, "--report", tmp_path / "r.json")
    assert done.exit_code == 9
    assert "openvino   fell back" in done.stdout
    assert done.stderr == (
        f"error: 1 of 2 not measured: {model} on openvino: openvino took none of the nodes; they run on cpu\n"
    )
    assert (tmp_path / "r.json").is_file()
    done = bench(model, "--provider", "openvino", *QUICK, "--report", tmp_path / "s.json")
    assert (done.exit_code, done.stdout) == (9, "")
    assert not (tmp_path / "s.json").exists()


BAD: dict[str, tuple[int, str, list[str]]] = {
    "missing": (3, "none.onnx: no such file", ["none.onnx"]),
    "unknown input": (2, "--shape q: no model has such an input; there are: x", ["in.onnx", "--shape", "q=1x2"]),
    "a size that does not fit": (2, "the model fixes", ["in.onnx", "--shape", "x=1x4x12x10"]),
    "batch twice": (2, "--batch 1,1: names one twice", ["in.onnx", "--batch", "1,1"]),
    "provider twice": (2, "--provider cpu,cpu: names one twice", ["in.onnx", "--provider", "cpu,cpu"]),
    "batch that is fixed": (2, "the batch is not free", ["in.onnx", "--shape", "x=1x3x12x10", "--batch", "2"]),
    "no time": (2, "--seconds 0: must be", ["in.onnx", "--seconds", "0"]),
    "time without end": (2, "--seconds inf: must be", ["in.onnx", "--seconds", "inf"]),
    "threads": (2, "--threads -1", ["in.onnx", "--threads", "-1"]),
    "report over the input": (2, "would overwrite an input", ["in.onnx", "--report", "in.onnx"]),
    "report in no folder": (7, "No such file or directory", ["in.onnx", "--report", "no/r.json"]),
    "provider not there": (9, "pip install onnxruntime-gpu", ["in.onnx", "--provider", "cpu,cuda"]),
}  # fmt: skip  # one line each


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, told, arguments = BAD[name]
    if name == "provider not there" and "cuda" in available_providers():
        pytest.skip("this machine has it")
    saved(cnn(), tmp_path)
    monkeypatch.chdir(tmp_path)
    done = bench(*arguments)
    assert (done.exit_code, done.stdout) == (code, ""), done.output
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert files(tmp_path) == {"in.onnx"}


@pytest.mark.parametrize("wrong", [["--provider", "cpu,abacus"], ["--batch", "0"], ["--batch", "1,"], ["--nix"]])
def test_malformed_command_lines(wrong: list[str], tmp_path: Path) -> None:
    done = bench(saved(cnn(), tmp_path), *wrong)
    assert done.exit_code == 2
    assert "Error: " in done.stderr


def test_a_model_that_does_not_run(tmp_path: Path) -> None:
    model = cnn()
    model.graph.node[1].op_type = "Riddle"
    done = bench(saved(model, tmp_path), *QUICK)
    assert (done.exit_code, done.stdout) == (3, "")
    assert "1 of 1 not measured" in done.stderr
    assert "Riddle" in done.stderr

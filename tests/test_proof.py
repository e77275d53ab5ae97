"""Both models on several providers and on a phone, as parts of a run: `--bench`, and the report of `--deploy nnapi`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnx_attnprune.errors import ModelError
from onnx_attnprune.evaluate import bench
from onnx_attnprune.evaluate.measure import Speed
from onnx_attnprune.evaluate.probe import Probe
from onnx_attnprune.pipeline import proof
from onnx_attnprune.pipeline.proof import speed_on
from onnx_attnprune.runtime import Placement, available_providers
from tests.report.test_latencies import ROWS, SHAPES
from tests.report.test_terminal import latency
from tests.small import cnn, files, run, saved

QUICK = ("--latency-seconds", 0.01, "--recover", "none", "--threads", 1)


def test_the_rows_of_a_run(tmp_path: Path) -> None:
    path, out = saved(cnn(), tmp_path), tmp_path / "out.onnx"
    done = run(path, out, "--bench", "cpu", *QUICK, "--json", "--report", tmp_path / "r.html")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [(row["model"], row["provider"], row["outcome"], row["batch"]) for row in found["bench"]] == [
        (str(path), "cpu", "measured", None), (str(out), "cpu", "measured", None),
    ]  # fmt: skip  # one a model
    assert found["speed"]["speedup"] == found["bench"][1]["speed_up"]["factor"]
    assert found["speed"]["after"] == found["bench"][1]["latency"]
    names = [stage["name"] for stage in found["stages"]]
    assert "bench" in names
    assert "latency" not in names  # nothing is measured twice
    assert "peak memory" in (tmp_path / "r.html").read_text()


def test_a_provider_that_falls_back_is_told_and_never_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "probe", lambda *_: Probe(1.0, None, Placement({"abacus": 7}, ())))
    done = run(saved(cnn(), tmp_path), tmp_path / "out.onnx", "--bench", "cpu", *QUICK, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {row["outcome"] for row in found["bench"]} == {"fell back"}
    assert found["speed"] is None
    assert found["warnings"] == ["not measured on cpu: fell back: cpu took none of the nodes; they run on abacus"]
    assert (tmp_path / "out.onnx").is_file()


def test_a_speed_needs_both_models() -> None:
    assert speed_on(ROWS, "cpu") == Speed("cpu", latency(14.2), latency(7.1), 2.0, SHAPES)
    assert speed_on(ROWS, "xnnpack") is None
    assert speed_on(ROWS, "cuda") is None


def test_a_dry_run_says_that_it_measures_nothing(tmp_path: Path) -> None:
    done = run(saved(cnn(), tmp_path), "--dry-run", "--bench", "cpu", *QUICK, "--json")
    assert "a dry run measures no latency" in json.loads(done.stdout)["notes"]


MISSING = next(name for name in ("nnapi", "qnn", "cuda") if name not in available_providers())


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        (
            ("--bench", "cpu", "--latency-seconds", 0),
            2,
            "--bench has to measure: it can't be had with --latency-seconds 0",
        ),
        (("--bench", "cpu,cpu", *QUICK), 2, "--bench cpu,cpu: names one twice"),
        (("--bench", "abacus", *QUICK), 2, "'abacus' is not one of"),
        (("--bench", f"cpu,{MISSING}", *QUICK), 9, f"has no {MISSING} provider"),
    ],
)
def test_what_makes_no_sense(tmp_path: Path, given: tuple[object, ...], code: int, told: str) -> None:
    done = run(saved(cnn(), tmp_path), tmp_path / "out.onnx", *given)
    assert done.exit_code == code
    assert told in " ".join(done.stderr.split())
    assert files(tmp_path) == {"in.onnx"}


# ---------------------------------------------------------------- phones
def test_what_a_phone_takes(tmp_path: Path) -> None:
    path, out = saved(cnn(), tmp_path), tmp_path / "out.onnx"
    done = run(path, out, "--deploy", "nnapi", "--recover", "none", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["phone"]
    assert (found["before"]["model"], found["after"]["model"]) == (str(path), str(out))
    assert found["after"]["shapes"] == {"x": [1, 3, 12, 10]}
    assert found["after"]["partitions"]["supported"] == found["before"]["partitions"]["supported"] > 0
    assert (found["before"]["uneven"], found["after"]["uneven"]) == (["w1", "w2"], [])
    assert found["changes"] == []
    assert files(tmp_path) == {"in.onnx", "out.onnx"}
    assert json.loads(run(path, out, "--recover", "none", "--json").stdout)["phone"] is None


def test_an_analysis_that_fails_says_nothing_against_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usability(*_: object) -> None:
        raise ModelError("the shapes can't be fixed: why")

    monkeypatch.setattr(proof, "usability", usability)
    done = run(saved(cnn(), tmp_path), tmp_path / "out.onnx", "--deploy", "nnapi", "--recover", "none", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["phone"] is None
    assert "what NNAPI takes is not known: the shapes can't be fixed: why" in found["notes"]

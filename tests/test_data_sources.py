"""Samples from images and functions, and labels that are no classes, through whole runs of the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnx_attnprune.pipeline.choice import budgets_of
from onnx_attnprune.pipeline.request import Clock, Request
from onnx_attnprune.pipeline.samples import (
    FEWEST,
    LEAST_MACS,
    MACS,
    MADE_UP,
    MOST_MACS,
    SAMPLES,
    drawn,
    made_up,
    unlabelled,
)
from onnx_attnprune.pipeline.source import read
from onnx_attnprune.planning import Settings
from tests.oracle import parse
from tests.small import cnn, labelled, run, saved

MODULE = """
import numpy as np

def batches():
    rng = np.random.default_rng(0)
    for _ in range(5):
        yield {"x": rng.random((8, 3, 12, 10), dtype=np.float32)}, rng.integers(0, 7, 8)

def endless():
    while True:
        yield next(iter(batches()))[0]

def mean_first(outputs, labels):
    return {"mean first": outputs["y"][:, 0].mean(), "samples": len(labels)}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a model, a module and images."""
    import sys

    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "whole_run_data", raising=False)
    (tmp_path / "whole_run_data.py").write_text(MODULE)
    saved(cnn(), tmp_path)
    rng = np.random.default_rng(0)
    for k in range(12):
        path = tmp_path / f"photos/class{k % 3}/{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 14, 3), dtype=np.uint8)).save(path)
    return tmp_path


def test_images(folder: Path) -> None:
    given = ["--eval", "photos", "--calibrate", "photos", "--preprocess", "mean=0.4/0.5/0.6"]
    done = run("in.onnx", "out.onnx", "--json", *given)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["accuracy"]["before"]["n"], found["accuracy"]["data"]) == (12, "photos")
    assert "12 samples of photos" in found["repair"]["method"]


def test_functions(folder: Path) -> None:
    names = [f"whole_run_data:{name}" for name in ("batches", "endless", "mean_first")]
    done = run("in.onnx", "out.onnx", "--json", "--eval", names[0], "--calibrate", names[1], "--metric", names[2])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert list(found["accuracy"]["before"]["values"]) == ["mean first", "samples"]
    assert found["accuracy"]["before"]["values"]["samples"] == 40
    assert "256 samples of whole_run_data:endless" in found["repair"]["method"]
    done = run("in.onnx", "out.onnx", "--eval", names[0], "--metric", names[2])
    assert "mean first of 40 samples" in done.stdout


def test_a_search_by_the_users_own_metric(folder: Path) -> None:
    done = run(
        "in.onnx", "out.onnx", "--json", "--eval", "whole_run_data:batches", "--metric", "whole_run_data:mean_first",
        "--max-drop", "0.9", "--round-to", "4",
    )  # fmt: skip  # two lines
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["search"]["measure"] == "mean first"


def test_values(tmp_path: Path) -> None:
    model = parse(
        """g (float[N, 3, 12, 10] x) => (float[N, 1] y)
        <float[20, 3, 3, 3] w1, float[20] b1, float[1, 20] w3>
        { a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
          r = Relu (a)
          p = GlobalAveragePool (r)
          f = Flatten (p)
          y = Gemm <transB = 1> (f, w3) }"""
    )
    data = labelled(tmp_path, labels=np.random.default_rng(0).standard_normal(30))
    done = run(saved(model, tmp_path), tmp_path / "out.onnx", "--eval", data, "--report", tmp_path / "r.json")
    assert done.exit_code == 0, done.output
    for text in ("R2 of 30 samples", "mean absolute error", "root mean squared error", "before repair"):
        assert text in done.stdout
    assert set(json.loads((tmp_path / "r.json").read_text())["accuracy"]["after"]) == {"n", "mae", "rmse", "r2"}


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        (["--eval", "whole_run_data:nothing"], 2, "module 'whole_run_data' has no 'nothing'"),
        (["--eval", "whole_run_data:endless"], 4, "item 1 is a dict; evaluation needs pairs"),
        (["--eval", "no_module_here:f"], 2, "there is no module 'no_module_here'"),
        (["--eval", "photos", "--preprocess", "size=9"], 2, "makes images of shape [3, 9, 9]"),
        (["--eval", "photos", "--preprocess", "nix"], 2, "'nix' is not of the form key=value"),
        (["--preprocess", "size=9"], 2, "no samples come from one"),
        (["--metric", "whole_run_data:mean_first"], 2, "--metric judges outputs by the labels of --eval"),
        (["--eval", "photos", "--metric", "mean"], 2, "--metric mean: is not of the form MODULE:FUNCTION"),
        (["--eval", "photos", "--preprocess", "labels=none.txt"], 4, "none.txt: can't be read"),
    ],
)
def test_what_is_wrong_is_one_line(folder: Path, given: list[str], code: int, told: str) -> None:
    done = run("in.onnx", "out.onnx", *given)
    assert (done.exit_code, done.stdout) == (code, "")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (folder / "out.onnx").exists()


def test_more_samples_than_a_repair_takes_are_taken_from_all(tmp_path: Path) -> None:
    """Every sample holds its own number."""
    x = np.broadcast_to(np.arange(600, dtype=np.float32)[:, None, None, None], (600, 3, 12, 10))
    path, data = saved(cnn(), tmp_path), labelled(tmp_path, x=x, labels=None)
    request = Request(path, None, Settings(ratio=0.3), calibration=data)
    clock = Clock(lambda _: None)
    source = read(request, clock)
    found = budgets_of(request, source, source.shapes, clock).calibration
    assert found.source == "256 samples of data.npz (evenly out of 600)"
    taken = sorted(int(sample.flat[0]) for feeds in found.runs for sample in feeds["x"])
    assert len(set(taken)) == 256
    assert max(np.diff([-1, *taken, 600])) <= 3
    rest, _ = unlabelled(request, source)
    assert rest is not None
    left = sorted(int(sample.flat[0]) for sample in np.asarray(rest.feeds["x"]))
    assert sorted(taken + left) == list(range(600))


def test_drift_on_labelled_samples_is_of_all(tmp_path: Path) -> None:
    """Only the last samples are so large that the outputs move far."""
    x = np.random.default_rng(1).standard_normal((300, 3, 12, 10)).astype(np.float32)
    path, moved = saved(cnn(), tmp_path), []
    for scale in (1, 100):
        x[-40:] *= scale
        done = run(path, tmp_path / "out.onnx", "--recover", "none", "--json", "--eval", labelled(tmp_path, 300, x=x))
        moved.append(json.loads(done.stdout)["drift"]["outputs"][0]["max_abs"])
    assert moved[1] > 10 * moved[0]


def test_whole_runs_are_measured_as_they_are(tmp_path: Path) -> None:
    """An input that is one number: neither drift nor latency can count samples in it."""
    model = parse(
        """g (float[N, 3] x, float rate) => (float[N, 4] y) <float[3, 12] w1, float[12, 4] w2>
        { a = MatMul (x, w1)  b = Relu (a)  c = Mul (b, rate)  y = MatMul (c, w2) }"""
    )
    x = np.random.default_rng(0).standard_normal((40, 5, 3)).astype(np.float32)
    path = saved(model, tmp_path)
    np.savez(tmp_path / "runs.npz", x=x, rate=np.float32(2))
    given = ("--calibrate", tmp_path / "runs.npz", "--round-to", 1)
    done = run(path, tmp_path / "out.onnx", "--json", "--latency-seconds", 0.02, *given)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert "40 runs of runs.npz" in found["repair"]["method"]
    assert found["speed"]["shapes"] == {"x": [5, 3], "rate": []}
    done = run(path, tmp_path / "out.onnx", "--target-latency", 0.99, "--latency-seconds", 0.02, *given)
    assert done.exit_code in (0, 5), done.output  # a network so small need not get faster
    assert done.exit_code == 0 or "can't be kept" in done.stderr


def test_the_report_tells_how_long_samples_took_to_make(tmp_path: Path) -> None:
    done = run(saved(cnn(), tmp_path), tmp_path / "out.onnx", "--json", "--latency-seconds", 0, "--round-to", 1)
    assert done.exit_code == 0, done.output
    parts = dict(json.loads(done.stdout)["repair"]["parts"])
    assert next(iter(parts)) == "samples"
    assert parts["samples"] > 0


@pytest.mark.parametrize(
    ("macs", "samples"),
    [
        (0, MADE_UP),
        (LEAST_MACS // 500, 500),
        (LEAST_MACS // 100, SAMPLES),
        (MACS // SAMPLES, SAMPLES),
        (MACS // 100, 100),
        (MACS // FEWEST, FEWEST),
        (MOST_MACS // FEWEST, FEWEST),
        (MOST_MACS // 10, 10),
        (MOST_MACS, 4),
    ],
)
def test_a_large_network_is_repaired_on_fewer_made_up_samples(macs: int, samples: int) -> None:
    assert made_up(macs, MADE_UP) == samples
    assert made_up(macs, SAMPLES) == min(samples, SAMPLES)


def test_large_pictures_are_no_more_than_the_usual_number() -> None:
    assert made_up(1, drawn(3 * 32 * 32)) == MADE_UP
    assert made_up(1, drawn(3 * 224 * 224)) == SAMPLES


def test_few_made_up_samples_are_still_runs_of_which_some_are_held_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("LEAST_MACS", "MACS", "MOST_MACS"):
        monkeypatch.setattr(f"onnx_attnprune.pipeline.samples.{limit}", 1)
    request = Request(saved(cnn(), tmp_path), tmp_path / "out.onnx", Settings(ratio=0.3))
    clock = Clock(lambda _: None)
    source = read(request, clock)
    calibration = budgets_of(request, source, source.shapes, clock).calibration
    assert [len(feeds["x"]) for feeds in calibration.runs] == [1] * 4
    assert calibration.source.startswith("4 procedural samples")

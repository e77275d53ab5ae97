"""The command that compares, from report files to its page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from onnx_attnprune.cli import main
from tests.report.page.reading import faults
from tests.small import cnn, files, run, saved


def compare(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two reports on one model, and one on another."""
    folder = tmp_path_factory.mktemp("runs")
    one, other = saved(cnn(), folder), saved(cnn(seed=3), folder, "other.onnx")
    for model, name, ratio in ((one, "a", 0.2), (one, "b", 0.5), (other, "c", 0.5)):
        options = ("--ratio", ratio, "--recover", "none", "--latency-seconds", 0, "--report", folder / f"{name}.json")
        done = run(model, folder / "out.onnx", *options, "--quiet")
        assert done.exit_code == 0, done.output
    return folder


def test_runs_are_compared(folder: Path) -> None:
    done = compare(folder / "a.json", folder / "b.json", "--html", folder / "page.html")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "2 runs on" in done.stdout
    assert "cosine of the outputs" in done.stdout
    assert faults((folder / "page.html").read_text()) == []
    told = json.loads(compare(folder / "a.json", folder / "b.json", "--json").stdout)
    assert told["differing"] == {"ratio": [0.2, 0.5]}
    assert told["runs"][0]["macs"] > told["runs"][1]["macs"]


@pytest.mark.parametrize(
    ("names", "code", "told"),
    [
        (["a.json"], 2, "give two reports or more"),
        (["a.json", "a.json"], 2, "a.json: given twice"),
        (["a.json", "c.json"], 4, "c.json: a report on another model than"),
        (["a.json", "in.onnx"], 4, "in.onnx: not a report"),
        (["a.json", "b.json", "--html", "p.txt"], 2, "--html p.txt: the name must end in .html"),
        (["a.json", "b.json", "--html", "no/p.html"], 7, "No such file or directory"),
    ],
)
def test_what_is_refused(folder: Path, names: list[str], code: int, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    before = files(folder)
    done = compare(*names)
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert files(folder) == before

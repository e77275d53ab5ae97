"""The commands for phones, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from onnx_attnprune.cli import main
from tests.small import cnn, files, saved
from tests.test_deploy import pruned, splits


def device(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["device", *map(str, arguments)])


# ---------------------------------------------------------------- check
def test_one_model(tmp_path: Path) -> None:
    done = device("check", saved(cnn(), tmp_path))
    assert (done.exit_code, done.stderr) == (0, "")
    words = " ".join(done.stdout.split())
    assert "usability analysis (1x3x12x10)" in words
    assert "yes 7 of 7 1 0 of 2 convs" in words
    assert "changed" not in words


def test_pruning_without_and_with_deploy(tmp_path: Path) -> None:
    pruned(tmp_path, "--round-to", 1)
    done = device("check", tmp_path / "in.onnx", tmp_path / "o.onnx")
    assert done.exit_code == 0
    words = " ".join(done.stdout.split())
    assert "Split: its parts are not equal 1 2" in words
    assert "1 Split node more that NNAPI does not take" in words
    pruned(tmp_path, "--round-to", 1, "--deploy", "nnapi")
    done = device("check", tmp_path / "in.onnx", tmp_path / "o.onnx")
    assert "Split node" not in done.stdout
    onnx.save(splits(), tmp_path / "same.onnx")
    done = device("check", tmp_path / "in.onnx", tmp_path / "same.onnx")
    assert "changed nothing that NNAPI minds" in " ".join(done.stdout.split())


def test_check_for_programs(tmp_path: Path) -> None:
    pruned(tmp_path, "--round-to", 1)
    done = device("check", tmp_path / "in.onnx", tmp_path / "o.onnx", "--shape", "x=2x3x8x6", "--json")
    told = json.loads(done.stdout)
    assert (told["format"], told["version"]) == ("onnx-attnprune/usability", 1)
    assert [m["shapes"] for m in told["models"]] == [{"x": [2, 3, 8, 6]}] * 2
    assert [m["partitions"]["supported"] for m in told["models"]] == [10, 9]
    assert len(told["changes"]) == 3


@pytest.mark.parametrize(
    ("code", "told", "arguments"),
    [
        (3, "none.onnx: no such file", ["check", "none.onnx"]),
        (2, "compares two models at most", ["check", "in.onnx", "in.onnx", "in.onnx"]),
        (2, "the model has no input q", ["check", "in.onnx", "--shape", "q=1"]),
    ],
)
def test_bad_input(code: int, told: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(cnn(), tmp_path)
    monkeypatch.chdir(tmp_path)
    done = device(*arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert files(tmp_path) == {"in.onnx"}


def test_every_command_has_help_and_examples() -> None:
    group = main.commands["device"]
    told = device("--help").output
    for name, command in group.commands.items():  # type: ignore[attr-defined]  # of a group
        assert f"  {name} " in told
        text = device(name, "--help").output
        assert f"onnx-attnprune device {name} " in text
        assert "Examples:" in text
        assert all(p.help for p in command.params if p.param_type_name == "option")

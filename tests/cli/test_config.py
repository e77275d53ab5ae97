"""Options from a TOML file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from onnx_attnprune.cli import main
from tests.small import cnn, files, run, saved


def config(folder: Path, text: str) -> Path:
    path = folder / "c.toml"
    path.write_text(text)
    return path


def settings(folder: Path, *given: object) -> dict[str, object]:
    done = run(saved(cnn(), folder), "--dry-run", "--json", *given)
    assert done.exit_code == 0, done.output
    found: dict[str, object] = json.loads(done.stdout)["settings"]
    return found


def test_a_file_is_equal_to_the_flags(tmp_path: Path) -> None:
    flags = ["--ratio", 0.4, "--criterion", "l1", "--round-to", 2, "--exclude", "w3", "--layer-ratio", "w1=0.5",
             "--shape", "x=3x3x12x10", "--seed", 7, "--streams", "keep"]  # fmt: skip  # a list
    text = """
    [prune]
    ratio = 0.4
    criterion = "l1"
    round-to = 2
    exclude = ["w3"]
    layer_ratio = {w1 = 0.5}
    shape = {x = [3, 3, 12, 10]}
    seed = 7
    streams = "keep"

    [inspect]
    json = true
    """
    path = config(tmp_path, text)
    assert settings(tmp_path, "--config", path) == settings(tmp_path, *flags)
    done = CliRunner().invoke(main, ["inspect", str(tmp_path / "in.onnx"), "--config", str(path)])
    assert json.loads(done.stdout)["format"] == "onnx-attnprune/inspection"


def test_the_command_line_counts_more(tmp_path: Path) -> None:
    path = config(tmp_path, "[prune]\nratio = 0.4\nseed = 3\n")
    assert settings(tmp_path, "--config", path, "--seed", 5)["seed"] == 5
    found = settings(tmp_path, "--config", path, "--threshold", 0.2, "--round-to", 1)
    assert (found["ratio"], found["threshold"], found["seed"]) == (None, 0.2, 3)


def test_true_and_false(tmp_path: Path) -> None:
    path = config(tmp_path, "[prune]\ndry-run = true\nquiet = false\njson = true\n")
    done = run(saved(cnn(), tmp_path), "--config", path)
    assert json.loads(done.stdout)["output"] is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ratio = 0.4", "ratio: put options below a table of their command, such as [prune]"),
        ("[bench]\nratio = 0.4", "no table [prune]; it has: bench"),
        ("[prune]\nratoi = 0.4", "[prune] ratoi: no such option; choose from: "),
        ("[prune]\nconfig = 'x'", "[prune] config: no such option"),
        ("[prune]\nexclude = 'w2'", "exclude: a list or a table is needed, not one value"),
        ("[prune]\nratio = [0.4]", "ratio: one value is needed, not a list or a table"),
        ("[prune]\nratio = true", "ratio: one value is needed, not true or false"),
        ("[prune]\ndry-run = 1", "dry-run: true or false is needed, not one value"),
        ("[prune]\nratio = 'x'", "'x' is no number"),
        ("[prune\n", "no TOML: "),
        ("[prune]\nratio = 1.5", "--ratio 1.5"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    done = run(saved(cnn(), tmp_path), tmp_path / "out.onnx", "--config", config(tmp_path, text))
    assert done.exit_code == 2
    assert said in done.stderr
    assert files(tmp_path) == {"in.onnx", "c.toml"}


def test_no_such_file(tmp_path: Path) -> None:
    done = run(saved(cnn(), tmp_path), tmp_path / "out.onnx", "--config", tmp_path / "none.toml")
    assert done.exit_code == 2
    assert "none.toml: No such file or directory" in done.stderr


def test_a_plan_has_decided_what_a_configuration_asks_for(tmp_path: Path) -> None:
    path = config(tmp_path, "[prune]\nratio = 0.4\n")
    done = run(saved(cnn(), tmp_path), tmp_path / "out.onnx", "--config", path, "--from-plan", "p.json")
    assert done.exit_code == 2
    assert "--from-plan has decided what goes: leave out --ratio" in done.stderr

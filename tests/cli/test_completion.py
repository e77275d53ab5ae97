"""What a shell is told."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from onnx_attnprune.cli import main
from onnx_attnprune.cli.completion import VARIABLE


def completed(line: str) -> list[str]:
    """The words that click's script for bash gets for the last word of a line."""
    words = line.split(" ")
    code = "from onnx_attnprune.cli import main; main(prog_name='onnx-attnprune')"
    variables = {VARIABLE: "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return [part.split(",")[-1] for part in done.stdout.split()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert f"{VARIABLE}={shell}_complete" in done.stdout


def test_options_commands_and_choices() -> None:
    assert completed("onnx-attnprune in.onnx --target-m") == ["--target-macs"]
    assert "inspect" in completed("onnx-attnprune ins")
    assert completed("onnx-attnprune inspect --gr") == ["--graph"]
    assert completed("onnx-attnprune a b --criterion att") == ["attention", "attention-literal"]

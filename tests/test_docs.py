"""The documentation: the pages that are made from the code are whole, and the commands on the others work."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import click
import numpy as np
import pytest
from click.testing import CliRunner

from onnx_attnprune.cli import main
from onnx_attnprune.ops import RULES
from tests.standin.setup import stand_in

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from axis_pictures import EXAMPLES, picture  # noqa: E402  # the line above lets it be found
from reference import commands_page, operators_page  # noqa: E402  # as above


def leaves(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name."""
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from leaves(f"{path} {name}", inner)


COMMANDS = {"onnx-attnprune": main.default} | dict(list(leaves("onnx-attnprune", main))[1:])


# ---------------------------------------------------------------- pages from the code
def test_every_command_and_option_is_in_the_reference() -> None:
    page = commands_page()
    for path, command in COMMANDS.items():
        section = page.split(f"\n## {path}\n")[1].split("\n## ")[0]
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.opts[0] in section, (path, option.name)


def test_every_operator_is_on_its_page_with_its_rule() -> None:
    rows = [line for line in operators_page().splitlines() if line.startswith("| ") and "---" not in line]
    cells = [row.strip("| ").split(" | ") for row in rows]
    names = {(domain.replace("ai.onnx", ""), name) for name, domain, *_ in cells}
    assert RULES.keys() <= names
    assert all(told.strip() for *_, told in cells)


@pytest.mark.parametrize("name", EXAMPLES)
def test_pictures_show_shared_variables(name: str) -> None:
    drawn = ElementTree.fromstring(picture(EXAMPLES[name]))
    space = "{http://www.w3.org/2000/svg}"
    assert drawn.find(f"{space}title") is not None
    told = drawn.findtext(f"{space}desc") or ""
    assert {"axes-heads.svg": "wo: (a 4 x c 6), 32", "axes-concat.svg": "w3: 10, (a 16 | b 24), 1, 1",
            "axes-residual.svg": "w4: 10, a 16, 1, 1"}[name] in told  # fmt: skip  # a line each


# ---------------------------------------------------------------- commands on the pages
def written() -> Iterator[tuple[str, list[str]]]:
    """(page, words) of every command of this project in a shell block of the documentation."""
    for page in sorted((ROOT / "docs").glob("*.md")):
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0] == "onnx-attnprune":
                    yield page.name, words[1:]


def test_options_on_the_pages_are_known() -> None:
    found = list(written())
    assert len(found) >= 8
    for page, words in found:
        path = "onnx-attnprune"
        for word in words:
            path = f"{path} {word}" if f"{path} {word}" in COMMANDS else path
        known = {o for p in COMMANDS[path].params for o in p.opts} | {"--help"}
        used = {w.split("=")[0] for w in words if w.startswith("--")}
        assert used <= known, (page, words)


@pytest.mark.parametrize("words", [w for _, w in written() if any(x.startswith("models/") for x in w)], ids=" ".join)
def test_commands_on_files_of_the_repository_run(words: list[str], tmp_path: Path) -> None:
    given = [str(ROOT / w) if w.startswith("models/") else w for w in words]
    given = [str(tmp_path / w) if w.endswith(".onnx") and w == Path(w).name else w for w in given]
    quick = ["--latency-seconds", "0"] if words[0] not in main.commands else []
    done = CliRunner().invoke(main, [*given, *quick])
    assert done.exit_code == 0, done.output


def test_the_page_on_phones_from_start_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = stand_in(tmp_path / "home")
    home.tools.rename(tmp_path / "android-tools")
    monkeypatch.setenv("PATH", f"{home.home}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "models/fashion_mobilenet.onnx", "model.onnx")
    with np.load(ROOT / "models/fashion_mnist_calibration.npz") as given:
        np.savez("samples.npz", **{name: given[name][:32] for name in given.files})
    quick = {"run": ["--provider", "cpu", "--repeats", "1", "--runs", "1"], "model.onnx": ["--latency-seconds", "0"]}
    commands = [words for page, words in written() if page == "phone.md"]
    assert [words[:2] for words in commands[1:]] == [["device", name] for name in ("check", "bundle", "run")]
    for words in commands:
        more = next((extra for word, extra in quick.items() if word in words[:2]), [])
        done = CliRunner().invoke(main, [*words, *more])
        assert done.exit_code == 0, done.output
    assert json.loads(Path("phone.json").read_text())["format"] == "onnx-attnprune/bench"
    page = Path("phone.html").read_text()
    assert "<h1><bdi>model.onnx</bdi> and <bdi>small.onnx</bdi> on <bdi>Acme Anvil 9</bdi></h1>" in page

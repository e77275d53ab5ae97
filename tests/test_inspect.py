"""The command that only looks: groups, shares, obstacles, and a picture of them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from onnx_attnprune.cli import main

MODELS = Path(__file__).parents[1] / "models"


def run(*arguments: object) -> Result:
    """The command, as a user gives it."""
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)])


def test_it_tells_groups_shares_and_obstacles() -> None:
    done = run(MODELS / "fashion_resnet.onnx")
    assert done.exit_code == 0
    for text in ("stages.2.0.conv2", "what can be cut", "what is in the way", "graph output", "fc.weight"):
        assert text in done.stdout


def test_json_counts_what_one_channel_costs() -> None:
    done = run(MODELS / "fashion_vgg.onnx", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    groups = {g["name"]: g for g in found["groups"]}
    assert len(groups) == 5
    for group in groups.values():
        assert group["parameters"] > 0
        assert group["macs"] > 0
        assert {m["role"] for m in group["members"]} >= {"producer", "consumer"}


@pytest.mark.parametrize("ending", ["svg", "html"])
def test_the_picture_is_one_well_formed_file(tmp_path: Path, ending: str) -> None:
    target = tmp_path / f"picture.{ending}"
    done = run(MODELS / "fashion_mobilenet.onnx", "--graph", target)
    assert done.exit_code == 0, done.output
    text = target.read_text()
    drawing = text[text.index("<svg") : text.index("</svg>") + 6]
    names = {e.tag.rpartition("}")[2] for e in ET.fromstring(drawing).iter()}
    assert {"title", "rect", "text"} <= names
    assert "Conv" in text


def test_a_file_of_the_command_s_name_is_pruned_by_its_path(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [str(tmp_path / "inspect"), str(tmp_path / "out.onnx")])
    assert done.exit_code == 3
    assert "no such file" in done.stderr


def test_a_file_that_is_no_model_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    done = run(tmp_path / "x.onnx")
    assert done.exit_code == 3
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1

"""The command that only looks: what it prints and draws, and how it and the pruning share one name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from onnx_attnprune.cli import main
from tests.oracle import fill, parse
from tests.small import cnn, files, saved

MODELS = Path(__file__).parents[1] / "models"
SVG = "{http://www.w3.org/2000/svg}"


def inspect(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)])


# ---------------------------------------------------------------- commands
def test_every_command_is_in_the_help() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    for name, command in main.commands.items():
        assert re.search(rf"^ +{name} +{re.escape(command.get_short_help_str(100))}$", text, re.M)


def test_the_help_of_the_command() -> None:
    done = inspect("--help")
    assert done.exit_code == 0
    assert done.output.startswith("Usage: onnx-attnprune inspect [OPTIONS] MODEL.onnx\n")
    assert all(p.help for p in main.commands["inspect"].params if p.param_type_name == "option")


def test_the_help_imports_nothing_heavy() -> None:
    code = """
import sys
from onnx_attnprune.cli import main
try:
    main(["inspect", "--help"])
except SystemExit as end:
    assert end.code == 0
heavy = {"numpy", "onnx", "onnxruntime", "rich", "google", "graphlay"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_of_the_command_s_name_is_pruned_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved(cnn(), tmp_path, "inspect")
    done = CliRunner().invoke(main, ["./inspect", "out.onnx", "--latency-seconds", "0", "--recover", "none"])
    assert done.exit_code == 0, done.output
    assert files(tmp_path) == {"inspect", "out.onnx"}
    done = CliRunner().invoke(main, ["inspect", "out.onnx"])
    assert done.exit_code == 0, done.output
    assert files(tmp_path) == {"inspect", "out.onnx"}


def test_options_may_stand_before_the_file_to_prune(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--dry-run", "--json", str(saved(cnn(), tmp_path))])
    assert json.loads(done.stdout)["format"] == "onnx-attnprune/report"


# ---------------------------------------------------------------- what it prints
@pytest.mark.parametrize("width", ["80", "120"])
def test_a_look_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    monkeypatch.setenv("COLUMNS", width)
    done = inspect(saved(cnn(), tmp_path))
    assert (done.exit_code, done.stderr) == (0, "")
    assert all(len(line.rstrip()) <= int(width) for line in done.stdout.splitlines())
    text = " ".join(done.stdout.split())
    # 20 channels: 27 weights each and a bias, 36 * 9 weights behind; a run has 120 places.
    assert "w1 20 352 42.1 k" in text
    assert "w2 36 188 21.6 k" in text
    lies = "1 producer, 1 bias, 1 consumer"
    assert (lies in text) == (width == "120")
    assert "parameters 7,335 99.9% 28.0%" in text
    assert "MACs (1x3x12x10) 842,652 100.0% 26.9%" in text
    assert "1. graph input layers with 7.4% of the parameters and 7.7% of the MACs: 1 axis with 3 channels" in text
    assert "2. graph output layers with 3.5% of the parameters and 0.0% of the MACs: 2 axes with 14 channels" in text
    assert "for example w3, kept by y" in text
    assert "3." not in text.split("in the way")[1].replace("3.5%", "")


def test_json_is_all_of_standard_output(tmp_path: Path) -> None:
    done = inspect(saved(cnn("5"), tmp_path), "--json")
    found = json.loads(done.stdout)
    assert (found["format"], found["version"]) == ("onnx-attnprune/inspection", 1)
    assert found["shapes"] == {"x": [5, 3, 12, 10]}
    assert found["groups"][0] == {
        "name": "w1", "size": 20, "within": [], "parameters": 352, "macs": 5 * 120 * 351,
        "members": [{"tensor": "w1", "axis": 0, "role": "producer"}, {"tensor": "b1", "axis": 0, "role": "bias"},
                    {"tensor": "w2", "axis": 1, "role": "consumer"}],
        "spared": "",
    }  # fmt: skip  # a group
    assert done.stderr == ""


def test_shapes(tmp_path: Path) -> None:
    model = parse(
        "g (float[N,3,H,W] x) => (float[N,5,H,W] y) <float[7,3,1,1] w, float[5,7,1,1] v>"
        "{ h = Conv (x, w) y = Conv (h, v) }"
    )
    path = saved(model, tmp_path)
    done = inspect(path, "--shape", "x=2x3x4x6", "--json")
    assert json.loads(done.stdout)["macs"]["all"] == 2 * 24 * 7 * (3 + 5)
    done = inspect(path, "--shape", "z=2x3x4x6")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "error: the model has no input z; it has: x\n"


def test_what_goes_only_by_name(tmp_path: Path) -> None:
    """A width that an RMS norm runs over: it can go, but not by itself."""
    model = parse(
        """g (float[N, 4] x) => (float[N, 3] y) <float[4, 6] w, float[6, 3] v>
    { h = MatMul (x, w) q = Mul (h, h) m = ReduceMean <axes = [-1], keepdims = 1> (q)
      t = Mul (h, m) y = MatMul (t, v) }""",
        13,
    )
    text = " ".join(inspect(saved(model, tmp_path)).stdout.split())
    assert "left whole unless --include names it, since a norm runs over it: w" in text
    assert "100.0% 100.0%" in text  # can be cut; left at a ratio of a half


def test_operators_without_a_rule_are_named(tmp_path: Path) -> None:
    """Nothing is a group and no weight has a role, but the report says what is in the way and what would help."""
    text = """<ir_version: 10, opset_import: ["" : 21, "com.microsoft.nchwc" : 1]>
    g (float[N,3,9,7] x) => (float[N,5,9,7] y) <float[8,3,3,3] w, float[5,8,1,1] v>
    { h = com.microsoft.nchwc.Conv (x, w) y = com.microsoft.nchwc.Conv (h, v) }"""
    model = onnx.parser.parse_model(text)
    fill(model, 0)
    done = inspect(saved(model, tmp_path))
    text = " ".join(done.stdout.split())
    assert done.exit_code == 0, done.output
    assert text.startswith("no channel group: nothing can be cut")
    assert "1. no rule for com.microsoft.nchwc.Conv" in text
    assert "layers with 100.0% of the parameters in 2 nodes whose MACs are not known" in text
    assert "not counted: the MACs of 2 nodes that nothing is known of" in text
    assert "prune the model before ONNX Runtime" in text


# ---------------------------------------------------------------- what it draws
def test_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "net.svg"
    done = inspect(saved(cnn(), tmp_path), "--graph", path)
    assert done.exit_code == 0, done.output
    assert f"drawn      {path}" in done.stdout.replace("\n", "")
    assert files(tmp_path) == {"in.onnx", "net.svg"}
    root = ET.parse(path).getroot()
    assert root.tag == f"{SVG}svg"
    assert [e.text for e in root if e.tag == f"{SVG}title"] == ["in.onnx and its channel groups"]
    texts = [e.text for e in root.iter(f"{SVG}text")]
    for text in ("Conv · Relu", "group 1: 20", "group 2: 36", "1  w1: 20", "kept whole", "input", "output"):
        assert text in texts


def test_a_page(tmp_path: Path) -> None:
    path = tmp_path / "net.HTML"
    done = inspect(saved(cnn(), tmp_path, "<odd>.onnx"), "--graph", path, "--json")
    assert done.exit_code == 0, done.output
    json.loads(done.stdout)
    text = path.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert "<odd>" not in text
    assert "<svg " in text
    for part in ("graph output", "&lt;odd&gt;.onnx", ">w1<", ">352<"):
        assert part in text


@pytest.mark.parametrize(
    ("name", "code", "error"),
    [
        ("net.png", 2, "the name must end in .svg or .html"),
        ("in.onnx", 2, "the name must end in .svg or .html"),
        ("no/net.svg", 7, "can't be written"),
        ("weights.svg", 2, "the output would overwrite an input"),
    ],
)
def test_where_a_picture_can_t_go(tmp_path: Path, name: str, code: int, error: str) -> None:
    model = cnn()
    onnx.save(model, tmp_path / "in.onnx", save_as_external_data=True, location="weights.svg", size_threshold=0)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    done = inspect(tmp_path / "in.onnx", "--graph", tmp_path / name)
    assert done.exit_code == code, done.output
    assert error in done.stderr
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_without_the_package_that_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "graphlay", None)
    done = inspect(saved(cnn(), tmp_path), "--graph", tmp_path / "net.svg")
    assert done.exit_code == 2
    assert done.stderr == "error: --graph needs the package graphlay: pip install 'onnx-attnprune[graph]'\n"
    assert files(tmp_path) == {"in.onnx"}


# ---------------------------------------------------------------- the models of the repository
def test_it_tells_groups_shares_and_obstacles() -> None:
    done = inspect(MODELS / "fashion_resnet.onnx")
    assert done.exit_code == 0
    for text in ("stages.2.0.conv2", "what can be cut", "what is in the way", "graph output", "fc.weight"):
        assert text in done.stdout


def test_json_counts_what_one_channel_costs() -> None:
    done = inspect(MODELS / "fashion_vgg.onnx", "--json")
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
    done = inspect(MODELS / "fashion_mobilenet.onnx", "--graph", target)
    assert done.exit_code == 0, done.output
    text = target.read_text()
    drawing = text[text.index("<svg") : text.index("</svg>") + 6]
    names = {e.tag.rpartition("}")[2] for e in ET.fromstring(drawing).iter()}
    assert {"title", "rect", "text"} <= names
    assert "Conv" in text


def test_a_file_that_is_no_model_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    done = inspect(tmp_path / "x.onnx")
    assert done.exit_code == 3
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
